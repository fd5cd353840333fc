"""Packets through small tables: what each action does, what wins, and how a walk ends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Unknown,
    match,
)
from datapath.openflow.interpreter import Change, Tables, Walk
from datapath.openflow.oxm import CONTROLLER, FIELDS, IN_PORT
from datapath.openflow.packet import Packet
from datapath.openflow.text import Names
from tests.unit.openflow.strategies import flows

TCP = {"eth_type": 0x800, "ip_proto": 6, "ipv4_src": 0x0A000001, "ipv4_dst": 0x0A000002, "tcp_dst": 80}
SOLICITATION = {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135}


def act(*actions: Action, packet: Packet | None = None, wanted: Match = ()) -> Walk:
    return Tables([Flow(0, 1, wanted, actions)]).run(packet or {}, in_port=1)


def ports(walk: Walk) -> list[int]:
    return [sent.port for sent in walk.outputs]


def test_the_highest_priority_wins_and_a_later_flow_of_the_same_key_replaces() -> None:
    tables = Tables(
        [
            Flow(0, 1, (), (Output(2),)),
            Flow(0, 9, match(eth_dst=5), (Output(3),)),
            Flow(0, 5, match(eth_dst=(4, 4)), (Output(4),)),
            Flow(0, 9, match(eth_dst=5), (Output(5),)),
        ]
    )
    assert [ports(tables.run({"eth_dst": mac}, 1)) for mac in (5, 6, 8)] == [[5], [4], [2]]


def test_goto_resubmit_and_registers_go_on_with_what_was_changed() -> None:
    tables = Tables(
        [
            Flow(0, 1, (), (SetField("reg0", 7), Resubmit(9), Output(3)), goto=4),
            Flow(4, 1, match(reg0=7, reg1=8), (Output(2),)),
            Flow(9, 1, match(reg0=7), (SetField("reg1", 8),)),
        ]
    )
    walk = tables.run({}, 1)
    assert ports(walk) == [3, 2]
    assert [(step.table, step.depth) for step in walk.steps] == [(0, 0), (9, 1), (4, 0)]
    assert walk.steps[1].changes == (Change("reg1", 0, 8),)
    assert walk.outputs[0].packet["reg1"] == 8
    assert walk.ended() == "sent"


def test_why_it_was_dropped() -> None:
    names = Names(table={0: "classify", 8: "spoof_guard"}.__getitem__)
    assert Tables([]).run({}, 1).ended() == "dropped: no flow in table 0"
    assert Tables([Flow(0, 1, (), goto=8)]).run({}, 1).ended(names) == "dropped: no flow in table spoof_guard"
    assert Tables([Flow(0, 1, ())]).run({}, 1).ended(names) == "dropped by classify 1 any → drop"
    assert act(Output(1)).ended() == "dropped: it would go back to the port that it came in by"


def test_a_packet_goes_back_only_through_in_port_or_when_in_port_is_cleared() -> None:
    assert ports(act(Output(1), Output(2))) == [2]
    assert ports(act(Output(IN_PORT))) == [1]
    assert ports(act(Load("nxm_in_port", 0, 16, 0), Output(1))) == [1]


def test_to_the_controller() -> None:
    walk = act(Output(CONTROLLER, 128), Output(CONTROLLER))
    assert [sent.max_len for sent in walk.to_controller] == [128, 0]
    assert (walk.outputs, walk.dropped) == ((), False)


def test_vlan_tags_are_a_stack() -> None:
    tagged = {"vlan_vid": 0x1005, "vlan_pcp": 3}
    walk = act(
        PushVlan(), SetField("vlan_vid", 0x1007), Output(2), PopVlan(), Output(3), PopVlan(), Output(4), packet=tagged
    )
    assert [(s.packet["vlan_vid"], s.packet["vlan_pcp"]) for s in walk.outputs] == [(0x1007, 0), (0x1005, 3), (0, 0)]


def test_fields_of_another_protocol_are_not_written() -> None:
    assert act(SetField("tcp_dst", 5), packet={"eth_type": 0x806}).packet == {"eth_type": 0x806, "in_port": 1}
    assert act(SetField("vlan_vid", 0x1005)).packet == {"in_port": 1}
    assert act(Move("arp_tpa", "reg0", 32), packet={"arp_tpa": 3}).packet.get("reg0", 0) == 0
    assert act(SetField("tcp_dst", 5), packet=TCP).packet["tcp_dst"] == 5


def test_bits_are_loaded_and_moved() -> None:
    walk = act(Load("reg0", 8, 8, 0x7F), Move("reg0", "tun_id", 4, 8, 60), packet={"reg0": 0xFFFFFFFF})
    assert walk.packet["reg0"] == 0xFFFF7FFF
    assert walk.packet["tun_id"] == 0xF << 60


def test_a_neighbour_solicitation_becomes_the_advertisement() -> None:
    """RFC 4861 section 4.4: solicited, override, and the target's address as option 2."""
    asker, target, address = 0x020000000001, 0x020000000002, 0xFD << 120 | 2
    tables = Tables(
        [
            Flow(0, 9, match(nd_target=address, **SOLICITATION), (
                Move("eth_src", "eth_dst", 48), SetField("eth_src", target),
                Move("ipv6_src", "ipv6_dst", 128), SetField("ipv6_src", address),
                SetField("icmpv6_type", 136), SetField("nd_options_type", 2), SetField("nd_reserved", 0x60000000),
            ), goto=1),
            Flow(1, 9, match(eth_type=0x86DD, ip_proto=58, icmpv6_type=136), (
                Move("eth_src", "nd_tll", 48), Load("nxm_in_port", 0, 16, 0), Output(1),
            )),
        ]
    )  # fmt: skip
    packet = {**SOLICITATION, "nd_target": address, "eth_src": asker, "ipv6_src": 5, "nd_sll": asker}
    (sent,) = tables.run(packet, 1).outputs
    assert sent.port == 1
    assert {name: sent.packet[name] for name in ("eth_dst", "eth_src", "ipv6_dst", "ipv6_src", "nd_tll")} == {
        "eth_dst": asker, "eth_src": target, "ipv6_dst": 5, "ipv6_src": address, "nd_tll": target,
    }  # fmt: skip


def test_a_learned_flow() -> None:
    specs = (
        LearnMatch("reg0", "reg0", 32),
        LearnMatch("eth_dst", "eth_src", 48),
        LearnMatch("vlan_vid", "vlan_vid", 12),
        LearnMatchValue("eth_type", 0x800, 16),
        LearnLoad("reg2", 15, 32),
        LearnOutput("in_port", 32),
    )
    walk = act(Learn(41, 50, 99, 300, 600, specs), packet={"reg0": 7, "eth_src": 9, "vlan_vid": 0x1005})
    assert walk.learned == (
        Flow(
            41, 50, match(reg0=7, eth_dst=9, eth_type=0x800, vlan_vid=(5, 0xFFF)),
            (Load("reg2", 0, 32, 15), Output(1)), None, 99, 300, 600,
        ),
    )  # fmt: skip
    assert walk.dropped


def test_endless_resubmits_end_and_send_nothing() -> None:
    walk = act(Output(2), Resubmit(0))
    assert walk.outputs == ()
    assert "resubmits" in walk.ended()


def test_what_cannot_be_interpreted_says_so() -> None:
    assert "does not know what group:7 does" in act(Output(2), Unknown(bytes.fromhex("0016000800000007"))).ended()
    assert "hash fields 9" in act(Multipath(9, 0, 4, "reg0", 0, 8)).ended()


@pytest.mark.parametrize(("mac", "basis", "expected"), [(0x020000000001, 0, 79), (0x020000000002, 7, 48)])
def test_multipath_is_stable(mac: int, basis: int, expected: int) -> None:
    walk = act(Multipath(0, basis, 256, "tun_id", 0, 8), packet={"eth_src": mac, "tun_id": 0xAB00})
    assert walk.packet["tun_id"] == 0xAB00 | expected


@given(st.lists(flows(), max_size=10), st.dictionaries(st.sampled_from(sorted(FIELDS)), st.integers(0, 3)))
def test_any_flows_and_any_packet_come_to_an_end(wanted: list[Flow], packet: Packet) -> None:
    before = dict(packet)
    walk = Tables([flow._replace(table=flow.table % 3) for flow in wanted]).run(packet, 1)
    assert packet == before
    assert walk.steps
    assert walk.ended()


def test_a_lookup_does_not_depend_on_the_number_of_flows() -> None:
    tables = Tables(Flow(0, 5, match(reg0=n % 9, eth_dst=n), (Output(2),)) for n in range(20_000))
    started = time.process_time()
    for n in range(1000):
        assert tables.run({"reg0": n % 9, "eth_dst": n}, 1).outputs
    assert (time.process_time() - started) / 1000 < 0.001
