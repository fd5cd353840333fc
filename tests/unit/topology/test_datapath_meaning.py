"""What a file means that has Linux chassis, local networks, gateways, macvlan and interfaces of the machine."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

from hypothesis import given, settings

from datapath.spec import Gateway
from sdn.compile import host_specs
from sdn.model import Forward, Macvlan, Model, Segment
from sdn.topology import parse
from tests.topologies import files, model_of

HEAD = """\
name: lab
chassis:
  hv1: {}
  hv[2-3]: {datapath: linux, addresses: {office: 203.0.113.2/24}}
physnets:
  office: {interface: eth1, addresses: move, gateway: 203.0.113.1, mtu: 1400}
  yard: {interface: eth2}
networks:
  red: {segment: {vxlan: 10}, subnet: 10.0.0.0/24}
  blue: {segment: {geneve: 10}, subnet: 10.1.0.0/24}
  floor: {segment: {flat: office}, subnet: 203.0.113.0/24}
  here[1-2]: {segment: local, subnet: 10.4.0.0/24}
  out: {segment: local, subnet: 192.168.122.0/24, forward: {nat: office}}
  shut[1-2]: {segment: local, subnet: 10.6.0.0/24, gateway: 10.6.0.9, forward: isolated}
"""


def lab(nodes: str, previous: Model | None = None, head: str = HEAD) -> Model:
    return parse(f"{head}nodes:\n{nodes}", "lab.yaml", previous)


def where(model: Model) -> dict[str, str]:
    return {node.name: node.chassis for node in model.nodes.values()}


def test_physnets_and_addresses_of_chassis() -> None:
    model = lab("")
    office, yard = model.physnets["office"], model.physnets["yard"]
    assert (office.interface, office.moves_addresses, office.gateway) == ("eth1", True, ip_address("203.0.113.1"))
    assert (yard.interface, yard.moves_addresses, yard.gateway) == ("eth2", False, None)
    assert [chassis.addresses for chassis in model.chassis.values()] == [
        (),
        (("office", ip_interface("203.0.113.2/24")),),
        (("office", ip_interface("203.0.113.3/24")),),
    ]
    assert not model.chassis["hv2"].has_tables


def test_physnets_that_only_a_gateway_names() -> None:
    text = "name: x\nchassis: {h: {datapath: linux, addresses: {wan: 192.0.2.2/24}}}\nnetworks:\n"
    text += "  n: {segment: local, subnet: 10.0.0.0/24, forward: {routed: wan}}\nnodes: {a: {network: n}}"
    assert list(parse(text, "x").physnets) == ["wan"]


def test_local_networks_and_gateways() -> None:
    networks = lab("").networks
    assert networks["here1"].segment == networks["here2"].segment == networks["out"].segment == Segment("local")
    assert networks["here1"].forward is None
    assert networks["out"].forward == Forward("nat", ip_interface("192.168.122.1/24"), "office")
    assert networks["shut1"].forward == Forward("isolated", ip_interface("10.6.0.9/24"))
    assert networks["shut2"].forward == Forward("isolated", ip_interface("10.6.1.9/24")), "it counts with the subnet"
    assert str(networks["out"].forward) == "nat into office, gateway 192.168.122.1"
    assert str(networks["shut1"].forward) == "isolated, gateway 10.6.0.9"


def test_mtu_of_local_networks() -> None:
    """What goes on into a physical network fits there; nothing else limits it."""
    head = HEAD.replace("office}}\n  shut", "office}}\n  big: {segment: local, mtu: 9000}\n  shut")
    networks = lab("", head=f"underlay: {{mtu: 1600}}\n{head}").networks
    assert [networks[name].mtu for name in ("here1", "out", "shut1", "big")] == [1600, 1400, 1600, 9000]


def test_unknown_unicast_of_local_networks_goes_nowhere() -> None:
    assert lab("").networks["here1"].unknown_unicast == "drop"


def test_nobody_gets_the_address_of_a_gateway_or_chassis() -> None:
    model = lab("  a[1-251]: {network: floor, chassis: hv1}\n  b[1-252]: {network: shut1}\n")
    office = {str(port.ips[0]) for port in model.ports_of["floor"]}
    assert len(office) == 251
    assert not office & {"203.0.113.1", "203.0.113.2", "203.0.113.3"}
    assert "10.6.0.9" not in {str(port.ips[0]) for port in model.ports_of["shut1"]}


def test_a_node_may_be_the_router_of_a_physical_network() -> None:
    assert lab("  a: {network: floor, ip: 203.0.113.1}\n").ports["a:eth0"].ips == (ip_address("203.0.113.1"),)


def test_nodes_go_only_where_their_networks_can_be() -> None:
    model = lab("  a[1-6]: {network: blue}\n  b[1-6]: {network: red}\n")
    assert {chassis for name, chassis in where(model).items() if name[0] == "a"} == {"hv1"}
    assert {chassis for name, chassis in where(model).items() if name[0] == "b"} == {"hv1", "hv2", "hv3"}


def test_nodes_of_a_local_network_are_together() -> None:
    """On the first chassis that can have all of them, also those that another local network ties to them."""
    assert set(where(lab("  a[1-4]: {network: here1}\n  b[1-4]: {network: here1}\n")).values()) == {"hv1"}
    tied = "  a[1-4]: {network: here1}\n  b: {ports: [{network: here1}, {network: here2}]}\n"
    tied += "  c: {trunk: {native: here2, 20: out}}\n  d[1-2]: {network: here2}\n  e: {network: shut2}\n"
    assert set(where(lab(tied)).values()) == {"hv2"}


def test_nodes_of_a_local_network_follow_the_one_that_is_placed() -> None:
    found = where(lab("  a[1-4]: {network: out}\n  b: {network: out, chassis: hv3}\n"))
    assert set(found.values()) == {"hv3"}


def test_nodes_of_a_local_network_stay_where_they_run() -> None:
    before = lab("  a: {network: out, chassis: hv3}\n")
    after = lab("  b: {network: out}\n  a: {network: out}\n", before)
    assert where(after) == {"b": "hv3", "a": "hv3"}
    assert numbers(after) == numbers(before)
    assert where(lab("  b: {network: out}\n  a: {network: out}\n")) == {"b": "hv2", "a": "hv2"}


def numbers(model: Model) -> object:
    port = model.ports["a:eth0"]
    return port.id, port.ofport, port.mac, port.addresses


def test_several_local_networks_do_not_collide() -> None:
    text = HEAD + "  other: {segment: local, subnet: 192.168.122.0/24, forward: {nat: office}}\nnodes:\n"
    model = parse(text + "  a: {network: out, chassis: hv2}\n  b: {network: other, chassis: hv3}\n", "x")
    assert len({network.id for network in model.networks.values()}) == len(model.networks)


def test_macvlan() -> None:
    guard = "spoof_guard: false, chassis: hv3"
    model = lab(
        f"  a: {{network: floor, macvlan: bridge, {guard}}}\n"
        f"  b: {{chassis: hv3, ports: [{{network: floor, macvtap: vepa, spoof_guard: false}}, {{network: red}}]}}\n"
    )
    assert [port.macvlan for port in model.ports.values()] == [Macvlan("bridge"), Macvlan("vepa", tap=True), None]
    assert [str(port.macvlan) for port in model.ports.values()][:2] == ["macvlan bridge", "macvtap vepa"]


def test_specs_of_chassis_have_it_all() -> None:
    spec = host_specs(lab("  a[1-2]: {network: out}\n  b: {network: here1, chassis: hv2}\n"), ())["hv2"]
    networks = {network.network: network for network in spec.networks}
    assert networks["out"].gateway == Gateway(ip_interface("192.168.122.1/24"), "nat", "office")
    assert networks["here1"].gateway is None
    uplinks = {uplink.physnet: uplink for uplink in spec.uplinks}
    assert (uplinks["office"].interface, uplinks["office"].moves_addresses) == ("eth1", True)
    assert str(uplinks["office"].address) == "203.0.113.2/24"
    assert str(uplinks["office"].gateway) == "203.0.113.1"


@settings(deadline=None, max_examples=60)
@given(files(linux=True, machine=True, guests=True))
def test_random_files_mean_the_same_twice(file: dict[str, Any]) -> None:
    model = model_of(file)
    assert model_of(file, previous=model) == model
    for network in model.networks.values():
        chassis = {port.chassis for port in model.ports_of[network.name]}
        assert network.segment.kind != "local" or len(chassis) <= 1
        assert network.forward is None or all(not model.chassis[name].has_tables for name in chassis)
    assert all(not model.chassis[port.chassis].has_tables for port in model.ports.values() if port.macvlan)
