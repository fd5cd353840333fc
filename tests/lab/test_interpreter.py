"""Our interpreter and Open vSwitch (`ofproto/trace`) take the same way through random tables and send the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapath.addr import Mac
from datapath.openflow.codec import ADD, V14, encode_flow_mod
from datapath.openflow.flow import (
    Action,
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    Load,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    match,
)
from datapath.openflow.interpreter import Tables, Walk
from datapath.openflow.oxm import CONTROLLER, FIELDS, IN_PORT, LOCAL
from datapath.openflow.packet import Packet
from datapath.openflow.text import format_match
from tests.lab.openflow_client import OpenFlow
from tests.lab.ovs import Ovs, private_ovs

pytestmark = pytest.mark.lab

PORTS = 4
TABLES = 4
XID_OFFSET = 8

# --- Open vSwitch ----------------------------------------------------------------------------------------------------


@dataclass
class Trace:
    """What ofproto/trace says: (table, cookie or None for a miss), ports in order, the fields in the end."""

    path: list[tuple[int, int | None]]
    outputs: list[int]
    to_controller: int
    final: dict[str, str]


@dataclass
class Switch:
    ovs: Ovs
    client: OpenFlow
    ports: dict[int, int] = field(default_factory=dict)
    """Datapath port → OpenFlow port."""

    def program(self, flows: list[Flow]) -> list[Flow]:
        """Replace all flows; returns those that Open vSwitch took."""
        refused = set()
        messages = [encode_flow_mod(Flow(0xFF, 0, ()), 3, 0xFFFF, V14)]
        messages += [encode_flow_mod(flow, ADD, xid, V14) for xid, flow in enumerate(flows)]
        for error in self.client.send(messages):
            refused.add(int.from_bytes(error[XID_OFFSET : XID_OFFSET + 4], "big"))
        return [flow for xid, flow in enumerate(flows) if xid not in refused]

    def trace(self, packet: Packet) -> Trace:
        text = self.ovs.appctl("ofproto/trace", "br0", format_match(match(**packet)))
        path = [
            (int(table), int(cookie, 16) if cookie else None)
            for table, cookie in re.findall(r"^ *(\d+)\. (?:No match|.*cookie (0x[0-9a-f]+))", text, re.M)
        ]
        actions = _line(text, "Datapath actions: ")
        while (flat := re.sub(r"\([^()]*\)", "", actions)) != actions:
            actions = flat
        sent = [self.ports[int(part)] for part in actions.split(",") if part.isdigit()]
        return Trace(path, sent, actions.split(",").count("userspace"), _fields(text))


def _line(text: str, start: str) -> str:
    return next(line.removeprefix(start) for line in text.splitlines() if line.startswith(start))


def _fields(text: str) -> dict[str, str]:
    final = _line(text, "Final flow: ")
    if final == "unchanged":
        final = _line(text, "Flow: ")
    return dict(part.split("=", 1) for part in final.split(",") if "=" in part)


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    with private_ovs(tmp_path_factory.mktemp("ovs")) as ovs:
        ovs.add_bridge("br0")
        for n in range(1, PORTS + 1):
            ovs.vsctl(
                "add-port", "br0", f"p{n}", "--",
                "set", "interface", f"p{n}", "type=internal", f"ofport_request={n}",
            )  # fmt: skip
        made = Switch(ovs, OpenFlow(ovs.management("br0"), V14))
        shown = re.findall(r"(\d+)/(\d+):", ovs.appctl("dpif/show"))
        made.ports = {int(dp): LOCAL if int(of) == 65534 else int(of) for of, dp in shown}
        yield made
        made.client.close()


# --- random tables and packets, from few values so that they meet ---------------------------------------------------

MACS = [0x020000000001, 0x020000000002, 0x030000000001, 0xFFFFFFFFFFFF]
ADDRESSES = [0x0A000001, 0x0A000002, 0x0A010001]
V6 = [0xFD << 120 | 1, 0xFD << 120 | 2, 0xFE80 << 112 | 9]
SMALL = [0, 1, 2, 0xFFFFFFFF]
VALUES: dict[str, list[int]] = {
    "in_port": [1, 2, 3, LOCAL],
    "eth_src": MACS,
    "eth_dst": MACS,
    "vlan_vid": [0x1005, 0x1007],
    "vlan_pcp": [0, 3],
    "nw_ttl": [1, 64],
    "ip_dscp": [0, 10],
    "tcp_src": [80, 81],
    "tcp_dst": [80, 81],
    "udp_src": [53, 80],
    "udp_dst": [53, 80],
    "icmp_type": [0, 8],
    "icmpv6_type": [135, 136, 128],
    "arp_op": [1, 2],
    "nd_options_type": [1, 2],
    "nd_reserved": [0, 0x60000000],
    **dict.fromkeys(["ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"], ADDRESSES),
    **dict.fromkeys(["ipv6_src", "ipv6_dst", "nd_target"], V6),
    **dict.fromkeys(["arp_sha", "arp_tha", "nd_sll", "nd_tll"], MACS),
    **dict.fromkeys(["reg0", "reg1", "reg2", "metadata", "tun_id"], SMALL),
}
IPV4, ARP, IPV6 = {"eth_type": 0x0800}, {"eth_type": 0x0806}, {"eth_type": 0x86DD}
NS = {**IPV6, "ip_proto": 58, "icmpv6_type": 135}
NA = {**IPV6, "ip_proto": 58, "icmpv6_type": 136}
ETHERNET = ["eth_src", "eth_dst"]
IP4, IP6 = [*ETHERNET, "ipv4_src", "ipv4_dst", "nw_ttl", "ip_dscp"], [*ETHERNET, "ipv6_src", "ipv6_dst", "nw_ttl"]
ND = [*IP6, "nd_target"]
# What makes a protocol, and the fields that it then has.
Protocol = tuple[dict[str, int], list[str]]
PROTOCOLS: list[Protocol] = [
    (IPV4, IP4),
    ({**IPV4, "ip_proto": 6}, [*IP4, "tcp_src", "tcp_dst"]),
    ({**IPV4, "ip_proto": 1}, [*IP4, "icmp_type"]),
    (ARP, [*ETHERNET, "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
    (IPV6, IP6),
    ({**IPV6, "ip_proto": 17}, [*IP6, "udp_src", "udp_dst"]),
    (NS, [*ND, "nd_sll"]),
    (NA, [*ND, "nd_tll"]),
]
INTERNAL = ["reg0", "reg1", "reg2", "metadata", "tun_id"]
MASKS = {"eth_dst": 1 << 40, "eth_src": 0xFF, "ipv4_src": 0xFFFF0000, "ipv4_dst": 0xFFFF0000, "ipv6_dst": 0xFF << 120}
MASKS |= {"reg0": 1, "reg1": 0xF0000001, "metadata": 2, "tun_id": 1, "arp_tpa": 0xFFFF00FF}


@st.composite
def packets(draw: st.DrawFn, protocol: Protocol) -> Packet:
    needed, names = draw(st.sampled_from([protocol] * 4 + PROTOCOLS))
    packet = {name: draw(st.sampled_from(VALUES[name])) for name in [*names, "in_port"]} | needed
    if draw(st.booleans()):
        packet |= {"vlan_vid": draw(st.sampled_from(VALUES["vlan_vid"])), "vlan_pcp": draw(st.sampled_from([0, 3]))}
    return packet


@st.composite
def flows(draw: st.DrawFn, number: int, protocol: Protocol) -> Flow:
    """A flow of its own priority and cookie, that matches few enough fields to be met."""
    any_protocol: Protocol = ({}, ETHERNET)
    needed, names = draw(st.sampled_from([any_protocol] * 3 + [protocol] * 8 + PROTOCOLS))
    wanted: dict[str, int | tuple[int, int]] = dict(needed)
    tagged = draw(st.sampled_from([None, None, None, None, False, True]))
    if tagged is not None:
        wanted["vlan_vid"] = (0x1000, 0x1000) if tagged else 0
    for name in draw(
        st.lists(st.sampled_from([*names, *INTERNAL, "in_port"]), max_size=draw(st.integers(0, 2)), unique=True)
    ):
        value = draw(st.sampled_from(VALUES[name])) & FIELDS[name].all_ones
        wanted[name] = (value, MASKS[name]) if name in MASKS and draw(st.booleans()) else value
    table = draw(st.sampled_from([0, 0, 1, 2, 3]))
    usable = [*names, *INTERNAL, *(["vlan_vid", "vlan_pcp"] if tagged else [])]
    if "icmpv6_type" in needed:
        usable += ["nd_options_type", "nd_reserved", "icmpv6_type"]
    done = draw(st.lists(actions(usable, table), max_size=5))
    goto = draw(st.integers(table + 1, TABLES - 1)) if table < TABLES - 1 and draw(st.integers(0, 3)) else None
    return Flow(table, 100 + number, match(**wanted), tuple(done), goto, cookie=number + 1)


@st.composite
def setters(draw: st.DrawFn, names: list[str]) -> Action:
    name = draw(st.sampled_from(names))
    value = draw(st.sampled_from(VALUES[name])) & FIELDS[name].all_ones
    bits = min(64, FIELDS[name].bits)
    if name == "vlan_vid" or draw(st.booleans()):
        return SetField(name, value)
    offset = draw(st.integers(0, bits - 1))
    size = draw(st.integers(1, bits - offset))
    return Load(name, offset, size, value & (1 << size) - 1)


@st.composite
def movers(draw: st.DrawFn, names: list[str]) -> Move:
    source, target = (draw(st.sampled_from([n for n in names if n != "vlan_vid"])) for _ in range(2))
    bits = draw(st.integers(1, min(FIELDS[source].bits, FIELDS[target].bits)))
    offsets = [draw(st.integers(0, FIELDS[name].bits - bits)) for name in (source, target)]
    return Move(source, target, bits, *offsets)


def actions(names: list[str], table: int) -> st.SearchStrategy[Action]:
    known = st.sampled_from([1, 2, 3, PORTS, LOCAL, IN_PORT])
    hashes = st.builds(
        Multipath,
        st.integers(0, 1),
        st.integers(0, 0xFFFF),
        st.integers(1, 256),
        st.just("reg2"),
        st.just(4),
        st.just(8),
    )
    choices = [
        st.builds(Output, known, st.just(0)),
        st.builds(Output, known, st.just(0)),
        st.just(Output(CONTROLLER, 128)),
        setters(names),
        setters(names),
        movers(names),
        hashes,
        st.just(Load("nxm_in_port", 0, 16, 0)),
        st.just(PushVlan()),
        st.just(PopVlan()),
    ]
    if table < TABLES - 1:
        choices += [st.builds(Resubmit, st.integers(table + 1, TABLES - 1))] * 2
    return st.one_of(choices)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Flow], list[Packet]]:
    """Tables and packets that are mostly about one protocol."""
    protocol = draw(st.sampled_from(PROTOCOLS))
    count = draw(st.integers(4, 16))
    asked = draw(st.lists(packets(protocol), min_size=1, max_size=5))
    return [draw(flows(number, protocol)) for number in range(count)], asked


# --- both of them ----------------------------------------------------------------------------------------------------

SHOWN = {
    **{name: (name, lambda text: int(text, 0)) for name in INTERNAL},
    "eth_src": ("dl_src", Mac.parse),
    "eth_dst": ("dl_dst", Mac.parse),
    "ipv4_src": ("nw_src", lambda text: int(IPv4Address(text))),
    "ipv4_dst": ("nw_dst", lambda text: int(IPv4Address(text))),
    "arp_spa": ("arp_spa", lambda text: int(IPv4Address(text))),
    "arp_tpa": ("arp_tpa", lambda text: int(IPv4Address(text))),
    "arp_sha": ("arp_sha", Mac.parse),
    "arp_tha": ("arp_tha", Mac.parse),
    "arp_op": ("arp_op", int),
    "ipv6_src": ("ipv6_src", lambda text: int(IPv6Address(text))),
    "ipv6_dst": ("ipv6_dst", lambda text: int(IPv6Address(text))),
    "nd_target": ("nd_target", lambda text: int(IPv6Address(text))),
    "nd_sll": ("nd_sll", Mac.parse),
    "nd_tll": ("nd_tll", Mac.parse),
    "nw_ttl": ("nw_ttl", int),
    "ip_dscp": ("nw_tos", lambda text: int(text) >> 2),
    "tcp_src": ("tp_src", int),
    "tcp_dst": ("tp_dst", int),
    "udp_src": ("tp_src", int),
    "udp_dst": ("tp_dst", int),
    "icmp_type": ("icmp_type", int),
    "icmpv6_type": ("icmp_type", int),
    "vlan_pcp": ("dl_vlan_pcp", int),
}


def assert_same(walk: Walk, trace: Trace) -> None:
    cookies = [(step.table, step.flow.cookie if step.flow else None) for step in walk.steps]
    assert cookies == trace.path
    assert [sent.port for sent in walk.outputs] == trace.outputs
    assert len(walk.to_controller) == trace.to_controller
    for name, value in walk.packet.items():
        shown = SHOWN.get(name)
        if shown and (shown[0] in trace.final or name in INTERNAL):
            found = trace.final.get(shown[0], "0")
            assert (name, shown[1](found)) == (name, value)
    vlan = 0x1000 | int(trace.final["dl_vlan"]) if "dl_vlan" in trace.final else 0
    assert walk.packet.get("vlan_vid", 0) == vlan


@given(case=cases())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_same_way_and_the_same_end(switch: Switch, case: tuple[list[Flow], list[Packet]]) -> None:
    wanted, asked = case
    taken = switch.program(wanted)
    tables = Tables(taken)
    for packet in asked:
        assert_same(tables.run(packet), switch.trace(packet))


@pytest.mark.parametrize("fields", [0, 1])
@pytest.mark.parametrize("basis", [0, 50, 65535])
def test_multipath_hashes_are_the_same_to_the_bit(switch: Switch, fields: int, basis: int) -> None:
    (flow,) = switch.program([Flow(0, 1, (), (Multipath(fields, basis, 65535, "reg0", 0, 16),), cookie=1)])
    for needed, names in PROTOCOLS:
        for vlan in ({}, {"vlan_vid": 0x1005}):
            packet = {name: VALUES[name][-1] for name in names} | needed | vlan | {"in_port": 1}
            assert_same(Tables([flow]).run(packet), switch.trace(packet))


def test_neighbour_discovery_is_answered_alike(switch: Switch) -> None:
    asker, answerer, address = 0x020000000001, 0x020000000002, V6[0]
    solicitation = match(nd_target=address, **NS)
    answer = (
        Move("eth_src", "eth_dst", 48),
        SetField("eth_src", answerer),
        Move("ipv6_src", "ipv6_dst", 128),
        SetField("ipv6_src", address),
        SetField("icmpv6_type", 136),
        SetField("nd_options_type", 2),
        SetField("nd_reserved", 0x60000000),
    )
    finish = (Move("eth_src", "nd_tll", 48), Load("nxm_in_port", 0, 16, 0), Output(1))
    flows = [Flow(0, 1, solicitation, answer, 1, cookie=1), Flow(1, 1, match(**NA), finish, cookie=2)]
    assert switch.program(flows) == flows
    packet = {**NS, "nd_target": address, "in_port": 1, "eth_src": asker, "ipv6_src": V6[1], "nd_sll": asker}
    walk = Tables(flows).run(packet)
    assert_same(walk, switch.trace(packet))
    assert walk.outputs[0].packet["nd_tll"] == answerer


def test_endless_resubmits_are_dropped_by_both(switch: Switch) -> None:
    flows = switch.program([Flow(0, 1, (), (Output(2), Resubmit(0)), cookie=1)])
    walk, trace = Tables(flows).run({"in_port": 1}), switch.trace({"in_port": 1})
    assert walk.dropped
    assert trace.outputs == []
    assert len(walk.steps) == len(trace.path)


FRAME = "ffffffffffff02000000000981000005080045000014000000004000" + "0000" * 5
LEARN = Learn(
    2, 50, 0x99, 300, 600,
    (
        LearnMatch("reg0", "reg0", 32),
        LearnMatch("eth_dst", "eth_src", 48),
        LearnMatch("vlan_vid", "vlan_vid", 12),
        LearnMatchValue("eth_type", 0x800, 16),
        LearnLoad("reg2", 15, 32),
        LearnOutput("in_port", 32),
    ),
)  # fmt: skip


def test_a_learned_flow_is_the_one_that_we_say(switch: Switch) -> None:
    flows = [Flow(0, 1, (), (SetField("reg0", 7), LEARN), cookie=1)]
    assert switch.program(flows) == flows
    packet = {"in_port": 3, "eth_src": 0x020000000009, "eth_dst": MACS[3], "vlan_vid": 0x1005, "eth_type": 0x800}
    (learned,) = Tables(flows).run(packet).learned
    switch.ovs.ofctl("packet-out", "br0", f"in_port=3 packet={FRAME} actions=table")
    assert [entry.flow for entry in switch.client.dump() if entry.flow.table == 2] == [learned]
