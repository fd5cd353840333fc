"""An object of the Model as a Row of its table, and back. PURE.

Enters: values of the model, or rows whose references are names. Leaves: the other of the two. Never: a default, a UUID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any, Final, NamedTuple, cast

from datapath.addr import IPInterface, IPNetwork, Mac
from datapath.spec import Kernel, Machine, Seed
from sdn.model import (
    AllowedAddress,
    Chassis,
    Forward,
    Guest,
    Macvlan,
    Model,
    Network,
    Node,
    Physnet,
    Port,
    Segment,
    Source,
    Test,
    Underlay,
)


class Ref(NamedTuple):
    """Another row, by name."""

    table: str
    name: str


Atom = bool | int | str | Ref
Value = Atom | None | tuple[Atom, ...]
"""None is an absent optional value; a tuple is an ordered list."""

Row = dict[str, Value]


def _text(value: Value) -> str:
    return cast(str, value)


def _int(value: Value) -> int:
    return cast(int, value)


def _texts(value: Value) -> tuple[str, ...]:
    return cast("tuple[str, ...]", value)


def _name(value: Value) -> str:
    return value.name if isinstance(value, Ref) else ""


def _interface(text: str) -> IPInterface:
    return IPv6Interface(text) if ":" in text else IPv4Interface(text)


def _network_address(text: str) -> IPNetwork:
    return IPv6Network(text) if ":" in text else IPv4Network(text)


def _strings(values: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, values))


def lab_row(model: Model) -> Row:
    return {
        "name": model.lab,
        "underlay_subnet": str(model.underlay.subnet),
        "underlay_mtu": model.underlay.mtu,
    }


def underlay(lab: Row) -> Underlay:
    return Underlay(IPv4Network(_text(lab["underlay_subnet"])), _int(lab["underlay_mtu"]))


def _optional(value: object | None) -> str | None:
    return None if value is None else str(value)


def _ref(table: str, name: str) -> Ref | None:
    return Ref(table, name) if name else None


def _physnet_row(physnet: Physnet) -> Row:
    return {
        "mtu": physnet.mtu,
        "ofport": physnet.ofport,
        "interface": physnet.interface,
        "moves_addresses": physnet.moves_addresses,
        "gateway": _optional(physnet.gateway),
        "source": str(physnet.source),
    }


def _physnet(name: str, row: Row) -> Physnet:
    return Physnet(
        name=name,
        mtu=_int(row["mtu"]),
        ofport=_int(row["ofport"]),
        source=Source.parse(_text(row["source"])),
        interface=_text(row["interface"]),
        moves_addresses=bool(row["moves_addresses"]),
        gateway=IPv4Address(_text(row["gateway"])) if row["gateway"] else None,
    )


def _chassis_row(chassis: Chassis) -> Row:
    return {
        "number": chassis.id,
        "vtep": str(chassis.vtep),
        "mac": str(chassis.mac),
        "datapath": chassis.datapath,
        "physnets": tuple(Ref("Physnet", name) for name in chassis.physnets),
        "addresses": tuple(f"{physnet} {address}" for physnet, address in chassis.addresses),
        "memory": chassis.memory,
        "cpus": chassis.cpus,
        "source": str(chassis.source),
    }


def _chassis(name: str, row: Row) -> Chassis:
    return Chassis(
        id=_int(row["number"]),
        name=name,
        vtep=IPv4Interface(_text(row["vtep"])),
        mac=Mac.parse(_text(row["mac"])),
        datapath=cast(Any, row["datapath"]),
        physnets=tuple(_name(ref) for ref in cast("tuple[Ref, ...]", row["physnets"])),
        source=Source.parse(_text(row["source"])),
        addresses=tuple(map(_own_address, _texts(row["addresses"]))),
        memory=_int(row["memory"]),
        cpus=_int(row["cpus"]),
    )


def _own_address(text: str) -> tuple[str, IPv4Interface]:
    physnet, _, address = text.partition(" ")
    return physnet, IPv4Interface(address)


def _network_row(network: Network) -> Row:
    forward = network.forward
    return {
        "number": network.id,
        "kind": network.segment.kind,
        "segment_id": network.segment.id,
        "physnet": _ref("Physnet", network.segment.physnet),
        "subnets": _strings(network.subnets),
        "mtu": network.mtu,
        "unknown_unicast": network.unknown_unicast,
        "forward": forward.mode if forward else None,
        "gateway": str(forward.gateway) if forward else None,
        "forward_physnet": _ref("Physnet", forward.physnet) if forward else None,
        "source": str(network.source),
    }


def _network(name: str, row: Row) -> Network:
    return Network(
        id=_int(row["number"]),
        name=name,
        segment=Segment(cast(Any, row["kind"]), _int(row["segment_id"]), _name(row["physnet"])),
        subnets=tuple(map(_network_address, _texts(row["subnets"]))),
        mtu=_int(row["mtu"]),
        unknown_unicast=cast(Any, row["unknown_unicast"]),
        source=Source.parse(_text(row["source"])),
        forward=_forward(row) if row["forward"] else None,
    )


def _forward(row: Row) -> Forward:
    return Forward(cast(Any, row["forward"]), IPv4Interface(_text(row["gateway"])), _name(row["forward_physnet"]))


def _node_row(node: Node) -> Row:
    return {"number": node.id, "chassis": Ref("Chassis", node.chassis), "source": str(node.source)}


def _node(name: str, row: Row) -> Node:
    return Node(_int(row["number"]), name, _name(row["chassis"]), Source.parse(_text(row["source"])))


def _guest_row(guest: Guest) -> Row:
    machine, seed = guest.machine, guest.machine.seed
    return {
        "memory": machine.memory,
        "cpus": machine.cpus,
        "image": machine.image,
        "disk": machine.disk,
        "kernel": (machine.kernel.image, machine.kernel.initrd, machine.kernel.append) if machine.kernel else (),
        "volumes": machine.volumes,
        "user": seed.user if seed else None,
        "ssh_keys": seed.ssh_keys if seed else (),
        "user_data": seed.user_data if seed else "",
        "devices": machine.devices,
        "power": machine.power,
        "restart": machine.restart,
        "driver": machine.driver,
        "migration": machine.migration,
        "anti_affinity": guest.anti_affinity,
        "source": str(guest.source),
    }


def _guest(name: str, row: Row) -> Guest:
    user, kernel = row["user"], _texts(row["kernel"])
    machine = Machine(
        memory=_int(row["memory"]),
        cpus=_int(row["cpus"]),
        image=_text(row["image"]),
        disk=_int(row["disk"]),
        kernel=Kernel(*kernel) if kernel else None,
        volumes=_texts(row["volumes"]),
        seed=None if user is None else Seed(_text(user), _texts(row["ssh_keys"]), _text(row["user_data"])),
        devices=_texts(row["devices"]),
        power=cast(Any, row["power"]),
        restart=cast(Any, row["restart"]),
        driver=cast(Any, row["driver"]),
        migration=cast(Any, row["migration"]),
    )
    return Guest(name, machine, _texts(row["anti_affinity"]), Source.parse(_text(row["source"])))


def _port_row(port: Port) -> Row:
    return {
        "number": port.id,
        "node": Ref("Node", port.node),
        "network": Ref("Network", port.network),
        "interface": port.interface,
        "tag": port.tag,
        "ofport": port.ofport,
        "mac": str(port.mac),
        "addresses": _strings(port.addresses),
        "allowed": tuple(map(_allowed_text, port.allowed)),
        "spoof_guard": port.spoof_guard,
        "macvlan": port.macvlan.mode if port.macvlan else None,
        "macvtap": port.macvlan is not None and port.macvlan.tap,
        "dhcp": port.dhcp,
        "source": str(port.source),
    }


def _port(name: str, row: Row, nodes: Mapping[str, Node]) -> Port:
    node = _name(row["node"])
    return Port(
        id=_int(row["number"]),
        name=name,
        node=node,
        interface=_text(row["interface"]),
        tag=cast("int | None", row["tag"]),
        network=_name(row["network"]),
        chassis=nodes[node].chassis,
        ofport=_int(row["ofport"]),
        mac=Mac.parse(_text(row["mac"])),
        addresses=tuple(map(_interface, _texts(row["addresses"]))),
        allowed=tuple(map(_allowed, _texts(row["allowed"]))),
        spoof_guard=bool(row["spoof_guard"]),
        source=Source.parse(_text(row["source"])),
        macvlan=Macvlan(cast(Any, row["macvlan"]), bool(row["macvtap"])) if row["macvlan"] else None,
        dhcp=bool(row["dhcp"]),
    )


def _allowed_text(allowed: AllowedAddress) -> str:
    return f"{allowed.subnet} {allowed.mac}" if allowed.mac is not None else str(allowed.subnet)


def _allowed(text: str) -> AllowedAddress:
    subnet, _, mac = text.partition(" ")
    return AllowedAddress(_network_address(subnet), Mac.parse(mac) if mac else None)


def _test_row(test: Test) -> Row:
    return {
        "sources": test.sources,
        "targets": test.targets,
        "probe": test.probe,
        "port": test.port,
        "expect": test.expect,
        "within_ms": round(test.within * 1000),
        "source": str(test.source),
    }


def _test(name: str, row: Row) -> Test:
    return Test(
        name=name,
        sources=_texts(row["sources"]),
        targets=_texts(row["targets"]),
        probe=cast(Any, row["probe"]),
        port=_int(row["port"]),
        expect=cast(Any, row["expect"]),
        within=_int(row["within_ms"]) / 1000,
        source=Source.parse(_text(row["source"])),
    )


ENCODE: Final[dict[str, Callable[[Any], Row]]] = {
    "Physnet": _physnet_row,
    "Chassis": _chassis_row,
    "Network": _network_row,
    "Node": _node_row,
    "Guest": _guest_row,
    "Port": _port_row,
    "Test": _test_row,
}
DECODE: Final[dict[str, Callable[[str, Row], Any]]] = {
    "Physnet": _physnet,
    "Chassis": _chassis,
    "Network": _network,
    "Node": _node,
    "Guest": _guest,
    "Test": _test,
}


def decode(table: str, name: str, row: Row, nodes: Mapping[str, Node]) -> Any:
    """The value that a row stands for. A port's chassis is that of its node, which must be among `nodes`."""
    return _port(name, row, nodes) if table == "Port" else DECODE[table](name, row)
