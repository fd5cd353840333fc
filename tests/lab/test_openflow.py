"""What Open vSwitch makes of our bytes and our text is the flow that we meant, field by field and action by action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from datapath.openflow.codec import ADD, DELETE_STRICT, V13, V14, encode_bundle_add, encode_flow_mod, encode_flow_mods
from datapath.openflow.flow import (
    Action,
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    Load,
    Match,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    match,
)
from datapath.openflow.oxm import CONTROLLER, FIELDS, IN_PORT, LOCAL
from datapath.openflow.text import format_flow
from tests.lab.openflow_client import OpenFlow
from tests.lab.ovs import Ovs, private_ovs

pytestmark = pytest.mark.lab

IPV4, ARP, IPV6 = {"eth_type": 0x0800}, {"eth_type": 0x0806}, {"eth_type": 0x86DD}
ICMPV6 = {**IPV6, "ip_proto": 58}
PREREQUISITES = {
    prefix: needed
    for prefixes, needed in [
        ("ip_ ipv4_ nw_", IPV4),
        ("ipv6_", IPV6),
        ("arp_", ARP),
        ("tcp_", {**IPV4, "ip_proto": 6}),
        ("udp_", {**IPV6, "ip_proto": 17}),
        ("icmp_", {**IPV4, "ip_proto": 1}),
        ("icmpv6_", ICMPV6),
        ("nd_target nd_reserved nd_options nd_sll", {**ICMPV6, "icmpv6_type": 135}),
        ("nd_tll", {**ICMPV6, "icmpv6_type": 136}),
        ("vlan_pcp", {"vlan_vid": 0x1005}),
    ]
    for prefix in prefixes.split()
}
VALUES = {"in_port": 7, "nxm_in_port": 7, "arp_op": 2, "ct_state": 0x21, "vlan_vid": 0x1005}
PATTERN = 0x1122334455667788_0102030405060709

# What the wire or Open vSwitch refuses, and so the pipeline can never use.
UNMASKABLE = {"in_port", "nxm_in_port", "ct_zone", "eth_type", "vlan_pcp", "ip_dscp", "ip_ecn", "ip_proto", "arp_op"}
UNMASKABLE |= {"icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code", "nw_ttl", "nd_reserved", "nd_options_type"}
READ_ONLY = {"ct_state", "ct_zone", "ct_mark", "eth_type", "ip_proto"}


def prerequisites(name: str) -> dict[str, int]:
    return next((needed for prefix, needed in PREREQUISITES.items() if name.startswith(prefix)), {})


def value_of(name: str) -> int:
    return VALUES.get(name, PATTERN & FIELDS[name].all_ones)


def per_field() -> Iterator[tuple[Match, tuple[Action, ...]]]:
    """Each field matched, matched under a mask, set, loaded whole and in part, and moved."""
    for name, field in FIELDS.items():
        before = match(**prerequisites(name))
        needed = {**prerequisites(name), name: value_of(name)}
        if name != "nxm_in_port":
            yield match(**needed), (Output(1),)
        if name not in UNMASKABLE:
            yield match(**{**needed, name: (value_of(name), field.all_ones & ~1)}), (Output(1),)
        if name in ("vlan_vid", "vlan_pcp"):
            before = match(vlan_vid=(0x1000, 0x1000))
        bits = min(64, field.bits) if name != "vlan_vid" else 12
        if name not in READ_ONLY:
            if name != "in_port":
                yield before, (SetField(name, value_of(name)), Output(2))
            yield before, (Load(name, 0, bits, value_of(name) & (1 << bits) - 1),)
            if bits > 1 and name not in ("in_port", "nxm_in_port", "arp_op", "vlan_vid"):
                yield before, (Load(name, 1, bits - 1, 1),)
            yield before, (Move("reg4", name, min(32, bits)),)
        yield before, (Move(name, "reg5", min(32, bits)),)


LEARN = Learn(
    41, 50, 0x5D0E040000000007, 300, 600,
    (
        LearnMatch("reg0", "reg0", 32),
        LearnMatch("eth_dst", "eth_src", 48),
        LearnMatchValue("eth_type", 0x800, 16),
        LearnMatch("vlan_vid", "vlan_vid", 12),
        LearnLoad("reg2", 15, 32),
        LearnLoad("reg3", 5, 4),
        LearnOutput("reg1", 32),
        LearnOutput("in_port", 32),
    ),
)  # fmt: skip


def special() -> Iterator[tuple[Match, tuple[Action, ...]]]:
    yield match(vlan_vid=0), (PushVlan(), SetField("vlan_vid", 0x1005), Output(2))
    yield match(vlan_vid=(0x1000, 0x1000), vlan_pcp=3), (PopVlan(),)
    yield match(vlan_vid=0x1000), ()
    yield match(in_port=LOCAL), (Output(IN_PORT), Output(LOCAL), Output(CONTROLLER, 65535), Output(CONTROLLER))
    yield match(ipv6_src=(0x20010DB8 << 96, 0xFFFFFFFF << 96), **IPV6), (Output(7),)
    yield (), (Multipath(0, 0, 256, "tun_id", 0, 8), Multipath(1, 50, 3, "reg3", 4, 28))
    yield (), (Resubmit(7), Resubmit(254))
    yield (), (LEARN,)
    yield (
        match(icmpv6_type=135, nd_target=5, **ICMPV6),
        (
            Move("eth_src", "eth_dst", 48),
            SetField("eth_src", 5),
            Move("ipv6_src", "ipv6_dst", 128),
            SetField("ipv6_src", 5),
            SetField("icmpv6_type", 136),
            SetField("nd_options_type", 2),
            SetField("nd_reserved", 0x60000000),
        ),
    )
    yield (
        match(icmpv6_type=136, **ICMPV6),
        (Move("eth_src", "nd_tll", 48), Load("nxm_in_port", 0, 16, 0), Output(1)),
    )


def flows() -> list[Flow]:
    """Every flow with a priority of its own, so that none replaces another."""
    wanted = [
        Flow(n % 3, n + 1, fields, actions, 9 if n % 2 else None, 0x5D0E << 48 | n, n % 5 and 60, n % 7 and 600)
        for n, (fields, actions) in enumerate([*per_field(), *special()])
    ]
    return [*wanted, Flow(0, 0, (), goto=200), Flow(5, 65535, match(reg0=1))]


@dataclass
class Switch:
    ovs: Ovs

    def connect(self, version: int) -> OpenFlow:
        return OpenFlow(self.ovs.management("br0"), version)

    def clear(self) -> None:
        self.ovs.ofctl("del-flows", "br0")


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    with private_ovs(tmp_path_factory.mktemp("ovs")) as ovs:
        ovs.add_bridge("br0")
        yield Switch(ovs)


def by_key(found: Iterator[Flow] | list[Flow]) -> dict[tuple[int, int], Flow]:
    return {(flow.table, flow.priority): flow for flow in found}


@pytest.mark.parametrize("version", [V13, V14])
def test_what_is_dumped_is_what_was_sent(switch: Switch, version: int) -> None:
    switch.clear()
    client = switch.connect(version)
    refused = {str(flow): client.send([encode_flow_mod(flow, ADD, 1, version)]) for flow in flows()}
    assert {flow: errors for flow, errors in refused.items() if errors} == {}
    found = by_key([entry.flow for entry in client.dump()])
    assert found == by_key(flows())
    assert client.send(encode_flow_mods(flows(), DELETE_STRICT, 1, version)) == []
    assert client.dump() == []
    client.close()


def test_what_ovs_ofctl_makes_of_our_text_is_the_flow(switch: Switch, tmp_path: Path) -> None:
    switch.clear()
    lines = tmp_path / "flows"
    lines.write_text("".join(format_flow(flow) + "\n" for flow in flows()))
    switch.ovs.ofctl("add-flows", "br0", str(lines))
    client = switch.connect(V14)
    assert by_key([entry.flow for entry in client.dump()]) == by_key(flows())
    client.close()


def test_a_flow_of_someone_else_does_not_stop_the_dump(switch: Switch) -> None:
    switch.clear()
    switch.ovs.ofctl(
        "add-flow", "br0", "table=1,tcp,tcp_flags=+syn,ct_label=5 actions=ct(commit,zone=5),note:01,output:1"
    )
    switch.ovs.ofctl("add-flow", "br0", "table=2,conj_id=5,pkt_mark=1/1,tcp actions=dec_ttl,write_actions(output:1)")
    client = switch.connect(V14)
    found = [entry.flow for entry in client.dump()]
    assert [flow.table for flow in found] == [1, 2]
    assert client.send(encode_flow_mods(found, DELETE_STRICT, 1, V14)) == []
    assert client.dump() == []
    client.close()


def test_a_bundle_of_ours_is_taken(switch: Switch) -> None:
    switch.clear()
    client = switch.connect(V14)
    control = [bytes.fromhex(f"05210010000000010000000a{kind:04x}0003") for kind in (0, 4)]  # open, commit
    adds = [encode_bundle_add(10, message) for message in encode_flow_mods(flows(), ADD, 5, V14)]
    assert client.send([control[0], *adds, control[1]]) == []
    assert by_key([entry.flow for entry in client.dump()]) == by_key(flows())
    client.close()
