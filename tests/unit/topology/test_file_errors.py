"""Every mistake is reported, all at once, at its place, with what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.errors import FileError, Problem
from sdn.topology import parse, read

BASE = """\
name: lab
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 10}, subnet: 10.0.0.0/24}
"""


def problems(text: str) -> list[Problem]:
    with pytest.raises(FileError) as caught:
        parse(text, "lab.yaml")
    assert caught.value.problems
    return list(caught.value.problems)


def places(text: str) -> list[tuple[int, int, str]]:
    return [(problem.line, problem.column, problem.message) for problem in problems(text)]


def expect_mistake(text: str, line: int, column: int, *parts: str) -> None:
    found = places(text)
    assert [(found_line, found_column) for found_line, found_column, _ in found] == [(line, column)], found
    for part in parts:
        assert part in found[0][2]


ON_LINE_5 = [
    # nodes
    ("nodes: {a: {netwrok: web}}", 13, "unknown key 'netwrok'; did you mean 'network'?"),
    ("nodes: {a: {network: wab}}", 22, "unknown network 'wab'; did you mean 'web'?"),
    ("nodes: {a: {network: web, chassis: hv3}}", 36, "unknown chassis 'hv3'; did you mean 'hv"),
    ("nodes: {a: {network: web, chassis: hv1, place: pack}}", 9, "'chassis' and 'place' are both given"),
    ("nodes: {a: {}}", 9, "this node has no network; expected one of 'network', 'trunk' and 'ports'"),
    ("nodes: {a: {network: web, trunk: {20: web}}}", 9, "network and trunk"),
    ("nodes: {a: {ports: [{network: web}], ip: 10.0.0.5}}", 9, "'ip' stands beside 'ports'"),
    ("nodes: {a: {ports: []}}", 20, "'ports' is empty"),
    ("nodes: {a: {ports: [{}]}}", 21, "expected one of 'network' and 'trunk'"),
    ("nodes: {a: {network: web, groups: [x]}}", 27, "not realised by this version"),
    ("nodes: {a: {network: web, spoof_guard: 'no'}}", 40, "expected true or false"),
    ("nodes: {a: web}", 12, "expected a mapping"),
    ("nodes: [a]", 8, "expected a mapping"),
    ("nodes: {A: {network: web}}", 9, "'A' is not a name"),
    (f"nodes: {{{'a' * 32}: {{network: web}}}}", 9, "expected 31 characters at most"),
    ("nodes: {'a[1-9': {network: web}}", 9, "'a[1-9' is not a range"),
    ("nodes: {'a[9-1]': {network: web}}", 9, "counts down"),
    ("nodes: {'a[1-100000000]': {network: web}}", 9, "100000000 members; expected 10000 at most"),
    ("nodes: {hv1: {network: web}}", 9, "'hv1' is the name of a chassis too (line 2)"),
    ("nodes: {'a[1-3]': {network: web}, a2: {network: web}}", 35, "'a2' is defined twice, first in line 5"),
    ("nodes: {a: {network: web}, a: {network: web}}", 28, "'a' is here twice, first in line 5"),
    # addresses
    ("nodes: {a: {network: web, ip: 10.0.1.5}}", 31, "10.0.1.5 is not in network 'web'; expected an address in 10.0.0"),
    ("nodes: {a: {network: web, ip: 10.0.0.0}}", 31, "the address of 10.0.0.0/24 itself"),
    ("nodes: {a: {network: web, ip: 10.0.0.255}}", 31, "broadcast address"),
    ("nodes: {a: {network: web, ip: [10.0.0.5, 10.0.0.6]}}", 42, "10.0.0.6 is a second address"),
    ("nodes: {a: {network: web, ip: 10.0.0.256}}", 31, "is not an IP address"),
    ("nodes: {a: {network: web, ip: 10}}", 31, "'10' is not understood here; expected an address"),
    ("nodes: {'a[1-9]': {network: web, ip: 10.0.0.250}}", 38, "counts beyond 10.0.0.0/24"),
    ("nodes: {a: {network: web, ip: 10.0.0.5}, b: {network: web, ip: 10.0.0.5}}", 64, "the address of 'a:eth0' too"),
    ("nodes: {a: {network: web, mac: 02:00:00:00:00}}", 32, "is not a MAC address"),
    ("nodes: {a: {network: web, mac: 01:00:00:00:00:01}}", 32, "expected a unicast MAC"),
    ("nodes: {'a[1-9]': {network: web, mac: 02:ff:ff:ff:ff:ff}}", 39, "counts beyond unicast"),
    (
        "nodes: {a: {network: web, mac: 02:00:00:00:00:01}, b: {network: web, mac: 02:00:00:00:00:01}}",
        75,
        "is the MAC of 'a' too",
    ),
    ("nodes: {a: {network: web, allowed_addresses: [10.0.0.5/24]}}", 47, "did you mean '10.0.0.0/24'?"),
    ("nodes: {a: {network: web, allowed_addresses: [{ipp: 10.0.0.5}]}}", 48, "unknown key 'ipp'; did you mean 'ip'?"),
    ("nodes: {'a[1-260]': {network: web}}", None, "10.0.0.0/24 of network 'web' is exhausted: 260 ports need"),
    # interfaces and trunks
    ("nodes: {a: {ports: [{network: web}, {network: web, name: eth0}]}}", 58, "interface 'eth0' is there twice"),
    ("nodes: {a: {ports: [{network: web, name: longername00}]}}", 42, "cannot be an interface"),
    ("nodes: {a: {trunk: {native: web, 20: web}}}", 38, "this trunk carries network 'web' twice"),
    ("nodes: {a: {trunk: {5000: web}}}", 21, "expected VLAN ids from 1 to 4094"),
    ("nodes: {a: {trunk: {x: web}}}", 21, "'x' is not a VLAN id"),
    ("nodes: {a: {trunk: {20-21: web}}}", 28, "'20-21' are 2 and 'web' are 1"),
    ("nodes: {a: {trunk: {20: {network: web, ip: 9.9.9.9}}}}", 44, "9.9.9.9 is not in network 'web'"),
    ("nodes: {a: {trunk: {20: {netwrk: web}}}}", 26, "unknown key 'netwrk'; did you mean 'network'?"),
    ("nodes: {a: {trunk: {20: wab}}}", 25, "unknown network 'wab'; did you mean 'web'?"),
    ("nodes: {a: {trunk: {20: web}, ip: 10.0.0.1}}", 9, "'ip' of a trunk is unclear"),
    ("nodes: {trunk: {netwrok: web}}", 17, "did you mean 'network'?"),
    # the rest of the file
    ("underlay: {subnet: 'fd00::/64'}", 20, "expected an IPv4 subnet"),
    ("underlay: {mtu: 100}", 17, "mtu 100 is out of range; expected 576 to 65535"),
    ("underlay: {mut: 1500}", 12, "unknown key 'mut'; did you mean 'mtu'?"),
    ("underlay: {subnet: 172.31.0.0/30}", 20, "has 1 addresses and there are 2 chassis; expected a larger subnet"),
    ("nods: {}", 1, "unknown key 'nods'; did you mean 'nodes'?"),
    ("routers: {r1: {networks: [web]}}", 1, "'routers' is not realised by this version of sdn yet"),
    ("guests: {g1: {memory: 256M}}", 10, "this guest has no network; expected one of 'network', 'trunk' and 'nics'"),
    ("guests: {g1: {network: web, memory: 200}}", 37, "'200' is no whole number of MiB; expected one such as 256M"),
    (
        "guests: {g1: {network: web, memory: 64M}}",
        10,
        "the built-in guest does not start with 64M; expected 112M",
    ),
    ("guests: {g1: {network: web, cloud: {}}}", 10, "'cloud' is for cloud-init, which the built-in guest lacks"),
    ("guests: {g1: {network: web, disk: 10G}}", 10, "'disk' is that over an image; expected an 'image' beside it"),
    ("guests: {g1: {network: web, image: no.qcow2}}", 36, "there is no file"),
    ("guests: {g1: {network: web, kernel: {image: /no/vmlinuz}}}", 45, "there is no file /no/vmlinuz"),
    (
        "guests: {g1: {network: web, devices: [eth0]}}",
        39,
        "'eth0' is no PCI address; expected one such as",
    ),
    ("guests: {g1: {network: web, power: maybe}}", 36, "expected on or off or paused"),
    ("guests: {g1: {nics: [{network: web, macvtap: bridge, spoof_guard: false}]}}", 22, "macvtap of a guest is not"),
    ("guests: {g1: {network: web, nics: [{network: web}]}}", 10, "this guest has network and nics"),
    ("guests: {g1: {network: wbe}}", 24, "unknown network 'wbe'"),
    (
        "guests: {'g[1-2]': {network: web, volumes: data}}",
        44,
        "volume 'data' is that of guest 'g1' too",
    ),
    ("guests: {g1: {network: web, volumes: [data, data]}}", 45, "volume 'data' is there twice; expected another"),
    ("security_groups: {web: [{in: tcp/80}]}", 1, "'security_groups' is not realised by this version of sdn yet"),
    ("{x: 1}: 2", 1, "cannot be a key"),
    ("nodes: !!python/object:os.system {}", 8, "is not understood"),
    # tests
    ("tests: {t: {from: a, to: b}}", 9, "this test has no probe"),
    ("tests: {t: {from: a, to: b, ping: ok, tcp: 80}}", 9, "ping and tcp"),
    ("tests: {t: {from: a, to: b, ping: ok, expect: ok}}", 9, "'expect' stands beside 'ping', which says it already"),
    (
        "tests: {t: {from: a, to: [a, a*], ping: ok}}",
        9,
        "'from' and 'to' are both only 'a'; expected two nodes at least",
    ),
    ("tests: {t: {from: a, to: b, tcp: 80000, expect: ok}}", 34, "port 80000 is out of range; expected 1 to 65535"),
    ("tests: {t: {from: a, to: b, ping: okay}}", 35, "expected ok or fail; did you mean 'ok'?"),
    ("tests: {t: {from: a, to: b, ping: ok, within: soon}}", 47, "expected seconds"),
    ("tests: {t: {form: a, to: b, ping: ok}}", 13, "unknown key 'form'; did you mean 'from'?"),
    ("tests: {t: {from: [], to: b, ping: ok}}", 19, "'from' is empty"),
]


@pytest.mark.parametrize(("line", "column", "message"), ON_LINE_5, ids=[line for line, _, _ in ON_LINE_5])
def test_one_mistake(line: str, column: int | None, message: str) -> None:
    if column is None:  # reported at the network
        expect_mistake(BASE + line, 4, 3, message)
    else:
        nodes = "\nnodes: {a: {network: web}, b: {network: web}}" if line.startswith("tests") else ""
        expect_mistake(BASE + line + nodes, 5, column, message)


IN_NETWORKS = [
    ("  x: {segment: {vxlan: §0}}", "vni 0 is out of range; expected 1 to 16777215 (24 bits)"),
    ("  x: {segment: {vxlan: §16777216}}", "out of range"),
    ("  x: {segment: {nvgre: §100}}", "vsid 100 is out of range; expected 4096 to 16777214"),
    ("  x: {segment: {vlan: §4095, physnet: p}}", "vlan 4095 is out of range"),
    ("  x: {§segment: {vlan: 5}}", "'vlan' and 'physnet' go together"),
    ("  x: {§segment: {}}", "this segment has no kind"),
    ("  x: {§segment: {vxlan: 5, geneve: 5}}", "vxlan and geneve"),
    ("  x: {segment: {§vxlam: 5}}", "unknown key 'vxlam'; did you mean 'vxlan'?"),
    ("  x: {segment: {vxlan: §'5'}}", "expected a whole number"),
    ("  §x: {subnet: 10.1.0.0/24}", "'segment' is missing"),
    ("  x: {segment: {vxlan: §10}}", "vxlan 10 is the segment of 'web' too, line 4"),
    ("  x: {segment: {vxlan: 11}, subnet: §10.1.0.1/24}", "did you mean '10.1.0.0/24'?"),
    ("  x: {segment: {vxlan: 11}, subnet: §10.1.0.0}", "has no prefix length"),
    ("  §x: {segment: {vxlan: 11}, subnets: [10.1.0.0/24, 10.2.0.0/24]}", "two subnets are IPv4"),
    (
        "  §x: {segment: {vxlan: 11}, subnet: 10.1.0.0/24, subnets: [10.1.0.0/24]}",
        "'subnet' and 'subnets' are both given",
    ),
    (
        "  x: {segment: {vxlan: 11}, mtu: §1480}",
        "mtu 1480 is too large for vxlan: underlay 1500 - 50 "
        "(outer IPv4 20 + UDP 8 + VXLAN 8 + inner Ethernet 14) = 1450 at most",
    ),
    (
        "  x: {segment: {nvgre: 5000}, mtu: §1480}",
        "underlay 1500 - 42 (outer IPv4 20 + GRE with key 8 + inner Ethernet 14) = 1458 at most",
    ),
    ("  x: {segment: {flat: office}, mtu: §1501}", "too large for flat: physnet office has 1500"),
    ("  x: {segment: {vxlan: 11}, mtu: §1279, subnet: 'fd00::/64'}", "too small for an IPv6 subnet; expected 1280"),
    ("  x: {segment: {vxlan: 11}, unknown_unicast: §flod}", "did you mean 'flood'?"),
]
"""The sign § stands before the place of the mistake."""


@pytest.mark.parametrize(("network", "message"), IN_NETWORKS, ids=[text for text, _ in IN_NETWORKS])
def test_one_mistake_in_a_network(network: str, message: str) -> None:
    before = "name: lab\nchassis: {hv1: {}}\nnetworks:\n  web: {segment: {vxlan: 10}}\n"
    expect_mistake(before + network.replace("§", ""), 5, network.index("§") + 1, message)


IN_CHASSIS = [
    (
        "chassis: {hv1: {datapath: §vswitch}}",
        "datapath 'vswitch' is not realised by this version of sdn yet; expected ovs or linux",
    ),
    ("chassis: {hv1: {datapath: §ovz}}", "did you mean 'ovs'?"),
    ("chassis: {hv1: {agent: §192.0.2.1}}", "not realised"),
    (
        "chassis: {hv1: {vtep: §10.0.0.1}}",
        "vtep 10.0.0.1 of 'hv1' is not a host in the underlay; expected one in 172.31.0.0/24",
    ),
    ("chassis: {hv1: {vtep: 172.31.0.5}, hv2: {vtep: §172.31.0.5}}", "is that of 'hv1' too"),
    ("chassis: {hv1: {physnets: [§ofice]}}", "unknown physnet 'ofice'; did you mean 'office'?"),
    ("chassis: {§logs: {}}", "'logs' is taken by sdn itself"),
    ("§chassis: {}", "'chassis' is empty"),
]


@pytest.mark.parametrize(("chassis", "message"), IN_CHASSIS, ids=[text for text, _ in IN_CHASSIS])
def test_one_mistake_in_chassis(chassis: str, message: str) -> None:
    text = f"name: lab\n{chassis.replace('§', '')}\nnetworks: {{o: {{segment: {{flat: office}}}}}}"
    expect_mistake(text, 2, chassis.index("§") + 1, message)


def test_a_list_of_physnets_makes_others_unknown() -> None:
    text = "name: lab\nchassis: {hv1: {}}\nphysnets: {office: {}}\nnetworks: {o: {segment: {flat: ofice}}}"
    expect_mistake(text, 4, 32, "unknown physnet 'ofice'; did you mean 'office'?")


def test_a_node_needs_an_uplink() -> None:
    text = """\
name: lab
chassis: {hv1: {physnets: []}, hv2: {}}
networks: {desk: {segment: {flat: office}}}
nodes:
  a: {network: desk, chassis: hv1}
  b: {network: desk}
"""
    expect_mistake(text, 5, 31, "chassis 'hv1' has no uplink into office, which network 'desk' needs")
    expect_mistake(
        text.replace("hv2: {}", "hv2: {physnets: []}").replace("  a: {network: desk, chassis: hv1}\n", ""),
        5,
        3,
        "office",
    )


def test_selectors_that_match_nothing() -> None:
    text = BASE + "nodes: {'web[1-3]': {network: web}}\ntests:\n  t: {from: x*, to: [web1, wep2, 'web[1-4]'], ping: ok}"
    found = places(text)
    assert [(line, column) for line, column, _ in found] == [(7, 13), (7, 28), (7, 34)]
    assert "unknown nodes 'x*'" in found[0][2]
    assert "unknown node 'wep2'; did you mean 'web2'?" in found[1][2]
    assert "unknown node 'web4'" in found[2][2]


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: Lab
chassis: {hv1: {}}
networks:
  web: {segment: {vxlan: 99999999}}
  db: {segment: {nvgre: 5000}, mtu: 1480}
nodes:
  web[1-2]: {network: web}
  db1: {network: bd, chassis: hv9}
foo: 1
"""
    found = problems(text)
    assert [problem.line for problem in found] == [1, 4, 5, 8, 8, 9]
    assert str(found[0]).startswith("lab.yaml:1:7: ")


def test_a_wrong_field_hides_nothing_else() -> None:
    text = """\
name: lab
chassis: {hv1: {datapath: osv}, hv2: {}}
networks:
  web: {segment: {vxlan: 10}, subnet: 10.0.0.0/24, unknown_unicast: flod}
  db: {segment: {vxlan: 11}, subnet: 10.1.0.0/99}
nodes:
  n8: {network: web, allowed_addresses: [foo], chassis: hv9, ip: 10.9.0.1}
  n[7-8]: {network: web}
  n1: {network: web, spoof_guard: maybe, ip: 10.0.0.5, chassis: hv1, place: pack}
  n2: {network: web, ip: 10.0.0.5, macc: 1}
  n3: {network: db, ip: 10.1.0.7}
  n4: {ports: [{network: [web]}], chassis: hv9}
  n4: {network: web}
tests:
  t: {from: n1, to: n99, ping: okay}
"""
    assert [(line, message.partition(";")[0]) for line, _, message in places(text)] == [
        (2, "'osv' is not understood here"),
        (4, "'flod' is not understood here"),
        (5, "'10.1.0.0/99' is not an address or subnet"),
        (7, "'foo' is not an address or subnet"),
        (7, "unknown chassis 'hv9'"),
        (7, "10.9.0.1 is not in network 'web'"),
        (8, "'n8' is defined twice, first in line 7"),
        (9, "'chassis' and 'place' are both given"),
        (9, "'maybe' is not understood here"),
        (10, "10.0.0.5 is the address of 'n1:eth0' too"),
        (10, "unknown key 'macc'"),
        (12, "a list is not understood here"),
        (13, "'n4' is here twice, first in line 12"),
        (15, "unknown node 'n99'"),
        (15, "'okay' is not understood here"),
    ]


def test_the_name_of_a_node_that_cannot_be_used_is_taken() -> None:
    found = places(BASE + "nodes:\n  n8: {}\n  n[7-8]: {network: web}\ntests: {t: {from: n8, to: n7, ping: ok}}")
    assert [(line, message.partition(";")[0]) for line, _, message in found] == [
        (6, "this node has no network"),
        (7, "'n8' is defined twice, first in line 6"),
    ]


def test_a_broken_entry_is_not_called_unknown_as_well() -> None:
    text = "name: lab\nchassis: {hv1: {}}\nnetworks: {web: {}}\nnodes: {a: {network: web}, b: {netwok: x}}\n"
    text += "tests: {t: {from: a, to: b, ping: ok}}"
    assert [problem.line for problem in problems(text)] == [3, 4]


NOT_YAML = [
    ("", 1, 1, "empty"),
    ("# only a comment\n", 1, 1, "empty"),
    ("[1, 2]", 1, 1, "expected a mapping"),
    ("lab", 1, 1, "expected a mapping"),
    ("name: lab\n\tchassis: {}", 2, 1, "never with tabs"),
    ("name: [1, 2", 2, 1, "not YAML"),
    ("name: lab\n  x: 1", 2, 4, "not YAML"),
    ("chassis: {hv[1-3]: {}}", 1, 13, "a range needs quotes"),
    ("name: *nowhere", 1, 7, "undefined alias"),
    ("a: 1\n---\nb: 2", 2, 1, "not YAML"),
    ("name: \x00", 1, 7, "not text"),
    ("name: \ud800", 1, 7, "not text"),
    ("[" * 100_000, 1, 32, "nested too deeply"),
    ("name: &a [*a]\nchassis: {hv1: {}}", 1, 7, "contains itself"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), NOT_YAML, ids=range(len(NOT_YAML)))
def test_not_a_topology(text: str, line: int, column: int, message: str) -> None:
    found = problems(text)[0]
    assert message in found.message
    assert (found.line, found.column) == (line, column)


def test_a_billion_laughs() -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert any("aliases add too many values" in problem.message for problem in problems("\n".join(lines)))


def test_merges_are_bounded() -> None:
    lines = ["a0: &a0 {k0: 1}"] + [f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}" for i in range(1, 3000)]
    assert any("aliases add too many values" in problem.message for problem in problems("\n".join(lines)))


def test_long_chains_of_aliases_do_not_overflow_the_stack() -> None:
    hidden = "\n".join(f"  ? &a{i} [*a{i - 1}]\n  : 1" if i else "  ? &a0 [x]\n  : 1" for i in range(3000))
    assert problems(f"x:\n{hidden}\n  z: *a2999\n")


def test_a_tagged_network_larger_than_the_native_one_would_be_a_black_hole() -> None:
    text = BASE + "  db: {segment: {nvgre: 5000}}\nnodes:\n  fw: {trunk: {native: web, 20: db}}\n"
    message = (
        "mtu 1458 of db (tag 20) is larger than mtu 1450 of the native network web: "
        "expected mtu: 1450 on db, or no native network"
    )
    assert places(text) == [(7, 29, message)]
    parse(text.replace("native", "10"), "lab.yaml")
    parse(text.replace("5000}", "5000}, mtu: 1450"), "lab.yaml")


def test_too_many_ports_are_refused() -> None:
    text = BASE.replace(", subnet: 10.0.0.0/24", "") + "  n[1-4000]: {segment: {geneve: 1}}\n"
    found = problems(text + "nodes:\n  a[1-9999]: {trunk: {1-4000: 'n[1-4000]'}}")
    assert any("too many ports" in problem.message for problem in found)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(FileError, match="is a directory"):
        read(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"name: lab\nx: \xff\xfe")
    with pytest.raises(FileError) as caught:
        read(tmp_path / "binary.yaml")
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 4)
