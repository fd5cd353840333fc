"""What people read of a flow. (That ovs-ofctl reads the other form is tested in tests/lab/test_openflow.py.)"""

from __future__ import annotations

from hypothesis import given

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
from datapath.openflow.text import Names, format_action, format_flow, format_match
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


@given(flows())
def test_every_flow_has_both_forms_on_one_line(flow: Flow) -> None:
    for names in (None, NAMES, Names()):
        text = format_flow(flow._replace(table=8, goto=None, actions=flow.actions[:0]), names)
        assert text
        assert "\n" not in text + "".join(format_action(a, Names() if names else None) for a in flow.actions)
