"""What the lines of a file mean: defaults, ranges, placement, trunks, MTUs, sources."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_interface, ip_network

import pytest

from datapath.addr import Mac
from sdn.model import ENCAPSULATION_OVERHEAD, AllowedAddress, Model, Segment
from sdn.topology import parse
from sdn.topology.networks import OVERHEAD_PARTS

HEAD = """\
name: lab
chassis: {hv1: {}, hv2: {}, hv3: }
networks:
  web: {segment: {vxlan: 10}, subnet: 10.0.0.0/24}
  db: {segment: {nvgre: 5000}, subnets: ["fd00::/64", 10.1.0.0/24]}
  bare: {segment: {geneve: 10}}
  net[1-3]: {segment: {vlan: 100, physnet: office}, subnet: 10.2.0.0/25}
"""


def lab(body: str, previous: Model | None = None) -> Model:
    return parse(HEAD + body, "lab.yaml", previous)


def where(model: Model) -> dict[str, str]:
    return {node.name: node.chassis for node in model.nodes.values()}


def test_defaults() -> None:
    model = lab("nodes: {a: {network: web}}")
    assert model.underlay.subnet == IPv4Network("172.31.0.0/24")
    assert model.underlay.mtu == 1500
    assert list(model.physnets) == ["office"]
    assert all(chassis.physnets == ("office",) for chassis in model.chassis.values())
    assert all(chassis.vtep in model.underlay.subnet for chassis in model.chassis.values())
    port = model.ports["a:eth0"]
    assert (port.interface, port.tag, port.spoof_guard, port.allowed) == ("eth0", None, True, ())
    assert not port.mac.is_group
    assert port.mac >> 40 == 2


def test_segments_mtus_and_unknown_unicast() -> None:
    networks = lab("").networks
    assert networks["web"].segment == Segment("vxlan", 10)
    assert [networks[name].segment.id for name in ("net1", "net2", "net3")] == [100, 101, 102]
    assert [str(networks[name].subnets[0]) for name in ("net1", "net2")] == ["10.2.0.0/25", "10.2.0.128/25"]
    assert {name: network.mtu for name, network in networks.items() if name != "net1"} == {
        "web": 1450,
        "db": 1458,
        "bare": 1450,
        "net2": 1500,
        "net3": 1500,
    }
    assert {name: network.unknown_unicast for name, network in networks.items()} == {
        **dict.fromkeys(("web", "db", "bare"), "drop"),
        **dict.fromkeys(("net1", "net2", "net3"), "flood"),
    }
    assert [subnet.version for subnet in networks["db"].subnets] == [4, 6]


def test_overheads_add_up() -> None:
    for kind, parts in OVERHEAD_PARTS.items():
        assert sum(parts.values()) == ENCAPSULATION_OVERHEAD[kind]


def test_spread_follows_the_number_in_the_name() -> None:
    assert where(lab("nodes: {'a[1-4]': {network: web}}")) == {"a1": "hv1", "a2": "hv2", "a3": "hv3", "a4": "hv1"}
    as_lines = lab("nodes: {a4: {network: web}, a1: {network: web}}")
    assert where(as_lines) == {"a1": "hv1", "a4": "hv1"}
    assert set(where(lab("nodes: {'a[1-4]': {network: web, place: pack}}")).values()) == {"hv1"}
    assert set(where(lab("nodes: {'a[1-4]': {network: web, chassis: hv2}}")).values()) == {"hv2"}


def test_a_running_node_stays_where_it_is() -> None:
    before = lab("nodes: {a3: {network: web, chassis: hv1}}")
    assert where(lab("nodes: {a3: {network: web}}")) == {"a3": "hv3"}
    assert where(lab("nodes: {a3: {network: web}}", before)) == {"a3": "hv1"}
    assert where(lab("nodes: {a3: {network: web, chassis: hv2}}", before)) == {"a3": "hv2"}


def test_nodes_are_placed_where_their_physnets_are() -> None:
    text = HEAD.replace("hv1: {}", "hv1: {physnets: []}") + "nodes: {'a[1-9]': {network: net1}}"
    assert set(where(parse(text, "x")).values()) == {"hv2", "hv3"}


def test_ranges_count_up() -> None:
    model = lab("nodes: {'a[01-12]': {network: web, ip: 10.0.0.9, mac: 02:00:00:00:00:fe}}")
    assert list(model.nodes) == [f"a{i:02d}" for i in range(1, 13)]
    assert model.ports["a12:eth0"].addresses == (ip_interface("10.0.0.20/24"),)
    assert model.ports["a03:eth0"].mac == Mac.parse("02:00:00:00:01:00")


def test_a_mac_of_digits_is_no_number() -> None:
    assert str(lab("nodes: {a: {network: web, mac: 12:34:56:12:34:56}}").ports["a:eth0"].mac) == "12:34:56:12:34:56"


def test_a_trunk_is_several_ports_on_one_interface() -> None:
    body = "nodes: {fw: {trunk: {native: web, 20: {network: db, ip: 'fd00::7'}, 100-102: 'net[1-3]'}}}"
    head = HEAD.replace("subnets: [", "mtu: 1500, subnets: [")
    model = parse(f"{head}underlay: {{mtu: 1550}}\n{body}", "lab.yaml")
    assert {name: (port.tag, port.network) for name, port in model.ports.items()} == {
        "fw:eth0": (None, "web"),
        "fw:eth0.20": (20, "db"),
        "fw:eth0.100": (100, "net1"),
        "fw:eth0.101": (101, "net2"),
        "fw:eth0.102": (102, "net3"),
    }
    assert len({port.mac for port in model.ports.values()}) == 1
    assert len({port.ofport for port in model.ports.values()}) == 1
    tagged = model.ports["fw:eth0.20"].addresses
    assert [address.version for address in tagged] == [4, 6]
    assert str(tagged[1]) == "fd00::7/64"


def test_several_ports() -> None:
    model = lab("nodes: {a: {ports: [{network: web}, {network: db, name: lan, spoof_guard: false}, {network: bare}]}}")
    assert list(model.ports) == ["a:eth0", "a:lan", "a:eth2"]
    assert [port.spoof_guard for port in model.ports.values()] == [True, False, True]
    assert model.ports["a:eth2"].addresses == ()
    assert len({port.ofport for port in model.ports.values()}) == 3


def test_allowed_addresses_are_canonical_and_not_allotted() -> None:
    body = (
        "nodes: {v: {network: web, allowed_addresses: [10.0.0.100, {ip: 10.0.0.9, mac: 02:00:00:00:00:05}, 10.0.0.100]}"
    )
    model = lab(body + ", 'a[1-250]': {network: web}}")
    allowed = model.ports["v:eth0"].allowed
    assert allowed == (
        AllowedAddress(ip_network("10.0.0.9/32"), Mac.parse("02:00:00:00:00:05")),
        AllowedAddress(ip_network("10.0.0.100/32")),
    )
    taken = {str(port.ips[0]) for port in model.ports.values()}
    assert len(taken) == 251
    assert not taken & {"10.0.0.0", "10.0.0.1", "10.0.0.9", "10.0.0.100", "10.0.0.255"}


def test_tests_resolve_names_ranges_and_patterns() -> None:
    body = """\
nodes: {'a[1-12]': {network: web}, b: {network: db}}
tests:
  p: {from: b, to: "a[9-11]", ping: fail}
  t: {from: [a1, a?], to: "*", tcp: 80, expect: denied, within: 2.5s}
  u: {from: a1, to: b, udp: 53, expect: allowed, within: 1}
"""
    tests = lab(body).tests
    assert tests["p"].targets == ("a9", "a10", "a11")
    assert (tests["p"].probe, tests["p"].port, tests["p"].expect, tests["p"].within) == ("ping", 0, "fail", 10.0)
    assert tests["t"].sources == tuple(f"a{i}" for i in range(1, 10))
    assert len(tests["t"].targets) == 13
    assert (tests["t"].probe, tests["t"].port, tests["t"].expect, tests["t"].within) == ("tcp", 80, "fail", 2.5)
    assert (tests["u"].probe, tests["u"].expect, tests["u"].within) == ("udp", "ok", 1.0)


def test_sources_are_those_of_the_keys() -> None:
    model = lab(
        "nodes:\n  a[1-2]: {network: web}\n  b:\n    ports:\n    - network: web\n    - trunk:\n        20: db\n"
    )
    assert str(model.chassis["hv2"].source) == "lab.yaml:2:20"
    assert str(model.networks["net2"].source) == "lab.yaml:7:3"
    assert str(model.physnets["office"].source).startswith("lab.yaml:7:")
    assert model.nodes["a1"].source == model.nodes["a2"].source == model.ports["a2:eth0"].source
    assert (model.nodes["a1"].source.line, model.nodes["a1"].source.column) == (9, 3)
    assert model.ports["b:eth0"].source.line == 12
    assert model.ports["b:eth1.20"].source.line == 14


def test_anchors_and_merges() -> None:
    model = lab("nodes:\n  a: &a {network: web, spoof_guard: false}\n  b: {<<: *a, network: db}\n  c: *a\n")
    assert [port.network for port in model.ports.values()] == ["web", "db", "web"]
    assert not any(port.spoof_guard for port in model.ports.values())
    assert model.nodes["b"].source.line == 10


def test_an_external_chassis_gets_only_what_the_file_puts_there() -> None:
    text = HEAD.replace("hv1: {}", "hv1: {datapath: external, vtep: 172.31.0.9}")
    model = parse(text + "nodes: {'a[1-6]': {network: web}, x: {network: web, chassis: hv1}}", "x")
    assert [name for name, chassis in where(model).items() if chassis == "hv1"] == ["x"]
    assert str(model.chassis["hv1"].vtep) == "172.31.0.9/24"
    assert model.chassis["hv1"].physnets == ()


@pytest.mark.parametrize("subnet", ["10.9.0.0/31", "10.9.0.0/32", "10.9.0.0/30", "fd09::/127", "fd09::/128", "::/126"])
def test_small_subnets(subnet: str) -> None:
    text = f"name: x\nchassis: {{h: {{}}}}\nnetworks: {{n: {{segment: {{vxlan: 1}}, subnet: '{subnet}'}}}}\n"
    (port,) = parse(text + "nodes: {a: {network: n}}", "x").ports.values()
    assert port.ips[0] in ip_network(subnet)


def test_paths_of_sockets_stay_short() -> None:
    """A unix socket's path has 108 bytes with the terminating zero (unix(7))."""
    assert len(f"/run/sdn/{'l' * 15}/{'c' * 31}/br-int.controller") < 108


def test_a_section_may_be_commented_out() -> None:
    model = parse("name: x\nchassis: {h: }\nnetworks:\nnodes:\n  # a: {}\ntests:\n", "x")
    assert not model.nodes
    assert not model.networks


def test_tcp_is_allowed_where_nothing_is_expected() -> None:
    nodes = "nodes: {a: {network: web}, b: {network: web}}\n"
    tests = "tests: {yes: {from: a, to: b, tcp: 80}, no: {from: a, to: b, udp: 53, expect: denied}}"
    assert [test.expect for test in lab(nodes + tests).tests.values()] == ["ok", "fail"]
