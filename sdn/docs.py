"""The page about the pipeline, made from the tables' own words and from flows compiled for a small example. PURE.

Enters: nothing. Leaves: Markdown, the same every time; `make docs` writes it to docs/pipeline.md, a test keeps it true.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from itertools import groupby
from types import ModuleType

from datapath.addr import Mac
from datapath.openflow.flow import Flow
from datapath.openflow.text import format_flow
from sdn.model import Chassis, Model, Network, Node, Physnet, Port, Segment, Source, Underlay
from sdn.names import names
from sdn.pipeline import TABLES, fields, flows
from sdn.pipeline.fields import FLAG_NAMES, REGISTER_NAMES
from sdn.pipeline.layout import Table

FILE = "example.yaml"
SHOWN = 3  # flows of a kind; the others are like them


def page() -> str:
    """The whole page."""
    return "\n".join([*_opening(), *_bits(), *_tables()]) + "\n"


def _opening() -> Iterator[str]:
    yield "<!-- Made by `make docs` from the docstrings of sdn/pipeline; edit those. -->"
    yield "# A packet's way through the pipeline"
    yield ""
    yield "Every chassis has one integration bridge with the same tables. A packet meets them from the top down, and"
    yield "`sdn trace FROM TO` walks it through them on each chassis along its way."
    yield ""
    yield "| id | table | does |"
    yield "|---|---|---|"
    for module in TABLES:
        table = _table_of(module)
        yield f"| {table.value} | [{table.label}](#{table.label}) | {_purpose(module)} |"
    yield f"| {Table.LEARNED.value} | learned | {_LEARNED} |"
    yield ""
    yield "```"
    yield "a port:     classify ─▶ spoof_guard ─▶ egress_rules ─▶ answer ─▶ route ─▶ forward ─▶ ingress_rules ─▶ output"
    yield "                                                          └──▶ reply ────────────────────────────────────▲"
    yield "a tunnel:   classify ───────────────────────────────────────────────────▶ forward ─▶ …"
    yield "an uplink:  classify (learns the sender) ───────────────────────────────▶ forward ─▶ …"
    yield "```"
    yield ""


_LEARNED = "MACs beyond an uplink, put there by the switch itself (`classify` learns, `forward` asks)."


def _bits() -> Iterator[str]:
    yield "## What tables hand to each other"
    yield ""
    yield "| register | name | holds |"
    yield "|---|---|---|"
    holds = {
        fields.NETWORK: "id of the network that the packet belongs to",
        fields.INPORT: "id of the port it came in by; 0 when it came from a tunnel or an uplink",
        fields.OUTPORT: "id of the port it leaves by, or a tunnel kind, `uplink`, `flood`",
        fields.FLAGS: ", ".join(f"bit {bit.bit_length() - 1} `{name}`" for bit, name in FLAG_NAMES.items()),
    }
    for register, name in REGISTER_NAMES.items():
        yield f"| {register} | {name} | {holds[register]} |"
    yield ""
    yield (
        f"A flow's cookie says why it is there: `{fields.COOKIE_MARK:#06x}` (16 bits, our mark), the kind of object "
        f"(8 bits: {', '.join(f'{kind.value} {kind.name.lower()}' for kind in fields.Kind)}), zero (8 bits), "
        "the object's id (32 bits). `sdn flows` and `sdn trace` print the object and its line in the topology file."
    )
    yield ""


def _tables() -> Iterator[str]:
    model = example()
    compiled = sorted(flows(model, "hv1"), key=lambda flow: (flow.table, -flow.priority))
    by_table = {table: list(group) for table, group in groupby(compiled, key=lambda flow: flow.table)}
    yield "The flows below are those of chassis `hv1` in a lab of two chassis with a VXLAN network `web` (web1 on hv1,"
    yield "web2 on hv2) and a VLAN network `office` (desk1 on hv1); of flows of one kind the first are shown."
    yield ""
    for module in TABLES:
        table = _table_of(module)
        yield f"## {table.label}"
        yield ""
        yield _words(module)
        yield ""
        yield "```"
        yield from _sample(model, by_table.get(table, []))
        yield "```"
        yield ""


def _sample(model: Model, found: list[Flow]) -> Iterator[str]:
    """The first few flows of each shape (priority, fields, kind of object)."""
    printed = names(model, "hv1")
    shapes: dict[object, int] = {}
    for flow in found:
        shape = (flow.priority, tuple(item.field for item in flow.match), flow.cookie >> 40, len(flow.actions))
        shapes[shape] = shapes.get(shape, 0) + 1
        if shapes[shape] <= SHOWN:
            yield format_flow(flow, printed)


def _table_of(module: ModuleType) -> Table:
    return Table[module.__name__.rpartition(".")[2].upper()]


def _words(module: ModuleType) -> str:
    """The module's docstring less the words before the colon."""
    assert module.__doc__
    text = module.__doc__.strip().partition(": ")[2]
    return text[:1].upper() + text[1:]


def _purpose(module: ModuleType) -> str:
    return _words(module).split("\n")[0]


def example() -> Model:
    """Two chassis, a VXLAN network across them, and a VLAN network with an uplink."""
    chassis = {
        f"hv{n}": Chassis(
            15 + n,
            f"hv{n}",
            IPv4Interface(f"172.31.0.{n}/24"),
            Mac(0x02_00_AC_1F_00_00 + n),
            "ovs",
            ("lan",),
            _at(1 + n),
        )
        for n in (1, 2)
    }
    web = Network(
        100,
        "web",
        Segment("vxlan", 10010),
        (IPv4Network("10.10.0.0/24"), IPv6Network("fd00:10::/64")),
        1450,
        "drop",
        _at(6),
    )
    office = Network(101, "office", Segment("vlan", 120, "lan"), (IPv4Network("10.20.0.0/24"),), 1500, "flood", _at(7))
    ports = (
        _port(200, "web1", web, "hv1", 64, "10.10.0.11/24", "fd00:10::b/64"),
        _port(201, "web2", web, "hv2", 64, "10.10.0.12/24", "fd00:10::c/64"),
        _port(202, "desk1", office, "hv1", 65, "10.20.0.11/24"),
    )
    return Model(
        lab="example",
        underlay=Underlay(IPv4Network("172.31.0.0/24"), 1500),
        physnets={"lan": Physnet("lan", 1500, 16, _at(4))},
        chassis=chassis,
        networks={"web": web, "office": office},
        nodes={port.node: Node(port.id, port.node, port.chassis, port.source) for port in ports},
        ports={port.name: port for port in ports},
    )


def _at(line: int) -> Source:
    return Source(FILE, line, 3)


def _port(number: int, node: str, network: Network, chassis: str, ofport: int, *addresses: str) -> Port:
    return Port(
        id=number,
        name=f"{node}:eth0",
        node=node,
        interface="eth0",
        tag=None,
        network=network.name,
        chassis=chassis,
        ofport=ofport,
        mac=Mac(0x02_00_00_00_00_00 + number),
        addresses=tuple(IPv6Interface(text) if ":" in text else IPv4Interface(text) for text in addresses),
        allowed=(),
        spoof_guard=True,
        source=_at(number - 192),
    )
