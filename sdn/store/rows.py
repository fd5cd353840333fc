"""Model and Facts as rows of the store, and back. PURE.

Enters: a Model, or rows as the replica has them. Leaves: rows by (table, name), or a Model. Never: a UUID, a socket.

A reference is a `Ref`; the store turns it into a UUID. OVSDB's sets have no order, so an ordered list is a map from
position to value. Facts live in columns of their own in the rows of Chassis and Port; `to_rows` knows nothing of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any, Final, NamedTuple, TypeVar, cast

from datapath.addr import IPInterface, IPNetwork, Mac
from sdn.model import (
    AllowedAddress,
    Chassis,
    Forward,
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
from sdn.model.facts import FlowFacts, HostFacts, PortFacts


class Ref(NamedTuple):
    """Another row, by name."""

    table: str
    name: str


Atom = bool | int | str | Ref
Value = Atom | None | tuple[Atom, ...]
"""None is an absent optional value; a tuple is an ordered list."""

Row = dict[str, Value]
Key = tuple[str, str]
Rows = dict[Key, Row]

LAB: Final = ("Lab", "")
"""The key of the one row of table Lab."""

ATTRIBUTE: Final = {
    "Physnet": "physnets",
    "Chassis": "chassis",
    "Network": "networks",
    "Node": "nodes",
    "Port": "ports",
    "Test": "tests",
}
"""Which mapping of a Model holds the rows of a table. A row refers only to rows of tables above its own."""

FLOW_FACTS: Final = ("connected", "flows_revision", "flow_count", "flow_error")
HOST_FACTS: Final = ("host_revision", "datapath_type", "host_errors", "host_notes")
PORT_FACTS: Final = ("up", "actual_ofport")


def to_rows(model: Model) -> Rows:
    """Every intent column, except the revision: only the writer counts that."""
    return rows_that_differ(model, None)[0]


def rows_that_differ(new: Model, old: Model | None) -> tuple[Rows, Rows]:
    """The rows of both but for those of objects that are the same in both: what a diff needs."""
    rows: tuple[Rows, Rows] = {LAB: _lab_row(new)}, {LAB: _lab_row(old)} if old else {}
    for table, attribute in ATTRIBUTE.items():
        encode = _ENCODE[table]
        values, known = getattr(new, attribute), getattr(old, attribute) if old else {}
        for name, value in values.items():
            before = known.get(name)
            if before != value:
                rows[0][table, name] = encode(value)
                if before is not None:
                    rows[1][table, name] = encode(before)
        rows[1].update(((table, name), encode(value)) for name, value in known.items() if name not in values)
    return rows


def from_rows(rows: Mapping[Key, Row], revision: int = 0) -> Model:
    """The Model whose rows these are, its mappings in the order of the file. Raises KeyError without the row of Lab."""
    values: dict[str, dict[str, Any]] = {table: {} for table in ATTRIBUTE}
    for table, found in values.items():
        for (kind, name), row in rows.items():
            if kind == table:
                found[name] = decode(table, name, row, values["Node"])
    mappings = {ATTRIBUTE[table]: in_file_order(found) for table, found in values.items()}
    return Model(_text(rows[LAB]["name"]), underlay(rows[LAB]), **mappings, revision=revision)


def underlay(lab: Row) -> Underlay:
    return Underlay(IPv4Network(_text(lab["underlay_subnet"])), _int(lab["underlay_mtu"]))


def decode(table: str, name: str, row: Row, nodes: Mapping[str, Node]) -> Any:
    """The value that a row stands for. A port's chassis is that of its node, which must be among `nodes`."""
    return _port(name, row, nodes) if table == "Port" else _DECODE[table](name, row)


V = TypeVar("V")


def in_file_order(values: dict[str, V]) -> dict[str, V]:
    """By place in the file; the members of a range, which share theirs, by name with numbers counted as numbers."""
    return dict(sorted(values.items(), key=_place))


def _place(item: tuple[str, Any]) -> tuple[str, int, int, tuple[str | int, ...]]:
    source: Source = item[1].source
    return source.file, source.line, source.column, _natural(item[0])


@lru_cache(1 << 16)
def _natural(name: str) -> tuple[str | int, ...]:
    """Text and numbers alternate, so that web2 comes before web10."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name))


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


def _lab_row(model: Model) -> Row:
    return {
        "name": model.lab,
        "underlay_subnet": str(model.underlay.subnet),
        "underlay_mtu": model.underlay.mtu,
    }


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


_ENCODE: Final[dict[str, Callable[[Any], Row]]] = {
    "Physnet": _physnet_row,
    "Chassis": _chassis_row,
    "Network": _network_row,
    "Node": _node_row,
    "Port": _port_row,
    "Test": _test_row,
}
_DECODE: Final[dict[str, Callable[[str, Row], Any]]] = {
    "Physnet": _physnet,
    "Chassis": _chassis,
    "Network": _network,
    "Node": _node,
    "Test": _test,
}


def flow_facts_row(facts: FlowFacts) -> Row:
    return dict(zip(FLOW_FACTS, (facts.connected, facts.revision, facts.count, facts.error), strict=True))


def flow_facts(row: Mapping[str, Value]) -> FlowFacts:
    return FlowFacts(*(cast(Any, row[column]) for column in FLOW_FACTS))


def host_facts_row(facts: HostFacts) -> Row:
    return dict(zip(HOST_FACTS, (facts.revision, facts.datapath_type, facts.errors, facts.notes), strict=True))


def host_facts(row: Mapping[str, Value]) -> HostFacts:
    return HostFacts(*(cast(Any, row[column]) for column in HOST_FACTS))


def port_facts_row(facts: PortFacts) -> Row:
    return {"up": facts.up, "actual_ofport": facts.ofport}


def port_facts(row: Mapping[str, Value]) -> PortFacts:
    return PortFacts(bool(row["up"]), cast("int | None", row["actual_ofport"]))
