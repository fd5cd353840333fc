"""What `sdn plan` says of a host before anything is done."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_interface

import pytest

from datapath.addr import Mac
from datapath.spec import (
    Bridged,
    Gateway,
    Guest,
    HostSpec,
    Interface,
    Machine,
    Node,
    Peer,
    Seed,
    Tunnel,
    Underlay,
    Uplink,
    Vlan,
)
from datapath.steps import steps

ETH0 = Interface("web1", "eth0", "pabc", 64, Mac(0x02_00_00_00_00_01), 1450, (ip_interface("10.0.0.1/24"),))
UNDERLAY = Underlay(IPv4Interface("172.31.0.1/24"), Mac(0x02_AA_00_00_00_01), 1500, ())
HV1 = HostSpec(
    "lab",
    "hv1",
    "sdn-lab-hv1",
    1,
    UNDERLAY,
    (Tunnel("vxlan", "vxlan", 1),),
    (),
    (Node("web1", "sdn-lab-web1", (ETH0,)),),
)


def told(desired: HostSpec | None, observed: HostSpec | None) -> list[str]:
    return [f"{s.verb} {s.what}: {s.why}; {s.disturbs or 'nothing is interrupted'}" for s in steps(desired, observed)]


def with_interface(**changes: object) -> HostSpec:
    return replace(HV1, nodes=(Node("web1", "sdn-lab-web1", (replace(ETH0, **changes),)),))


def test_the_same_needs_nothing() -> None:
    assert told(HV1, HV1) == []
    assert told(None, None) == []


def test_a_chassis_comes_and_goes() -> None:
    assert told(HV1, None) == [
        "add chassis hv1: new; nothing is interrupted",
        "add node web1: new; nothing is interrupted",
    ]
    assert told(None, HV1) == ["remove chassis hv1: no longer wanted; its nodes and its traffic end"]


def test_nodes_come_and_go() -> None:
    empty = replace(HV1, nodes=())
    assert told(HV1, empty) == ["add node web1: new; nothing is interrupted"]
    assert told(empty, HV1) == ["remove node web1: no longer wanted; its processes lose their network"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mtu": 1400}, "mtu 1450 → 1400; nothing is interrupted"),
        ({"ready": True}, "set up; nothing is interrupted"),
        ({"mac": Mac(2 << 40 | 2)}, "mac 02:00:00:00:00:01 → 02:00:00:00:00:02; its connections pause"),
        ({"ofport": 65}, "switch port 64 → 65; its connections pause"),
        ({"bridge_port": "pdef"}, "recreated; its connections pause"),
        ({"vlans": (Vlan(20, 1450, ()),)}, "tag 20 comes; nothing is interrupted"),
        (
            {"addresses": (ip_interface("10.0.0.2/24"),)},
            "address 10.0.0.1/24 goes, address 10.0.0.2/24 comes; connections of 10.0.0.1/24 end",
        ),
    ],
)
def test_an_interface_changes(changes: dict[str, object], why: str) -> None:
    assert told(with_interface(**changes), HV1) == [f"change web1:eth0: {why}"]


def test_the_underlay_changes() -> None:
    moved = replace(HV1, underlay=replace(UNDERLAY, vtep=IPv4Interface("172.31.0.9/24"), mtu=9000), datapath_id=2)
    assert told(moved, HV1) == [
        "change vtep of hv1: 172.31.0.1/24 → 172.31.0.9/24; tunnels of hv1 pause until the others know",
        "change underlay of hv1: mtu 1500 → 9000; nothing is interrupted",
        "change datapath id of hv1: 0000000000000001 → 0000000000000002; the controller connects anew",
    ]


def test_a_new_neighbour_is_no_step() -> None:
    known = replace(UNDERLAY, neighbours=((IPv4Address("172.31.0.2"), Mac(2)),))
    assert told(replace(HV1, underlay=known), HV1) == []


def test_uplinks_and_tunnels() -> None:
    uplink = Uplink("office", "uabc", 16, 1500, "office")
    with_uplink = replace(HV1, uplinks=(uplink,), tunnels=())
    assert told(with_uplink, HV1) == [
        "remove vxlan tunnel port of hv1: no longer wanted; its encapsulation's traffic ends",
        "add uplink of hv1 into office: new; nothing is interrupted",
    ]
    larger = replace(with_uplink, uplinks=(replace(uplink, mtu=9000),))
    assert told(larger, with_uplink) == ["change uplink of hv1 into office: mtu 1500 → 9000; nothing is interrupted"]


LINUX = replace(HV1, switch="linux", tunnels=(), networks=(Bridged("web", 1450, "vxlan", 10010),))
PEER = Peer(Mac(2 << 40 | 9), IPv4Address("172.31.0.2"), (IPv4Address("10.0.0.9"),))


def with_network(**changes: object) -> HostSpec:
    return replace(LINUX, networks=(replace(LINUX.networks[0], **changes),))


def test_another_switch_makes_everything_anew() -> None:
    assert told(LINUX, HV1) == ["change chassis hv1: switch ovs → linux; everything on it is made anew: traffic pauses"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tunnel_id": 10011}, "carried otherwise; its traffic pauses"),
        ({"mtu": 1400}, "mtu 1450 → 1400; nothing is interrupted"),
        ({"floods_unknown": True}, "unknown unicast is flooded; nothing is interrupted"),
        ({"peers": (PEER,)}, "ports beyond: 1 new; nothing is interrupted"),
        (
            {"gateway": Gateway(IPv4Interface("10.0.0.254/24"), "nat", "office")},
            "gateway comes or goes; what is forwarded for it pauses",
        ),
        ({"vteps": (IPv4Address("172.31.0.3"),)}, "copies of broadcasts to 1 chassis; nothing is interrupted"),
    ],
)
def test_networks_of_a_switch_without_tables(changes: dict[str, object], why: str) -> None:
    assert told(with_network(**changes), LINUX) == [f"change network web of hv1: {why}"]


def test_networks_come_and_go_without_tables() -> None:
    empty = replace(LINUX, networks=())
    assert told(LINUX, empty) == ["add network web of hv1: new; nothing is interrupted"]
    assert told(empty, LINUX) == ["remove network web of hv1: no longer wanted; nothing is interrupted"]


GUEST = Guest("db1", "uuid", Machine(memory=128 << 20), (replace(ETH0, node="db1"),))
WITH_GUEST = replace(HV1, guests=(GUEST,))
ETH1 = replace(ETH0, node="db1", name="eth1", bridge_port="pdef", mac=Mac(2 << 40 | 9))


def with_machine(**changes: object) -> HostSpec:
    return replace(HV1, guests=(replace(GUEST, machine=replace(GUEST.machine, **changes)),))


def with_nics(*nics: Interface, **changes: object) -> HostSpec:
    machine = replace(GUEST.machine, **changes)
    return replace(HV1, guests=(replace(GUEST, interfaces=nics, machine=machine),))


def test_guests_come_and_go() -> None:
    assert told(WITH_GUEST, HV1) == ["add guest db1: new: the built-in guest, 128M, 1 cpu; nothing is interrupted"]
    assert told(with_machine(power="off", image="/a.qcow2", cpus=2), HV1) == [
        "add guest db1: new: /a.qcow2, 128M, 2 cpus; stays off; nothing is interrupted"
    ]
    ends = "remove guest db1: no longer wanted; what runs in it ends; its own disk and snapshots go, named volumes stay"
    assert told(HV1, WITH_GUEST) == [ends]
    assert told(None, WITH_GUEST)[1:] == [ends]
    assert told(WITH_GUEST, None)[-1].startswith("add guest db1")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"memory": 2 << 30, "cpus": 2}, "memory 128M → 2G with its next start, cpus 1 → 2 with its next start; "),
        ({"image": "/a.raw", "disk": 1 << 30}, "image none → /a.raw with its next start, disk none → 1G with its next"),
        ({"seed": Seed("me", (), "")}, "what cloud-init finds changes with its next start; nothing"),
        ({"power": "off"}, "is switched off by its power button; what runs in it ends"),
        ({"power": "paused"}, "pauses; it stands still"),
        ({"power": "off", "memory": 256 << 20}, "is switched off by its power button, memory 128M → 256M; what"),
        ({"volumes": ("data",)}, "volume data is attached; nothing is interrupted"),
        ({"restart": "always", "migration": "post-copy"}, "restart on-failure → always, migration auto → post-copy; "),
    ],
)
def test_a_machine_changes(changes: dict[str, object], why: str) -> None:
    (step,) = told(with_machine(**changes), WITH_GUEST)
    assert step.startswith(f"change guest db1: {why}")


def test_a_volume_is_detached() -> None:
    assert told(WITH_GUEST, with_machine(volumes=("data",))) == [
        "change guest db1: volume data is detached; what has data open loses it"
    ]
    off = with_machine(power="off", volumes=("data",))
    assert told(WITH_GUEST, off) == ["change guest db1: starts, volume data is detached; nothing is interrupted"]


def test_an_interface_of_a_guest_that_runs() -> None:
    eth0 = GUEST.interfaces[0]
    assert told(with_nics(eth0, ETH1), WITH_GUEST) == ["add db1:eth1: plugged in while it runs; nothing is interrupted"]
    assert told(WITH_GUEST, with_nics(eth0, ETH1)) == ["remove db1:eth1: unplugged while it runs; its connections end"]
    assert told(with_nics(replace(eth0, mtu=1400)), WITH_GUEST) == [
        "change db1:eth0: plugged in anew: mtu 1450 → 1400; its connections end"
    ]


def test_an_interface_of_a_guest_that_is_off() -> None:
    eth0 = GUEST.interfaces[0]
    assert told(with_nics(eth0, ETH1, power="off"), with_machine(power="off")) == [
        "add db1:eth1: new; nothing is interrupted"
    ]
    assert told(with_machine(power="off"), with_nics(eth0, ETH1, power="off")) == [
        "remove db1:eth1: no longer wanted; nothing is interrupted"
    ]


def test_only_the_built_in_guest_takes_addresses_over_by_itself() -> None:
    other = replace(GUEST.interfaces[0], addresses=(ip_interface("10.0.0.7/24"),))
    takes = "address 10.0.0.1/24 goes, address 10.0.0.7/24 comes"
    ends = "connections of 10.0.0.1/24 end"
    assert told(with_nics(other), WITH_GUEST) == [f"change db1:eth0: {takes}; {ends}"]
    assert told(with_nics(other, image="/a"), with_machine(image="/a")) == [
        f"change db1:eth0: {takes}; the guest itself has to take that over; {ends}"
    ]
    asks = with_nics(replace(other, dhcp=True), image="/a")
    assert told(asks, with_machine(image="/a")) == [
        f"change db1:eth0: {takes}, it asks for its addresses by DHCP; {ends}"
    ]
