"""The devices that a HostSpec asks for, with either datapath."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_interface

from datapath.addr import Mac
from datapath.linux.wiring import Bridge, bridges, chassis_pairs, node_pairs, underlay_end
from datapath.spec import HostSpec, Interface, Node, Underlay, Uplink

ADDRESSES = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
ETH0 = Interface("web1", "eth0", "pabc", 64, Mac(2 << 40 | 1), 1450, ADDRESSES, ready=True)
NODE = Node("web1", "sdn-lab-web1", (ETH0,))
UNDERLAY = Underlay(
    IPv4Interface("172.31.0.1/24"), Mac(0x02AA_0000_0001), 1500, ((IPv4Interface("172.31.0.2").ip, Mac(9)),)
)
HV1 = HostSpec("lab", "hv1", "sdn-lab-hv1", 1, UNDERLAY, (), (Uplink("office", "uabc", 16, 1600, "office"),), (NODE,))


def test_an_interface_is_silent_on_the_chassis_and_complete_in_the_node() -> None:
    (pair,) = node_pairs(HV1, NODE, "netdev")
    assert (pair.near.namespace, pair.near.device, pair.near.arp, pair.near.addresses) == (
        "sdn-lab-hv1",
        "pabc",
        False,
        None,
    )
    assert (pair.far.namespace, pair.far.device, pair.far.mac) == ("sdn-lab-web1", "eth0", ETH0.mac)
    assert (pair.far.addresses, pair.far.up, pair.far.mtu) == (ADDRESSES, True, 1450)
    assert pair.near.alias == pair.far.alias == "sdn:lab:web1:eth0"


def test_checksums_are_computed_only_for_a_userspace_switch() -> None:
    for datapath, offload in (("netdev", False), ("system", True)):
        pairs = [*node_pairs(HV1, NODE, datapath), *chassis_pairs(HV1, datapath)]  # type: ignore[arg-type]
        assert {pair.far.offload for pair in pairs} == {offload}


def test_the_vtep_address_is_where_the_tunnels_end() -> None:
    underlay, _ = chassis_pairs(HV1, "system")
    assert underlay.near.addresses == (UNDERLAY.vtep,)
    assert underlay.near.neighbours == UNDERLAY.neighbours
    assert underlay.near.mac == UNDERLAY.mac
    underlay, _ = chassis_pairs(HV1, "netdev")
    assert underlay.near.addresses is None
    assert not underlay.near.arp
    assert underlay_end(HV1).addresses == (UNDERLAY.vtep,)


def test_the_wires_of_the_lab() -> None:
    assert list(bridges("lab", [HV1, HV1])) == [
        Bridge("sdn-lab", "underlay", "sdn:lab:underlay"),
        Bridge("sdn-lab", "office", "sdn:lab:office"),
    ]
    underlay, office = chassis_pairs(HV1, "netdev")
    assert (underlay.far.master, underlay.far.mtu) == ("underlay", 1500)
    assert (office.far.master, office.far.mtu, office.near.device) == ("office", 1600, "uabc")
    assert underlay.far.device != office.far.device
