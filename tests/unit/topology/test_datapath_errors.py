"""What only some datapaths can do, local networks, gateways, macvlan, interfaces: every mistake at its place."""

from __future__ import annotations

from typing import get_args

import pytest

from sdn.model import DatapathKind
from sdn.topology import parse
from sdn.topology.capabilities import CANNOT, INSTEAD, Feature
from tests.unit.topology.test_file_errors import expect_mistake, places

HEAD = """\
name: lab
chassis:
  hv1: {}
  hv2: {datapath: linux, addresses: {office: 203.0.113.2/24}}
  hv3: {datapath: linux}
physnets: {office: {gateway: 203.0.113.1}, yard: {}}
networks:
  red: {segment: {vxlan: 10}, subnet: 10.0.0.0/24}
  blue: {segment: {geneve: 10}, subnet: 10.1.0.0/24}
  desk: {segment: {vlan: 120, physnet: office}, subnet: 10.2.0.0/24}
  floor: {segment: {flat: office}, subnet: 203.0.113.0/24}
  here: {segment: local, subnet: 10.4.0.0/24}
  out: {segment: local, subnet: 10.5.0.0/24, forward: {nat: office}, gateway: 10.5.0.9}
  shut: {segment: local, subnet: 10.6.0.0/24, forward: isolated}
nodes:
"""
LAST = HEAD.count("\n") + 1


def expect_marked(text: str, *parts: str) -> None:
    """The only mistake is at the sign §."""
    before = text[: text.index("§")]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    expect_mistake(text.replace("§", ""), line, column, *parts)


NODES = [
    # what a datapath cannot do
    ("  a: {network: blue, chassis: §hv3}", "chassis 'hv3' has no geneve segments (datapath linux: the kernel's"),
    ("  a: {network: blue, chassis: §hv3}", "which network 'blue' needs; expected a vxlan or nvgre segment, or"),
    ("  a: {trunk: {20: red, 21: blue}, chassis: §hv3}", "has no geneve segments"),
    ("  a: {network: out, chassis: §hv1}", "chassis 'hv1' has no forward (datapath ovs: routers are not compiled"),
    ("  a: {network: shut, chassis: §hv1}", "has no forward"),
    ("  a: {network: out, chassis: §hv3}", "chassis 'hv3' has no address in office, which network 'out' needs (nat); "),
    ("  a: {network: out, chassis: §hv3}", "expected 'addresses: {office: …}' on it"),
    ("  a: {network: desk, macvlan: bridge, spoof_guard: false, chassis: §hv1}", "has no macvlan or macvtap (data"),
    # local networks
    (
        "  a: {network: here, chassis: hv1}\n  b: {network: here, chassis: §hv2}",
        "local network 'here' is on chassis 'hv1' (line 16) and cannot be on 'hv2' too; expected all of its nodes",
    ),
    ("  a: {network: here, place: §spread}", "nodes of local network 'here' cannot be spread"),
    (
        "  a: {network: here, chassis: hv1}\n  §b: {ports: [{network: here}, {network: out}]}",
        "local network 'here' is on chassis 'hv1' (line 16), which has no forward",
    ),
    (
        "  a: {ports: [{network: here}, {network: out}]}\n  b: {network: out, chassis: hv2}\n"
        "  c: {network: here, chassis: §hv3}",
        "local network 'here' is on chassis 'hv2' (line 17) and cannot be on 'hv3' too",
    ),
    # addresses that are somebody else's
    ("  a: {network: out, ip: §10.5.0.9}", "10.5.0.9 is the address of the gateway too"),
    ("  a[1-3]: {network: out, ip: §10.5.0.8}", "10.5.0.9 is the address of the gateway too"),
    ("  a: {network: shut, ip: §10.6.0.1}", "10.6.0.1 is the address of the gateway too"),
    ("  a: {network: floor, ip: §203.0.113.2}", "203.0.113.2 is the address of chassis 'hv2' too"),
    # macvlan
    (
        "  a: {network: floor, macvlan: §bridge, spoof_guard: false}",
        "macvlan in the untagged network of office reaches its VLANs too, such as 'desk'",
    ),
    ("  §a: {network: desk, macvlan: bridge}", "macvlan cannot be guarded against spoofing; expected 'spoof_guard"),
    ("  §a: {network: desk, macvtap: vepa}", "macvtap cannot be guarded against spoofing"),
    ("  a: {ports: [§{network: desk, macvlan: bridge}]}", "macvlan cannot be guarded against spoofing"),
    ("  a: {network: desk, macvlan: §brigde, spoof_guard: false}", "did you mean 'bridge'?"),
    ("  §a: {network: desk, macvlan: bridge, macvtap: vepa, spoof_guard: false}", "'macvlan' and 'macvtap' are both"),
    ("  §a: {trunk: {20: desk}, macvlan: bridge, spoof_guard: false}", "macvlan of a trunk is not possible"),
    (
        "  §a: {network: desk, macvlan: bridge, spoof_guard: false, allowed_addresses: [10.2.0.9]}",
        "'allowed_addresses' have no meaning with macvlan",
    ),
    ("  §a: {ports: [{network: desk}], macvlan: bridge}", "'macvlan' stands beside 'ports'"),
    (
        "  a: {network: red, macvlan: §bridge, spoof_guard: false, chassis: hv3}",
        "macvlan is a device on an uplink, and network 'red' is vxlan; expected a vlan or flat network",
    ),
    (
        "  a: {network: desk, macvtap: §bridge, spoof_guard: false, chassis: hv3}\n  b: {network: desk, chassis: hv3}",
        "network 'desk' on chassis 'hv3' has bridged ports too, such as 'b:eth0'; expected all or none with macvlan",
    ),
    (
        "  a: {network: desk, macvlan: passthru, spoof_guard: false, chassis: hv3}\n"
        "  b: {network: desk, macvlan: §bridge, spoof_guard: false, chassis: hv3}",
        "network 'desk' on chassis 'hv3' is passed through to 'a:eth0' alone",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "message"), NODES, ids=[f"{text} {said[:20]}" for text, said in NODES])
def test_one_mistake_in_nodes(nodes: str, message: str) -> None:
    expect_marked(HEAD + nodes, message)


def test_why_no_chassis_can_have_a_node() -> None:
    """All reasons together, with what would be enough for the first of them."""
    text = HEAD.replace("hv2: {datapath: linux, addresses: {office: 203.0.113.2/24}}", "hv2: {datapath: linux}")
    found = places(text + "  a: {network: out}")
    assert [(line, column) for line, column, _ in found] == [(LAST, 3)]
    assert found[0][2] == (
        "there is no chassis for 'a': hv1 has no forward (datapath ovs: routers are not compiled into flows yet), "
        "which network 'out' needs; hv2, hv3 have no address in office, which network 'out' needs (nat); "
        "expected a chassis with datapath linux"
    )


def test_only_chassis_of_ours_are_tried() -> None:
    text = "name: lab\nchassis: {x1: {datapath: external, vtep: 172.31.0.9}}\nnetworks: {l: {segment: local}}\nnodes:\n"
    expect_marked(text + "  §a: {network: l}", "there is no chassis of ours for 'a'")
    expect_marked(
        text + "  a: {network: l, chassis: §x1}", "has no local networks (datapath external: somebody else runs it)"
    )


NETWORKS = [
    ("{segment: §locla}", "'locla' is no segment; expected one such as {vxlan: 10010}, or local; did you mean 'local"),
    ("{segment: {§local: 1}}", "unknown key 'local'"),
    ("{segment: {vxlan: 5}, subnet: 10.9.0.0/24, forward: §isolated}", "this is vxlan; expected 'segment: local'"),
    ("{segment: local, forward: §isolated}", "forward needs a subnet to have a gateway in"),
    ("{segment: local, subnet: 'fd00::/64', forward: §isolated}", "forward is for IPv4 only, and this network has an"),
    ("{segment: local, subnets: [10.9.0.0/24, 'fd00::/64'], forward: §isolated}", "forward is for IPv4 only"),
    ("{segment: local, subnet: 10.9.0.0/24, forward: §nat}", "'nat' is not understood here; expected {nat: office}"),
    ("{segment: local, subnet: 10.9.0.0/24, forward: {nat: §ofice}}", "unknown physnet 'ofice'; did you mean 'office'"),
    ("{segment: local, subnet: 10.9.0.0/24, forward: {routed: §garden}}", "unknown physnet 'garden'"),
    ("{segment: local, subnet: 10.9.0.0/24, §forward: {nat: office, routed: office}}", "forward is nat and routed"),
    ("{segment: local, subnet: 10.9.0.0/24, §forward: {}}", "forward is neither nat nor routed"),
    ("{segment: local, subnet: 10.9.0.0/24, forward: {§nta: office}}", "unknown key 'nta'; did you mean 'nat'?"),
    ("{segment: local, subnet: 10.9.0.0/31, forward: §isolated}", "10.9.0.0/31 has no room for a gateway and a node"),
    (
        "{segment: local, subnet: 10.9.0.0/24, gateway: §10.8.0.1, forward: isolated}",
        "gateway 10.8.0.1 is no host of 10.9.0.0/24; expected one such as 10.9.0.1",
    ),
    ("{segment: local, subnet: 10.9.0.0/24, gateway: §10.9.0.255, forward: isolated}", "is no host of 10.9.0.0/24"),
    ("{segment: local, subnet: 10.9.0.0/24, gateway: §fd00::1, forward: isolated}", "is an IPv6 address; expected"),
    ("{segment: local, mtu: §1279, subnet: 'fd00::/64'}", "mtu 1279 is too small for an IPv6 subnet; expected 1280"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "message"), NETWORKS, ids=[text for text, _ in NETWORKS])
def test_one_mistake_in_a_network(network: str, message: str) -> None:
    expect_marked(HEAD.replace("nodes:\n", f"  x: {network}\n"), message)


def test_a_gateway_alone_leads_nowhere() -> None:
    expect_marked(
        HEAD.replace("nodes:\n", "  §x: {segment: local, gateway: 10.9.0.1}\n"), "'gateway' is that of 'forward'"
    )


def test_gateways_of_one_chassis_are_in_different_subnets() -> None:
    more = "  §x: {segment: local, subnet: SUBNET, forward: isolated}\nnodes:\n  a: {network: out}\n"
    more += "  b: {network: x, chassis: hv2}"
    for subnet, owner in (
        ("10.5.0.0/16", "10.5.0.0/24 of network 'out'"),
        ("203.0.113.0/25", "203.0.113.0/24 of physnet 'office'"),
        ("172.31.0.0/16", "172.31.0.0/24 of the underlay"),
    ):
        text = HEAD.replace("nodes:\n", more.replace("SUBNET", subnet))
        expect_marked(text, f"{subnet} overlaps {owner} on chassis 'hv2'; expected another subnet")
    parse(HEAD.replace("nodes:\n", more.replace("SUBNET", "10.5.0.0/16").replace("hv2", "hv3").replace("§", "")), "x")


CHASSIS = [
    ("{datapath: linux, addresses: {office: §203.0.113.3}}", "'203.0.113.3' has no prefix length; expected one such"),
    ("{datapath: linux, addresses: {office: §203.0.113.0/24}}", "203.0.113.0 is no host of 203.0.113.0/24"),
    ("{datapath: linux, addresses: {office: §203.0.113.2/24}}", "203.0.113.2 is the address of 'hv2' too"),
    ("{datapath: linux, addresses: {office: §203.0.113.1/24}}", "203.0.113.1 is the gateway of physnet 'office'"),
    ("{datapath: linux, addresses: {office: §198.51.100.1/24}}", "the gateway 203.0.113.1 of physnet 'office' is not"),
    ("{datapath: linux, addresses: {ofice: §203.0.113.3/24}}", "unknown physnet 'ofice'; did you mean 'office'?"),
    ("{datapath: linux, physnets: [yard], addresses: {office: §203.0.113.3/24}}", "chassis 'hv4' has no uplink into"),
    ("{datapath: linux, addresses: §fd00::1/64}", "expected a mapping"),
    ("{datapath: linux, addresses: {office: §'fd00::1/64'}}", "fd00::1 is an IPv6 address; expected IPv4"),
    ("{§addresses: {office: 203.0.113.3/24}}", "chassis 'hv4' has no addresses of its own in physical networks ("),
    ("{datapath: §vswitch}", "datapath 'vswitch' is not realised by this version of sdn yet; expected ovs or linux"),
]  # fmt: skip


@pytest.mark.parametrize(("chassis", "message"), CHASSIS, ids=[text for text, _ in CHASSIS])
def test_one_mistake_in_a_chassis(chassis: str, message: str) -> None:
    expect_marked(HEAD.replace("physnets:", f"  hv4: {chassis}\nphysnets:", 1), message)


def test_addresses_of_a_range_of_chassis_do_not_count_beyond() -> None:
    chassis = "  hv[4-9]: {datapath: linux, addresses: {office: §203.0.113.252/24}}\nphysnets:"
    expect_marked(HEAD.replace("physnets:", chassis, 1), "the range counts beyond 203.0.113.0/24")


PHYSNETS = [
    ("{yard: {interface: eth1}, wan: {interface: §eth1}}", "interface eth1 is that of physnet 'yard' too; expected"),
    ("{'wan[1-2]': {interface: §eth1}}", "interface eth1 is that of physnet 'wan1' too"),
    ("{wan: {interface: §lo}}", "'lo' leads nowhere"),
    ("{wan: {interface: §sixteen-letters-}}", "cannot be an interface; expected 15 bytes at most"),
    ("{wan: {interface: §a/b}}", "cannot be an interface"),
    ("{wan: {interface: §'a b'}}", "cannot be an interface"),
    ("{wan: {interface: §..}}", "cannot be an interface"),
    ("{wan: {interface: §7}}", "'7' is not understood here"),
    ("{wan: {interface: eth1, addresses: §moev}}", "did you mean 'move'?"),
    ("{§wan: {addresses: move}}", "'addresses' are those of an interface, and none is given"),
    ("{wan: {gateway: §fd00::1}}", "fd00::1 is an IPv6 address; expected IPv4"),
]  # fmt: skip


@pytest.mark.parametrize(("physnets", "message"), PHYSNETS, ids=[text for text, _ in PHYSNETS])
def test_one_mistake_in_physnets(physnets: str, message: str) -> None:
    expect_marked(f"name: lab\nchassis: {{hv1: {{}}}}\nphysnets: {physnets}", message)


def test_an_interface_needs_somebody_to_use_it() -> None:
    text = "name: lab\nchassis: {hv1: {physnets: []}}\nphysnets: {wan: {interface: §eth1}}"
    expect_marked(text, "no chassis has an uplink into wan")


def test_everything_that_a_datapath_cannot_do_has_a_reason_and_a_remedy() -> None:
    assert CANNOT.keys() == set(get_args(DatapathKind))
    assert INSTEAD.keys() == set(Feature) == {feature for each in CANNOT.values() for feature in each}
