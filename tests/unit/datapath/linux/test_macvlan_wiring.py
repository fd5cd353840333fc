"""The devices of a chassis that nodes' macvlans are on, and the way to an interface of the machine."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from datapath.addr import Mac
from datapath.linux.wiring import (
    IFNAMSIZ,
    chassis_pairs,
    machine_devices,
    machine_end,
    macvlan_devices,
    macvlan_lower,
    macvlan_pairs,
    node_devices,
    node_pairs,
)
from datapath.spec import HostSpec, Interface, Macvlan, Node, Underlay, Uplink

UNDERLAY = Underlay(IPv4Interface("172.31.0.1/24"), Mac(1), 1500, ())
OFFICE = Uplink("office", "up-office", 16, 1600, "phy-office", "eth1")
FLOOR = Uplink("floor", "up-floor", 17, 1500, "phy-floor")


def node(number: int, macvlan: Macvlan | None) -> Node:
    name = f"n{number}"
    interface = Interface(name, "eth0", f"p-{name}", 64, Mac(number), 1500, (), macvlan=macvlan)
    return Node(name, f"sdn-lab-{name}", (interface,))


def host(*nodes: Node) -> HostSpec:
    return HostSpec("lab", "hv1", "sdn-lab-hv1", 1, UNDERLAY, (), (OFFICE, FLOOR), nodes, switch="linux")


def on(vlan_id: int) -> Macvlan:
    return Macvlan("bridge", False, "office", vlan_id)


def test_one_device_for_all_of_an_uplink() -> None:
    """With a VLAN device for each tag, and no sign of life of its own."""
    (pair,) = macvlan_pairs(host(node(1, on(0)), node(2, on(120)), node(3, on(7)), node(4, on(120))))
    assert (pair.near.device, pair.near.mtu, pair.near.arp, pair.near.addresses) == ("mv-office", 1600, False, None)
    assert [vlan.tag for vlan in pair.near.vlans] == [7, 120]
    assert pair.far.master == "phy-office"


def test_beside_the_uplink_of_the_switch() -> None:
    spec = host(node(1, on(0)), node(2, None))
    pairs = chassis_pairs(spec, "linux")
    assert [pair.near.device for pair in pairs] == ["underlay0", "up-office", "up-floor", "mv-office"]
    assert len({pair.far.device for pair in pairs}) == 4


def test_none_where_nobody_asks() -> None:
    assert macvlan_pairs(host(node(1, None))) == []
    assert macvlan_devices(host(node(1, None))) == set()


def test_no_veth_for_a_macvlan() -> None:
    made = node(1, on(0))
    assert node_pairs(host(made), made, "linux") == []
    assert "eth0" in node_devices(made)


def test_names_fit_the_kernel() -> None:
    long = "a-physical-network-of-31-letters"
    names = {macvlan_lower(long), macvlan_lower(long, 4094), macvlan_lower("office", 4094)}
    assert len(names) == 3
    assert all(len(name) < IFNAMSIZ for name in names)
    wanted = macvlan_devices(host(node(1, on(4094))))
    assert {"mv-office", macvlan_lower("office", 4094)} < wanted
    assert len(wanted) == 3, "the third makes tags where the kernel cannot"


def test_way_to_the_machine() -> None:
    end = machine_end("lab", OFFICE)
    assert (end.namespace, end.master, end.mtu, end.alias) == ("sdn-lab", "phy-office", 1600, "sdn:lab:office:eth1")
    assert machine_devices("lab", [host()]) == {end.device}
    assert machine_devices("lab", [replace(host(), uplinks=(FLOOR,))]) == set()
