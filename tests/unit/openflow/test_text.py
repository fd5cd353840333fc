"""What people read of a flow. (That ovs-ofctl reads the other form is tested in tests/lab/test_openflow.py.)"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import binary

from datapath.openflow.actions import decode_instructions
from datapath.openflow.flow import (
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnOutput,
    Load,
    Move,
    Multipath,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    Unknown,
    match,
)
from datapath.openflow.oxm import CONTROLLER, IN_PORT
from datapath.openflow.text import Names, format_action, format_actions, format_flow, format_match
from tests.unit.openflow.strategies import flows

NAMES = Names(
    table={8: "spoof_guard", 24: "answer"}.__getitem__,
    fields={"reg0": "network", "reg2": "outport", "reg3": "flags"},
    value=lambda name, value: {("reg0", 7): "web", ("reg2", 20): "web3:eth0"}.get((name, value)),
    flags={"reg3": {1: "from_tunnel", 2: "from_uplink"}},
    port={5: "web3:eth0"}.get,
    cookie={77: "port web1:eth0 (overlay.yaml:12:3)"}.get,
)


def test_a_flow_by_its_names() -> None:
    flow = Flow(8, 100, match(reg0=7, eth_type=0x806, arp_spa=0x0A0A0005), (SetField("reg2", 20),), 24, cookie=77)
    assert format_flow(flow, NAMES) == (
        "spoof_guard 100 arp,network=web,arp_spa=10.10.0.5 → outport=web3:eth0, goto answer"
        "  # port web1:eth0 (overlay.yaml:12:3)"
    )


def test_the_same_flow_for_ovs_ofctl() -> None:
    flow = Flow(8, 100, match(reg0=7, eth_type=0x806), (SetField("reg2", 20),), 24, cookie=77, idle_timeout=3)
    assert format_flow(flow) == (
        "cookie=0x4d,table=8,priority=100,idle_timeout=3,reg0=0x7,eth_type=0x806 "
        "actions=set_field:0x14->reg2,goto_table:24"
    )


def test_a_flow_that_drops() -> None:
    assert format_flow(Flow(8, 0, ()), NAMES) == "spoof_guard 0 any → drop"


def test_protocols_are_one_word() -> None:
    def shown(**fields: int | tuple[int, int]) -> str:
        return format_match(match(**fields), NAMES)

    assert shown(eth_type=0x86DD, ip_proto=58, icmpv6_type=135) == "icmp6,icmpv6_type=135"
    assert shown(eth_type=0x800, ip_proto=6, tcp_dst=80) == "tcp,tcp_dst=80"
    assert shown(eth_type=0x800, ip_proto=99) == "ip,ip_proto=99"
    assert shown(eth_type=0x88CC) == "eth_type=0x88cc"


def test_vlans_ports_prefixes_and_flags() -> None:
    def shown(**fields: int | tuple[int, int]) -> str:
        return format_match(match(**fields), NAMES)

    assert shown(vlan_vid=0x1014) == "vlan=20"
    assert shown(vlan_vid=0) == "untagged"
    assert shown(vlan_vid=(0x1000, 0x1000)) == "tagged"
    assert shown(in_port=5) == "in_port=web3:eth0"
    assert shown(ipv4_src=(0x0A0A0000, 0xFFFF0000)) == "ipv4_src=10.10.0.0/16"
    assert shown(ipv4_src=(0x0A0A0001, 0xFFFF00FF)) == "ipv4_src=10.10.0.1/255.255.0.255"
    assert shown(reg3=(1, 3)) == "flags=+from_tunnel-from_uplink"
    assert shown(reg3=(1, 5)) == "flags=+from_tunnel+0x0/0x4"
    assert shown(reg0=(8, 12)) == "network=0x8/0xc"


def test_actions() -> None:
    shown = [
        format_action(action, NAMES)
        for action in [
            Output(5),
            Output(IN_PORT),
            Output(CONTROLLER, 128),
            SetField("reg3", 3),
            SetField("vlan_vid", 0x1014),
            PopVlan(),
            Load("nxm_in_port", 0, 16, 0),
            Load("tun_id", 0, 8, 5),
            Move("eth_src", "eth_dst", 48),
            Multipath(0, 0, 256, "tun_id", 0, 8),
            Resubmit(24),
            Unknown(b"\1\2"),
            Learn(
                24,
                9,
                0,
                300,
                0,
                (LearnMatch("eth_dst", "eth_src", 48), LearnLoad("reg2", 20, 32), LearnOutput("reg1", 32)),
            ),
        ]
    ]
    assert shown == [
        "output web3:eth0",
        "output in_port",
        "output controller",
        "flags=from_tunnel+from_uplink",
        "vlan=20",
        "pop_vlan",
        "in_port=0",
        "tun_id[0..7]=0x5",
        "eth_dst:=eth_src",
        "tun_id[0..7]:=hash(eth_src)%256",
        "resubmit answer",
        "unknown 0102",
        "learn into answer 9 idle_timeout=300 (eth_dst is eth_src, set outport=web3:eth0, output reg1)",
    ]


@pytest.mark.parametrize(
    ("instructions", "said"),
    [
        ("0004 0010 00000000 0016 0008 00000007", "group:7"),
        ("0005 0008 00000000", "clear_actions"),
        ("0003 0018 00000000 0000 0010 00000002 ffff000000000000", "write_actions(output:2)"),
        ("0003 0010 00000000 0016 0008 00000007", "write_actions(group:7)"),
        ("0003 0008 00000000", "write_actions()"),
        ("0006 0008 00000003", "meter:3"),
        ("0002 0018 00000000 0000000000000007 00000000000000ff", "write_metadata:0x7/0xff"),
        ("0004 0010 00000000 0018 0008 00000000", "dec_ttl"),
        ("0004 0020 00000000 ffff 0018 00002320 0023 0001 00000000 0005 ff000000 0000", "ct(commit,zone=5)"),
        (
            "0004 0020 00000000 ffff 0018 00002320 0023 0003 00000000 0000 0a 000000 0015",
            "ct(commit,force,table=10,...)",
        ),
        ("0004 0018 00000000 ffff 0010 00002320 002b 000000000000", "ct_clear"),
        ("0004 0018 00000000 ffff 0010 00002320 0008 00000000002a", "note ffff001000002320000800000000002a"),
        ("0004 0018 00000000 ffff 0010 00001234 002b 000000000000", "unknown ffff001000001234002b000000000000"),
    ],
)
def test_what_only_others_do(instructions: str, said: str) -> None:
    actions, _ = decode_instructions(bytes.fromhex(instructions))
    assert format_actions(Flow(0, 0, (), actions)) == said


def test_what_only_others_do_has_our_names_inside() -> None:
    raw = bytes.fromhex("0003 0018 00000000 0000 0010 00000005 ffff000000000000")
    assert format_action(Unknown(raw), NAMES) == "write_actions(output web3:eth0)"


@given(binary(max_size=40))
def test_any_bytes_have_words(raw: bytes) -> None:
    for head in (b"", b"\0\3\0\0\0\0\0\0", b"\xff\xff\0\x18\0\0\x23\x20\0\x23"):
        assert "\n" not in format_action(Unknown(head + raw))


@given(flows())
def test_every_flow_has_both_forms_on_one_line(flow: Flow) -> None:
    for names in (None, NAMES, Names()):
        text = format_flow(flow._replace(table=8, goto=None, actions=flow.actions[:0]), names)
        assert text
        assert "\n" not in text + "".join(format_action(a, Names() if names else None) for a in flow.actions)
