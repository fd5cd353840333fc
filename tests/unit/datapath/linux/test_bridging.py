"""What a HostSpec becomes in each form of the kernel's bridges."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.addr import Mac
from datapath.linux.bridge_messages import ranges
from datapath.linux.bridging import (
    ANYONE,
    AWARE_BRIDGE,
    PVID,
    UNTAGGED,
    Bridging,
    Form,
    Inlet,
    Known,
    Neighbour,
    Remote,
    access_vids,
    bridging,
    raw,
)
from datapath.linux.wiring import vlan_name
from datapath.spec import (
    Attachment,
    Bridged,
    Gateway,
    HostSpec,
    Interface,
    Macvlan,
    Node,
    Peer,
    Sender,
    Underlay,
    Uplink,
    Vlan,
    device_name,
)

FORMS: tuple[Form, ...] = ("aware", "classic")
HERE, OTHER, THIRD = (IPv4Address(f"172.31.0.{n}") for n in (1, 2, 3))
ACCESS = PVID | UNTAGGED


def mac(number: int) -> Mac:
    return Mac(2 << 40 | number)


def senders(number: int, *addresses: str) -> tuple[Sender, ...]:
    found = [Sender(mac(number), ip_network(ip_interface(each).ip)) for each in addresses]
    return (
        (*found, Sender(mac(number), ip_network(mac(number).link_local()))) if ":" in "".join(addresses) else (*found,)
    )


def access(name: str, number: int, network: str, *addresses: str) -> Node:
    attachment = Attachment(network, None, (mac(number),), senders(number, *addresses))
    where = tuple(ip_interface(each) for each in addresses)
    eth0 = Interface(name, "eth0", f"p-{name}", number, mac(number), 1450, where, attachments=(attachment,))
    return Node(name, f"sdn-lab-{name}", (eth0,))


def trunk(name: str, number: int, networks: dict[int | None, str]) -> Node:
    attachments = tuple(Attachment(network, tag, (mac(number),), ()) for tag, network in networks.items())
    vlans = tuple(Vlan(tag, 1450, ()) for tag in networks if tag is not None)
    eth0 = Interface(name, "eth0", f"p-{name}", number, mac(number), 1450, (), vlans, attachments=attachments)
    return Node(name, f"sdn-lab-{name}", (eth0,))


WEB = Bridged(
    "web",
    1450,
    "vxlan",
    100,
    vteps=(OTHER, THIRD),
    peers=(Peer(mac(8), OTHER, (ip_address("10.0.0.8"), ip_address("fd00::8"))), Peer(mac(9), THIRD, ())),
)
DB = Bridged("db", 1450, "nvgre", 5000, vteps=(OTHER, THIRD), peers=(Peer(mac(8), OTHER, (ip_address("10.1.0.8"),)),))
DESK = Bridged("desk", 1500, physnet="office", vlan_id=120, floods_unknown=True)
FLOOR = Bridged("floor", 1500, physnet="office", floods_unknown=True)
OFFICE = Uplink("office", "up-office", 16, 1500, "phy-office")


def host(*networks: Bridged, nodes: tuple[Node, ...] = (), uplinks: tuple[Uplink, ...] = (OFFICE,)) -> HostSpec:
    underlay = Underlay(IPv4Interface(f"{HERE}/24"), mac(1), 1500, ())
    return HostSpec("lab", "hv1", "sdn-lab-hv1", 1, underlay, (), uplinks, nodes, switch="linux", networks=networks)


def home(made: Bridging, network: str) -> str:
    return made.homes[network]


@pytest.mark.parametrize("form", FORMS)
def test_a_tunnelled_network(form: Form) -> None:
    """Known MACs are where they are, broadcasts go to each vtep, ARP and ND are answered for both sides."""
    made = bridging(host(WEB, nodes=(access("n", 1, "web", "10.0.0.1/24", "fd00::1/64"),)), form)
    (bridge,) = made.bridges.values()
    vid = made.vids.get("web", 0)
    assert made.known == {
        Known(bridge.device, vid, raw(mac(1))): "p-n",
        Known(bridge.device, vid, raw(mac(8))): "vx-web",
        Known(bridge.device, vid, raw(mac(9))): "vx-web",
    }
    assert made.remotes == {
        Remote("vx-web", ANYONE, OTHER.packed): OTHER.packed,
        Remote("vx-web", ANYONE, THIRD.packed): THIRD.packed,
        Remote("vx-web", raw(mac(8))): OTHER.packed,
        Remote("vx-web", raw(mac(9))): THIRD.packed,
    }
    asked = {"10.0.0.1": 1, "fd00::1": 1, str(mac(1).link_local()): 1, "10.0.0.8": 8, "fd00::8": 8}
    device = home(made, "web")
    assert made.neighbours == {
        Neighbour(device, ip_address(address).packed): raw(mac(number)) for address, number in asked.items()
    }
    tunnel, port = made.ports["vx-web"], made.ports["p-n"]
    assert (tunnel.flags.suppress, tunnel.flags.flood, tunnel.flags.learning) == (True, False, False)
    assert (port.flags.suppress, port.flags.flood, port.flags.learning) == (False, False, False)
    assert made.tunnels["vx-web"].local == HERE


@pytest.mark.parametrize("form", FORMS)
def test_nvgre_has_a_device_for_each_vtep(form: Form) -> None:
    """RFC 7637 section 3.2; what comes from one tunnel goes into no other."""
    made = bridging(host(DB, nodes=(access("n", 1, "db"),)), form)
    assert {(each.kind, each.id, each.remote) for each in made.tunnels.values()} == {
        ("gretap", 5000 << 8, OTHER),
        ("gretap", 5000 << 8, THIRD),
    }
    assert all(made.ports[device].flags.isolated for device in made.tunnels)
    assert not made.ports["p-n"].flags.isolated
    (to_other,) = [name for name, each in made.tunnels.items() if each.remote == OTHER]
    assert [port for key, port in made.known.items() if key.mac == raw(mac(8))] == [to_other]
    assert not made.remotes


def test_a_trunk_of_an_aware_bridge_is_tagged_with_its_networks_vlans() -> None:
    spec = host(WEB, DB, nodes=(trunk("t", 1, {None: "web", 20: "db"}),))
    made = bridging(spec, "aware")
    assert made.vids["db"] == 20, "a trunk's tag is preferred"
    assert made.ports["p-t"].vlans == {(made.vids["web"], ACCESS), (20, 0)}
    assert set(made.trunks) == {AWARE_BRIDGE}
    assert made.inlets == {("t", "eth0", None): Inlet("p-t", None), ("t", "eth0", 20): Inlet("p-t", 20)}


def test_another_tag_than_the_networks_vlan_is_a_device_of_its_own() -> None:
    nodes = (trunk("t", 1, {20: "db"}), trunk("u", 2, {20: "db"}), trunk("v", 3, {30: "db"}))
    made = bridging(host(DB, nodes=nodes), "aware")
    sub = vlan_name("p-v", 30)
    assert made.ports["p-t"].vlans == {(20, 0)}
    assert made.ports[sub].vlans == {(20, ACCESS)}
    assert "p-v" not in made.ports
    assert made.subs[sub] == ("p-v", 30)
    assert made.inlets["v", "eth0", 30] == Inlet(sub, None)


def test_flooding_is_of_a_whole_port_so_networks_that_differ_have_devices() -> None:
    flooding = replace(WEB, floods_unknown=True)
    tags = {None: "web", 20: "db", 120: "desk"}
    made = bridging(host(flooding, DB, DESK, nodes=(trunk("t", 1, tags),)), "aware")
    sub = vlan_name("p-t", 20)
    assert (made.ports["p-t"].flags.flood, made.ports[sub].flags.flood) == (True, False)
    assert made.ports["p-t"].vlans == {(made.vids["web"], ACCESS), (120, 0)}
    assert made.ports[sub].vlans == {(made.vids["db"], ACCESS)}


def test_classic_trunks_and_uplinks_have_a_device_for_each_tag() -> None:
    spec = host(WEB, DESK, FLOOR, nodes=(trunk("t", 1, {None: "web", 120: "desk"}), access("f", 2, "floor")))
    made = bridging(spec, "classic")
    assert made.ports["p-t"].bridge == "brv-web"
    assert made.ports[vlan_name("p-t", 120)].bridge == made.ports["up-office.120"].bridge == "brv-desk"
    assert made.ports["up-office"].bridge == "brv-floor"
    assert all(not port.vlans for port in made.ports.values())
    assert [made.ports[name].flags.learning for name in ("up-office", "up-office.120", "p-f")] == [True, True, False]


def test_an_uplink_of_an_aware_bridge() -> None:
    made = bridging(host(DESK, FLOOR, nodes=(access("d", 1, "desk"), access("f", 2, "floor"))), "aware")
    assert made.vids["desk"] == 120
    assert made.ports["up-office"].vlans == {(120, 0), (made.vids["floor"], ACCESS)}
    assert made.learns


def test_the_second_of_two_physical_networks_with_one_vlan_id() -> None:
    lab = Uplink("lab", "up-lab", 17, 1500, "phy-lab")
    more = replace(DESK, network="zoo", physnet="lab")
    nodes = (access("d", 1, "desk"), access("z", 2, "zoo"))
    made = bridging(host(DESK, more, nodes=nodes, uplinks=(OFFICE, lab)), "aware")
    assert made.ports["up-office"].vlans == {(120, 0)}
    assert made.ports[vlan_name("up-lab", 120)].vlans == {(made.vids["zoo"], ACCESS)}
    assert "up-lab" not in made.ports


@pytest.mark.parametrize("form", FORMS)
def test_the_chassis_own_addresses(form: Form) -> None:
    """A gateway's, and that in the untagged physical network, which is there without a network of the file too."""
    nat = Bridged("nat", 1500, gateway=Gateway(IPv4Interface("10.9.0.1/24"), "nat", "office"))
    up = replace(OFFICE, address=IPv4Interface("192.0.2.2/24"))
    made = bridging(host(nat, nodes=(access("n", 1, "nat"),), uplinks=(up,)), form)
    addresses = {name: bridge.addresses for name, bridge in made.bridges.items()}
    if form == "aware":
        (own,) = [end for end in made.trunks.values() if end.device == AWARE_BRIDGE]
        addresses = {vlan_name(own.device, vlan.tag): vlan.addresses for vlan in own.vlans}
        assert made.own_vlans[AWARE_BRIDGE] == {(made.vids["nat"], 0), (made.vids["@office"], 0)}
        assert (made.vids["@office"], ACCESS) in made.ports["up-office"].vlans
    assert addresses[home(made, "nat")] == (IPv4Interface("10.9.0.1/24"),)
    assert addresses[home(made, "@office")] == (IPv4Interface("192.0.2.2/24"),)


@pytest.mark.parametrize("form", FORMS)
def test_macvlan_devices_need_no_bridge(form: Form) -> None:
    (node,) = (access("m", 1, "floor"),)
    above = replace(node.interfaces[0], macvlan=Macvlan("bridge", False, "office", 0))
    made = bridging(host(FLOOR, nodes=(replace(node, interfaces=(above,)),)), form)
    assert (made.bridges, made.ports) == ({}, {})


@pytest.mark.parametrize("form", FORMS)
def test_a_mac_that_several_have_is_learned_where_it_is_heard(form: Form) -> None:
    shared = mac(0x77)
    pair = []
    for number in (1, 2):
        node = access(f"n{number}", number, "web", f"10.0.0.{number}/24")
        (eth0,) = node.interfaces
        attachment = replace(eth0.attachments[0], macs=(mac(number), shared))
        pair.append(replace(node, interfaces=(replace(eth0, attachments=(attachment,)),)))
    made = bridging(host(WEB, nodes=tuple(pair)), form)
    assert not [key for key in made.known if key.mac == raw(shared)]
    assert {key.mac for key in made.known} >= {raw(mac(1)), raw(mac(2))}
    assert all(made.ports[device].flags.learning for device in ("p-n1", "p-n2", "vx-web"))


@pytest.mark.parametrize("form", FORMS)
def test_where_addresses_may_move_their_announcements_get_through(form: Form) -> None:
    """The kernel's suppression stops gratuitous ARP too."""
    node = access("n", 1, "web", "10.0.0.1/24")
    (eth0,) = node.interfaces
    virtual = (*(eth0.attachments[0].senders or ()), Sender(mac(1), ip_network("10.0.0.100")))
    for loose in (None, virtual):
        attachment = replace(eth0.attachments[0], senders=loose)
        moving = replace(node, interfaces=(replace(eth0, attachments=(attachment,)),))
        assert not bridging(host(WEB, nodes=(moving,)), form).ports["vx-web"].flags.suppress
    assert bridging(host(WEB, nodes=(node,)), form).ports["vx-web"].flags.suppress


def test_what_networks_were_is_seen_by_the_ports_of_their_nodes_and_tunnels() -> None:
    spec = host(WEB, DB, nodes=(access("n", 1, "web"), trunk("t", 2, {20: "db"})))
    assert access_vids(spec, {"p-n": 7, "vx-web": 7}) == {"web": 7}
    assert bridging(spec, "aware", {"web": 7, "db": 9}).vids == {"web": 7, "db": 9}
    assert access_vids(spec, {vlan_name("p-t", 20): 9, "p-t": 5}) == {"db": 9}


def test_names_are_short_enough_for_the_kernel() -> None:
    long = "p" + "0" * 14
    assert vlan_name("up-office", 120) == "up-office.120"
    assert len(vlan_name(long, 4094)) == 15
    assert vlan_name(long, 4094) != vlan_name(long, 4093)
    made = bridging(host(replace(WEB, network="w" * 40), nodes=(access("n", 1, "w" * 40),)), "classic")
    assert all(len(name) < 16 for name in (*made.bridges, *made.tunnels, *made.ports))
    assert device_name("vx-", "w" * 40) in made.tunnels


@given(st.sets(st.tuples(st.integers(1, 40), st.sampled_from([0, UNTAGGED])), max_size=40))
def test_ranges_are_what_they_stand_for(vlans: set[tuple[int, int]]) -> None:
    """`bridge vlan add vid 100-200`: a begin, then an end with the same flags."""
    begin, end = 0x8, 0x10
    found: list[tuple[int, int]] = []
    first = 0
    for vid, flags in ranges(vlans):
        if flags & begin:
            first = vid
        else:
            found += [(each, flags & UNTAGGED) for each in range(first if flags & end else vid, vid + 1)]
    assert sorted(found) == sorted(vlans)


def test_a_run_of_vlans_is_one_range() -> None:
    assert list(ranges({(vid, 0) for vid in range(100, 201)})) == [(100, 0x8), (200, 0x10)]
