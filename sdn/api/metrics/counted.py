"""What the switches have counted: traffic of ports and links, lookups of tables, drops by rule.

Enters: samples, and the Model that says whose they are. Leaves: families. Never: a switch's view of a port: what a port
has received is what its node has received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from datapath.openflow.codec import FlowStats
from datapath.openflow.text import Names, format_match
from sdn.api.metrics.render import Family, Row
from sdn.api.samples import Losses, Outlet, Traffic, interface
from sdn.lab.counters import Device
from sdn.model import Model
from sdn.names import names, table_name
from sdn.pipeline.fields import USER_MARK, Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.southbound.counters import Counters, TableCounters

T = TypeVar("T")
Labels = tuple[str, ...]

_OURS: Final = frozenset(Table)
_DIRECTIONS: Final = {
    "receive": ("Received", "rx"),
    "transmit": ("Sent", "tx"),
}
_MEASURES: Final = {
    "packets": ("packets", "packets"),
    "bytes": ("bytes", "bytes"),
    "drops": ("packets that the device has dropped", "dropped"),
    "errors": ("packets with errors", "errors"),
}
_PORT: Final = ("port", "node", "network", "chassis")
_TUNNEL: Final = ("chassis", "kind", "network", "peer")
_DROP: Final = ("chassis", "table", "rule", "kind", "object")


def of_traffic(model: Model, traffic: Traffic) -> Iterator[Family]:
    """What the userspace datapath of Open vSwitch (3.1) sends into a tunnel it counts twice, as the inner packet and as
    the outer one: it is told as it was counted. What the other end has received is right."""
    labels = _interfaces(model)
    ports = [(labels[name], counted) for name, counted in traffic.ports.items() if name in labels]
    yield from _counters("port", "its node's view", _PORT, ports)
    tunnels = {_tunnel(outlet): device for outlet, device in traffic.outlets.items() if outlet.kind == "tunnel"}
    uplinks = {_uplink(outlet): device for outlet, device in traffic.outlets.items() if outlet.kind == "uplink"}
    yield from _links("tunnel", _TUNNEL, tunnels)
    yield from _links("uplink", ("chassis", "physnet"), uplinks)
    answered = [((name,), int(name not in traffic.missing)) for name, each in model.chassis.items() if each.ours]
    text = "Whether the chassis' switch answered when its counters were read."
    yield Family("sdn_counters_up", "gauge", text, ("chassis",), answered)


def _tunnel(outlet: Outlet) -> Labels:
    return outlet.chassis, outlet.name, outlet.network, outlet.peer


def _uplink(outlet: Outlet) -> Labels:
    return outlet.chassis, outlet.name


def _links(what: str, labels: tuple[str, ...], devices: Mapping[Labels, Device]) -> Iterator[Family]:
    up = [(key, int(device.up)) for key, device in devices.items()]
    yield Family(f"sdn_{what}_up", "gauge", f"Whether the {what} is there, up and has a carrier.", labels, up)
    yield from _counters(what, "its chassis' view", labels, [(key, each.counters) for key, each in devices.items()])


def _interfaces(model: Model) -> dict[str, tuple[str, ...]]:
    """Labels by interface. What a trunk carries is of several networks: `network` is empty."""
    found: dict[str, tuple[str, ...]] = {}
    for port in model.ports.values():
        name = interface(port)
        network = "" if name in found else port.network
        found[name] = (name, port.node, network, port.chassis)
    return found


def _counters(
    what: str, view: str, labels: tuple[str, ...], counted: list[tuple[tuple[str, ...], Counters]]
) -> Iterator[Family]:
    for direction, (verb, short) in _DIRECTIONS.items():
        for measure, (noun, own) in _MEASURES.items():
            place = Counters._fields.index(f"{short}_{own}")
            rows = [(key, each[place]) for key, each in counted]
            text = f"{verb} by the {what}, in {view}: {noun}."
            yield Family(f"sdn_{what}_{direction}_{measure}_total", "counter", text, labels, rows)


def of_losses(model: Model, losses: Losses) -> Iterator[Family]:
    labels = ("chassis", "table")
    tables = [
        ((name, table_name(number)), counted)
        for name, found in losses.tables.items()
        for number, counted in found.items()
        if number in _OURS or counted.flows
    ]
    yield Family("sdn_table_flows", "gauge", "Flows of the table, others' too.", labels, _rows(tables, _flows))
    yield Family("sdn_table_lookups_total", "counter", "Packets that came to it.", labels, _rows(tables, _lookups))
    text = "Packets that none of its flows took: they are dropped."
    yield Family("sdn_table_misses_total", "counter", text, labels, _rows(tables, _misses))
    drops = list(_drops(model, losses.drops))
    text = "Packets dropped, by the rule that did it and the object it is there for."
    yield Family("sdn_dropped_packets_total", "counter", text, _DROP, [(key, each.packets) for key, each in drops])
    text = "Bytes dropped, by the rule that did it and the object it is there for."
    yield Family("sdn_dropped_bytes_total", "counter", text, _DROP, [(key, each.bytes) for key, each in drops])


def _rows(found: Iterable[tuple[tuple[str, ...], T]], number: Callable[[T], int]) -> list[Row]:
    return [(key, number(each)) for key, each in found]


def _flows(counted: TableCounters) -> int:
    return counted.flows


def _lookups(counted: TableCounters) -> int:
    return counted.lookups


def _misses(counted: TableCounters) -> int:
    return max(0, counted.lookups - counted.matches)


def _drops(model: Model, drops: Mapping[str, list[FlowStats]]) -> Iterator[tuple[tuple[str, ...], FlowStats]]:
    """The rules of chassis always. A rule of a port, or of a user's, is told with its first drop: there are thousands,
    and hardly one ever drops."""
    about = names(model)
    ports = {port.id: port.name for port in model.ports.values()}
    for chassis, found in drops.items():
        for each in found:
            cookie = Cookie.unpack(each.flow.cookie)
            if cookie is not None and cookie.kind is Kind.CHASSIS and each.flow.table != Table.LEARNED:
                yield _drop(chassis, about, each, "chassis", chassis), each
            elif each.packets and cookie is not None and cookie.kind is Kind.PORT:
                yield _drop(chassis, about, each, "port", ports.get(cookie.id, str(cookie.id))), each
            elif each.packets and each.flow.cookie >> 48 == USER_MARK:
                yield _drop(chassis, about, each, "user", f"{each.flow.cookie:#x}"), each


def _drop(chassis: str, about: Names, each: FlowStats, kind: str, name: str) -> tuple[str, ...]:
    table = table_name(each.flow.table)
    rule = f"{each.flow.priority} {format_match(each.flow.match, about) or 'any'}"
    return chassis, table, rule, kind, name
