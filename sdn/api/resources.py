"""The kinds of resources: what each is called, what it looks like, and which rows of the store it is made of. PURE.

Enters: a Model and Facts. Leaves: plain values for JSON: the file's entry (`sdn.topology.written`), with `name`,
`status` (what was observed and allotted) and `source` (its line in the file) besides. Never: a default left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sdn.model import Model, Port
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.model.history import Changes
from sdn.topology import written

Resource = dict[str, Any]
GIVEN: Final = frozenset({"name", "status", "source", "applied"})
"""What a resource has beside the file's entry; in a request it is passed over, so that what was read can be sent."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`path` is the collection's, `noun` one of its members', `section` that of the file ('' for ports, which are in
    entries of nodes and guests). `filters` are fields of the resource that a list can be narrowed by."""

    path: str
    noun: str
    section: str
    names: Callable[[Model], Iterable[str]]
    entry: Callable[[Model, str], Resource]
    status: Callable[[Model, Facts, str], Resource]
    source: Callable[[Model, str], str]
    touched: Callable[[Changes, str], bool]
    """Whether a revision changed one of them."""
    filters: tuple[str, ...] = ()

    def view(self, model: Model, facts: Facts, name: str) -> Resource:
        """One resource. Raises KeyError where there is none of this name."""
        entry = self.entry(model, name)
        return {
            "name": name,
            **entry,
            "status": self.status(model, facts, name),
            "source": self.source(model, name),
        }


# Ports: in the file a part of a node's entry, here a resource of their own


def port_entry(model: Model, name: str) -> Resource:
    port = model.ports[name]
    found: Resource = {"node": port.node, "interface": port.interface, "tag": port.tag, "network": port.network}
    found |= {"ip": [str(ip) for ip in port.ips], "mac": str(port.mac)}
    together = next(each for each in model.interfaces_of[port.node] if port in each)
    written_so = written.interface(together, of_guest=port.node in model.guests)
    link = written_so.get("trunk", {}).get(_tag(port), written_so)
    shared: Resource = {
        key: written_so[key] for key in ("spoof_guard", "macvlan", "macvtap", "dhcp") if key in written_so
    }
    return {**found, "allowed_addresses": link["allowed_addresses"], **shared}


def _tag(port: Port) -> str:
    return "native" if port.tag is None else str(port.tag)


def _port_status(model: Model, facts: Facts, name: str) -> Resource:
    port, seen = model.ports[name], facts.ports.get(name, PortFacts())
    return {
        "id": port.id,
        "chassis": port.chassis,
        "up": seen.up,
        "ofport": port.ofport,
        "actual_ofport": seen.ofport,
        "addresses": [str(each) for each in port.addresses],
        "link_local": str(port.link_local),
    }


# The others are sections of the file


def _chassis_status(model: Model, facts: Facts, name: str) -> Resource:
    host = model.chassis[name]
    flows, built = facts.flows.get(name, FlowFacts()), facts.hosts.get(name, HostFacts())
    return {"id": host.id, "mac": str(host.mac), "flows": asdict(flows), "host": asdict(built)}


def _physnet_status(model: Model, _facts: Facts, name: str) -> Resource:
    return {"ofport": model.physnets[name].ofport}


def _network_status(model: Model, _facts: Facts, name: str) -> Resource:
    return {"id": model.networks[name].id, "ports": len(model.ports_of[name])}


def _node_status(model: Model, facts: Facts, name: str) -> Resource:
    ports = [port.name for together in model.interfaces_of.get(name, ()) for port in together]
    up = bool(ports) and all(facts.ports.get(port, PortFacts()).up for port in ports)
    return {"id": model.nodes[name].id, "up": up, "ports": ports}


def _guest_status(model: Model, facts: Facts, name: str) -> Resource:
    return _node_status(model, facts, name) | asdict(facts.guests.get(name, GuestFacts()))


def _nothing(_model: Model, _facts: Facts, _name: str) -> Resource:
    return {}


def _names(section: str) -> Callable[[Model], Iterable[str]]:
    if section == "nodes":
        return lambda model: written.names(model, "nodes")
    return lambda model: getattr(model, section)


def _entry(section: str) -> Callable[[Model, str], Resource]:
    return lambda model, name: written.entry(model, section, name)


def _source(section: str) -> Callable[[Model, str], str]:
    return lambda model, name: str(getattr(model, section)[name].source)


def _row(table: str) -> Callable[[Changes, str], bool]:
    return lambda changes, name: name in changes.get(table, ())


def _node_touched(changes: Changes, name: str) -> bool:
    """By its ports too, which are in its entry, also those that it no longer has."""
    own = any(name in changes.get(table, ()) for table in ("Node", "Guest"))
    return own or any(port.startswith(f"{name}:") for port in changes.get("Port", ()))


def _port_touched(changes: Changes, name: str) -> bool:
    """By its node too, which may be on another chassis."""
    return name in changes.get("Port", ()) or name.partition(":")[0] in changes.get("Node", ())


def _of_section(
    section: str, noun: str, table: str, status: Callable[[Model, Facts, str], Resource], *filters: str
) -> Kind:
    touched = _node_touched if section in ("nodes", "guests") else _row(table)
    return Kind(section, noun, section, _names(section), _entry(section), status, _source(section), touched, filters)


KINDS: Final[Mapping[str, Kind]] = {
    kind.path: kind
    for kind in (
        _of_section("chassis", "chassis", "Chassis", _chassis_status, "datapath"),
        _of_section("physnets", "physnet", "Physnet", _physnet_status, "interface"),
        _of_section("networks", "network", "Network", _network_status),
        _of_section("nodes", "node", "Node", _node_status, "chassis"),
        _of_section("guests", "guest", "Guest", _guest_status, "chassis", "phase"),
        _of_section("tests", "test", "Test", _nothing),
        Kind(
            "ports",
            "port",
            "",
            lambda model: model.ports,
            port_entry,
            _port_status,
            _source("ports"),
            _port_touched,
            ("node", "network", "chassis", "up"),
        ),
    )
}
"""Those that can be changed, by path."""
