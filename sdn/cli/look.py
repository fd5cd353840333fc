"""`status` and `graph`: what there is and how it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datapath.errors import FileError
from sdn import lab
from sdn.cli import guests, output, target
from sdn.cli.output import BAD, GOOD, SOFT, STRONG, Cell, count
from sdn.model.facts import FlowFacts, HostFacts, PortFacts

if TYPE_CHECKING:
    from sdn.lab import Status
    from sdn.model import Chassis, Model, Physnet

_PHYSNET_COLUMNS: Final = ("physnet", "MTU", "interface", "gateway", "addresses of chassis")
_NETWORK_COLUMNS: Final = ("network", "segment", "MTU", "subnets", "ports", "unknown unicast", "forward")
_MOST_NODES: Final = 60
"""More nodes than this are shown as a count, and by name only where one is not up."""


def status(wanted: str | None, everything: bool, as_json: bool) -> int:
    """Returns the exit code: 0 where the lab is whole, else 1."""
    name = target.lab_of(wanted)
    if not lab.run_dir(name).exists():
        running = ", ".join(lab.labs())
        raise FileError(f"lab {name} is not running", remedy=f"there are: {running}" if running else "sdn up FILE")
    state = lab.status(name)
    if as_json:
        output.as_json(_as_json(state))
    else:
        _show(state, everything)
    return 1 if state.troubles else 0


def _as_json(state: Status) -> dict[str, Any]:
    model = state.model
    return {
        "lab": state.lab,
        "whole": not state.troubles,
        "troubles": list(state.troubles),
        "revision": model.revision if model else 0,
        "processes": [asdict(process) for process in state.processes],
        "chassis": [_chassis_json(state, name) for name in (model.chassis if model else ())],
        "physnets": [_physnet_json(model, physnet) for physnet in model.physnets.values()] if model else [],
        "networks": [_network_json(model, name) for name in model.networks] if model else [],
        "guests": [guests.as_dict(model, state.facts, name) for name in model.guests] if model else [],
        "ports": [_port_json(state, model, name) for name in model.ports] if model else [],
    }


def _chassis_json(state: Status, name: str) -> dict[str, Any]:
    """What a chassis without flow tables has none of is null."""
    assert state.model is not None
    chassis = state.model.chassis[name]
    flows, host = state.facts.flows.get(name, FlowFacts()), state.facts.hosts.get(name, HostFacts())
    own = {"connected": flows.connected, "flows": flows.count, "flows_revision": flows.revision}
    programmed = own if chassis.has_tables else dict.fromkeys(own)
    errors = [*host.errors, *([flows.error] if flows.error else [])]
    said = {"errors": errors, "notes": [*host.notes, *([flows.note] if flows.note else [])]}
    kinds = {"switch": chassis.datapath, "datapath": host.datapath_type, "vtep": str(chassis.vtep.ip)}
    addresses = {physnet: str(address) for physnet, address in chassis.addresses}
    return {"name": name, **kinds, "addresses": addresses, **programmed, "host_revision": host.revision, **said}


def _physnet_json(model: Model, physnet: Physnet) -> dict[str, Any]:
    return {
        "name": physnet.name,
        "mtu": physnet.mtu,
        "interface": physnet.interface or None,
        "moves_addresses": physnet.moves_addresses,
        "gateway": str(physnet.gateway) if physnet.gateway else None,
        "chassis": [chassis.name for chassis in model.chassis.values() if physnet.name in chassis.physnets],
    }


def _network_json(model: Model, name: str) -> dict[str, Any]:
    network = model.networks[name]
    subnets = [str(subnet) for subnet in network.subnets]
    ports = len(model.ports_of[name])
    forward = asdict(network.forward) if network.forward else None
    own = {"name": name, "segment": str(network.segment), "mtu": network.mtu, "subnets": subnets, "ports": ports}
    return {**own, "unknown_unicast": network.unknown_unicast, "forward": forward}


def _port_json(state: Status, model: Model, name: str) -> dict[str, Any]:
    port, fact = model.ports[name], state.facts.ports.get(name, PortFacts())
    return {
        "name": name,
        "node": port.node,
        "chassis": port.chassis,
        "network": port.network,
        "mac": str(port.mac),
        "addresses": [str(address) for address in port.addresses],
        "up": fact.up,
        "ofport": fact.ofport,
        "macvlan": asdict(port.macvlan) if port.macvlan else None,
        "source": str(port.source),
    }


def _show(state: Status, everything: bool) -> None:
    model = state.model
    if model:
        whole = output.paint("whole", GOOD) if not state.troubles else output.paint("not whole", BAD)
        output.say(f"{output.paint(state.lab, STRONG)}: {whole}, revision {model.revision}\n")
        columns = ("chassis", "vtep", "switch", "datapath", "controller", "flows", "revision")
        output.table(columns, _chassis(state, model), ("flows",))
        output.say()
        if model.physnets:
            output.table(_PHYSNET_COLUMNS, _physnets(model), ("MTU",))
            output.say()
        output.table(_NETWORK_COLUMNS, _networks(model), ("MTU", "ports"))
        output.say()
        if model.guests:
            _show_guests(state, model, everything)
            output.say()
        _show_ports(state, model, everything)
        output.say()
    output.table(("process", "pid", "state", "for", "restarts"), _processes(state), ("pid", "restarts"))
    for note, names in _notes(state).items():
        output.say(output.paint(f"{', '.join(names)}: {note}", SOFT))
    for trouble in state.troubles:
        output.say(output.paint("! " + trouble.replace("\n", "\n    "), BAD))


def _notes(state: Status) -> dict[str, list[str]]:
    """What agents and the controller want people to know, with the chassis that say so."""
    found: dict[str, list[str]] = {}
    for name, flows in sorted(state.facts.flows.items()):
        if flows.note:
            found.setdefault(flows.note, []).append(name)
    for name, host in sorted(state.facts.hosts.items()):
        for note in host.notes:
            found.setdefault(note, []).append(name)
    return found


def _chassis(state: Status, model: Model) -> Iterator[output.Row]:
    """A chassis without flow tables has no controller, and somebody else's nothing that is known here."""
    for name, chassis in model.chassis.items():
        flows, host = state.facts.flows.get(name, FlowFacts()), state.facts.hosts.get(name, HostFacts())
        first = Cell(name, STRONG), str(chassis.vtep.ip), chassis.datapath
        if not chassis.ours:
            yield *first, *[Cell("-", SOFT)] * 4
            continue
        newest = min(flows.revision, host.revision) if chassis.has_tables else host.revision
        revision = Cell("confirmed", GOOD) if newest >= model.revision else Cell(f"{newest} of {model.revision}", BAD)
        yield *first, host.datapath_type or "?", *_programmed(chassis, flows), revision


def _programmed(chassis: Chassis, flows: FlowFacts) -> tuple[Cell, Cell]:
    if not chassis.has_tables:
        return Cell("-", SOFT), Cell("-", SOFT)
    away = "does not answer" if flows.silent else "not connected"
    state = Cell("connected", GOOD) if flows.connected else Cell(away, BAD)
    return state, Cell(f"{flows.count:,}")


def _physnets(model: Model) -> Iterator[output.Row]:
    nothing = Cell("-", SOFT)
    for name, physnet in model.physnets.items():
        own = [
            f"{host.name} {address}" for host in model.chassis.values() for on, address in host.addresses if on == name
        ]
        gateway = str(physnet.gateway or "") or nothing
        yield Cell(name, STRONG), physnet.mtu, physnet.interface or nothing, gateway, ", ".join(own) or nothing


def _networks(model: Model) -> Iterator[output.Row]:
    for name, network in model.networks.items():
        subnets = ", ".join(map(str, network.subnets))
        ports, forward = len(model.ports_of[name]), str(network.forward or "")
        own = Cell(name, STRONG), str(network.segment), network.mtu, subnets, ports
        yield *own, network.unknown_unicast, forward or Cell("-", SOFT)


def _show_guests(state: Status, model: Model, everything: bool) -> None:
    """Of many only those that are not as they shall be."""
    facts = state.facts
    odd = [name for name in model.guests if not guests.is_as_wished(model, facts, name)]
    shown = list(model.guests) if everything or len(model.guests) <= _MOST_NODES else odd
    if len(shown) < len(model.guests):
        well = len(model.guests) - len(odd)
        output.say(
            f"{well:,} of {count(len(model.guests), 'guest')} are as they shall be (sdn guest list has them all)"
        )
    guests.table(model, facts, shown)


def _show_ports(state: Status, model: Model, everything: bool) -> None:
    ours = set(lab.managed(model))
    names = [name for name, port in model.ports.items() if port.chassis in ours]
    down = [name for name in names if _port_state(state, model, name).style == BAD]
    shown = list(model.ports) if everything or len(model.nodes) <= _MOST_NODES else down
    if len(shown) < len(names):
        output.say(f"{len(names) - len(down):,} of {count(len(names), 'port')} are up (sdn status --all lists them)")
    if shown:
        rows = [_port(state, model, name) for name in shown]
        output.table(("node", "port", "chassis", "network", "addresses", "MAC", "state"), rows)


def _port(state: Status, model: Model, name: str) -> output.Row:
    port = model.ports[name]
    place = port.interface + (f" tag {port.tag}" if port.tag is not None else "")
    place += f" {port.macvlan}" if port.macvlan else ""
    addresses = ", ".join([*map(str, port.addresses), *["by DHCP"] * port.dhcp])
    shown = _port_state(state, model, name)
    return Cell(port.node, STRONG), place, port.chassis, port.network, addresses, str(port.mac), shown


def _port_state(state: Status, model: Model, name: str) -> Cell:
    """A guest that shall be off has no link, and that is all right."""
    port = model.ports[name]
    if not model.chassis[port.chassis].ours:
        return Cell("external", SOFT)
    if state.facts.ports.get(name, PortFacts()).up:
        return Cell("up", GOOD)
    is_off = port.node in model.guests and model.guests[port.node].machine.power == "off"
    return Cell("off", SOFT) if is_off else Cell("down", BAD)


def _processes(state: Status) -> Iterator[output.Row]:
    for process in state.processes:
        alive = Cell("running", GOOD) if process.alive else Cell("not running", BAD)
        if process.waits:
            alive = Cell("starts when asked", SOFT)
        age = output.since(time.time() - process.started) if process.alive else ""
        restarts = Cell(str(process.restarts), output.WARNING if process.restarts else "")
        yield Cell(process.name, STRONG), process.pid or "", alive, age, restarts


_SUFFIXES: Final = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".md": "mermaid"}


def _form_of(file: Path) -> str:
    if file.suffix not in _SUFFIXES:
        ends = f"it ends in {file.suffix}" if file.suffix else "its name has no suffix"
        raise FileError(
            f"cannot tell what picture {file} is to be: {ends}",
            remedy="expected .svg, .dot or .mmd (or say which with --format; rsvg-convert makes a PNG of an SVG)",
        )
    return _SUFFIXES[file.suffix]


def graph(wanted: str | None, form: str | None, file: Path | None) -> None:
    from sdn import graph as pictures
    from sdn import topology

    chosen = form or (_form_of(file) if file else "svg")
    if wanted is not None and target.is_file(wanted):
        drawing = pictures.FORMATS[chosen](topology.read(Path(wanted)))
    else:
        drawing = pictures.FORMATS[chosen](*target.running(wanted))
    if file is None:
        sys.stdout.write(drawing)
        return
    try:
        file.write_text(drawing)
    except OSError as error:
        raise FileError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    output.note(f"wrote {file}")
