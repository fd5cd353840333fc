"""A Model in the words of the topology file: what one could have written to get it. PURE.

Enters: a Model. Leaves: sections of the file as plain values, which JSON and YAML can hold, with every number given.
Never: a range, a pattern, or anything left for `build` to choose: built again, it is the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from sdn.model import AllowedAddress, Chassis, Forward, Guest, Model, Network, Physnet, Port, Segment, Test

Entry = dict[str, Any]

SECTIONS: Final = ("chassis", "physnets", "networks", "nodes", "guests", "tests")
"""Those that are mappings of names, in the file's order."""


def document(model: Model) -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = {
        "name": model.lab,
        "underlay": {"subnet": str(model.underlay.subnet), "mtu": model.underlay.mtu},
    }
    return found | {name: section(model, name) for name in SECTIONS}


def section(model: Model, name: str) -> dict[str, Entry]:
    return {key: entry(model, name, key) for key in names(model, name)}


def names(model: Model, section: str) -> list[str]:
    """What a section defines. A guest is no node of the file, though one of the model."""
    if section == "nodes":
        return [name for name in model.nodes if name not in model.guests]
    return list(getattr(model, section))


def entry(model: Model, section: str, name: str) -> Entry:
    """One object. Raises KeyError where there is none."""
    return _ENTRIES[section](model, name)


def interface(ports: tuple[Port, ...], *, of_guest: bool) -> Entry:
    """One of `ports` or `nics`, by the ports that share it."""
    first = ports[0]
    found: Entry = {"name": first.interface, "mac": str(first.mac)}
    if len(ports) == 1 and first.tag is None:
        found |= _link(first)
    else:
        found["trunk"] = {"native" if port.tag is None else str(port.tag): _link(port) for port in ports}
    found["spoof_guard"] = first.spoof_guard
    if first.macvlan:
        found["macvtap" if first.macvlan.tap else "macvlan"] = first.macvlan.mode
    if of_guest:
        found["dhcp"] = first.dhcp
    return found


def _link(port: Port) -> Entry:
    return {
        "network": port.network,
        "ip": [str(ip) for ip in port.ips],
        "allowed_addresses": [_allowed(allowed) for allowed in port.allowed],
    }


def _allowed(allowed: AllowedAddress) -> Entry:
    return {"ip": str(allowed.subnet)} | ({"mac": str(allowed.mac)} if allowed.mac is not None else {})


def _chassis(model: Model, name: str) -> Entry:
    host: Chassis = model.chassis[name]
    found: Entry = {"datapath": host.datapath, "vtep": str(host.vtep.ip), "physnets": list(host.physnets)}
    if host.addresses:
        found["addresses"] = {physnet: str(own) for physnet, own in host.addresses}
    return found | _given(memory=host.memory, cpus=host.cpus)


def _physnet(model: Model, name: str) -> Entry:
    physnet: Physnet = model.physnets[name]
    gateway = str(physnet.gateway) if physnet.gateway else ""
    moves = "move" if physnet.moves_addresses else ""
    return {"mtu": physnet.mtu, **_given(interface=physnet.interface, addresses=moves, gateway=gateway)}


def _network(model: Model, name: str) -> Entry:
    network: Network = model.networks[name]
    found: Entry = {
        "segment": _segment(network.segment),
        "subnets": _strings(network.subnets),
        "mtu": network.mtu,
        "unknown_unicast": network.unknown_unicast,
    }
    return found | (_forward(network.forward) if network.forward else {})


def _segment(segment: Segment) -> Any:
    if segment.kind == "local":
        return "local"
    if segment.kind == "flat":
        return {"flat": segment.physnet}
    return {segment.kind: segment.id, **_given(physnet=segment.physnet)}


def _forward(forward: Forward) -> Entry:
    mode = "isolated" if forward.mode == "isolated" else {forward.mode: forward.physnet}
    return {"forward": mode, "gateway": str(forward.gateway.ip)}


def _node(model: Model, name: str) -> Entry:
    if name in model.guests:
        raise KeyError(name)
    return {"chassis": model.nodes[name].chassis, "ports": _interfaces(model, name, of_guest=False)}


def _interfaces(model: Model, name: str, *, of_guest: bool) -> list[Entry]:
    return [interface(ports, of_guest=of_guest) for ports in model.interfaces_of[name]]


def _guest(model: Model, name: str) -> Entry:
    guest: Guest = model.guests[name]
    machine = guest.machine
    found: Entry = {
        "chassis": model.nodes[name].chassis,
        "nics": _interfaces(model, name, of_guest=True),
        "memory": machine.memory,
        "cpus": machine.cpus,
        **_given(image=machine.image, disk=machine.disk),
        "volumes": list(machine.volumes),
        "devices": list(machine.devices),
        "power": machine.power,
        "restart": machine.restart,
        "driver": machine.driver,
        "migration": machine.migration,
        "anti_affinity": list(guest.anti_affinity),
    }
    if machine.kernel:
        kernel = machine.kernel
        found["kernel"] = {"image": kernel.image, **_given(initrd=kernel.initrd, append=kernel.append)}
    if machine.seed:
        seed = machine.seed
        found["cloud"] = {"user": seed.user, "ssh_keys": list(seed.ssh_keys), **_given(user_data=seed.user_data)}
    return found


def _test(model: Model, name: str) -> Entry:
    test: Test = model.tests[name]
    found: Entry = {"from": list(test.sources), "to": list(test.targets)}
    if test.probe == "ping":
        found["ping"] = test.expect
    else:
        found |= {test.probe: test.port, "expect": "allowed" if test.expect == "ok" else "denied"}
    return found | {"within": test.within}


def _given(**fields: object) -> Entry:
    """What is '' or 0 in the model is not written in the file."""
    return {name: value for name, value in fields.items() if value}


def _strings(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


_ENTRIES: Final[dict[str, Callable[[Model, str], Entry]]] = {
    "chassis": _chassis,
    "physnets": _physnet,
    "networks": _network,
    "nodes": _node,
    "guests": _guest,
    "tests": _test,
}
