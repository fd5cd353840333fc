"""What somebody else did to devices, by how they differ from what was made; and what is nobody's doing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, ip_interface
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.drift import Difference
from datapath.linux import differences, messages
from datapath.linux.devices import Devices
from datapath.linux.netlink import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Notice
from datapath.spec import HostSpec, Interface, Node, Tunnel, Underlay, namespace

MAC = Mac.parse("02:00:00:00:00:07")
ADDRESS = IPv4Interface("10.9.0.3/24")
ETH0 = Interface("b", "eth0", "p-b-eth0", 64, MAC, 1450, (ADDRESS,), ready=True)
NODE = Node("b", namespace("t", "b"), (ETH0,))
SPEC = HostSpec(
    "t", "hv1", namespace("t", "hv1"), 1,
    Underlay(IPv4Interface("172.31.0.1/24"), Mac.parse("02:00:00:00:00:01"), 1500, ()),
    (Tunnel("vxlan", "vxlan", 1),), (), (NODE,),
)  # fmt: skip


def link(name: str, index: int, **changes: Any) -> Notice:
    body = bytearray(messages.set_link("", name, **changes).data[16:])
    body[4:8] = index.to_bytes(4, "little")
    return Notice(RTM_NEWLINK, bytes(body))


def gone(name: str, index: int) -> Notice:
    return Notice(RTM_DELLINK, link(name, index).payload)


def address(kind: int, index: int, text: str) -> Notice:
    return Notice(kind, messages.add_address("", index, ip_interface(text)).data[16:])


def right(**changes: Any) -> Notice:
    wish = {"up": True, "mtu": 1450, "mac": MAC, "alias": "sdn:t:b:eth0", **changes}
    return link("eth0", 2, **wish)


class Home(SimpleNamespace):
    """A namespace in which nothing can be done."""

    devices: Devices


@pytest.fixture
def home() -> Any:
    """As it was made."""
    made = Home(devices=Devices(), lead=lambda *_: (), lost_routes=lambda *_: [])
    for notice in (right(), address(RTM_NEWADDR, 2, str(ADDRESS))):
        made.devices.fold(notice)
    made.devices.forget_news()
    return made


def of_node(home: Any, *told: Notice) -> list[Difference]:
    for notice in told:
        home.devices.fold(notice)
    return list(differences.of_node(SPEC, NODE, home, "netdev"))


@pytest.mark.parametrize(
    ("told", "what", "how"),
    [
        ((address(RTM_DELADDR, 2, "10.9.0.3/24"),), "address 10.9.0.3/24 of b:eth0", "removed"),
        ((right(up=False),), "interface b:eth0: down instead of up", "changed"),
        ((right(mtu=1300),), "interface b:eth0: mtu 1300 instead of 1450", "changed"),
        (
            (right(mac=Mac.parse("02:00:00:00:00:08")),),
            "interface b:eth0: mac 02:00:00:00:00:08 instead of 02:",
            "changed",
        ),
        ((right(arp=False),), "interface b:eth0: arp off instead of on", "changed"),
        ((right(alias="mine"),), "interface b:eth0: alias mine instead of sdn:t:b:eth0", "changed"),
        ((link("lo", 1, up=False, alias="sdn:t:b"),), "interface b:lo: down instead of up", "changed"),
        ((right(up=False), gone("eth0", 2)), "interface b:eth0", "removed"),
    ],
)
def test_of_a_node(home: Any, told: tuple[Notice, ...], what: str, how: str) -> None:
    (found,) = of_node(home, *told)
    assert str(found).startswith(what)
    assert found.how == how
    assert of_node(home) == [], "what was told is looked at once"


@pytest.mark.parametrize(
    "told",
    [
        (),
        (right(arp=True),),
        (address(RTM_NEWADDR, 2, "10.9.0.4/24"),),
        (address(RTM_DELADDR, 2, "10.9.0.4/24"),),
        (address(RTM_DELADDR, 2, "10.9.0.3/24"), address(RTM_NEWADDR, 2, "10.9.0.3/24")),
        (right(up=False), right()),
        (link("eth1", 3, up=False), gone("eth1", 3)),
    ],
    ids=["nothing", "the same", "one more", "not ours", "back again", "up again", "another's"],
)
def test_what_is_nobodys_doing(home: Any, told: tuple[Notice, ...]) -> None:
    assert of_node(home, *told) == []


def test_what_never_was_is_not_missed(home: Any) -> None:
    home.devices = Devices()
    assert of_node(home, link("eth1", 3)) == []
    assert of_node(home, right()) == [], "of its address the kernel tells later"


def test_a_way_out(home: Any) -> None:
    interface = ETH0.__class__(**{**{f: getattr(ETH0, f) for f in ETH0.__slots__}, "gateway": IPv4Address("10.9.0.1")})
    node = Node("b", NODE.namespace, (interface,))
    home.devices.touch(2)
    home.lead = lambda *_: iter(["a message"])
    (found,) = differences.of_node(SPEC, node, home, "netdev")
    assert found == Difference("default route by 10.9.0.1 of b:eth0", "removed")


def test_a_connected_route(home: Any) -> None:
    home.devices.touch(2)
    home.lost_routes = lambda device, addresses: [SimpleNamespace(route=SimpleNamespace(prefix="10.9.0.0/24"))]
    assert of_node(home) == [Difference("route 10.9.0.0/24 dev eth0 of b:eth0", "removed")]


def test_of_the_addresses_of_lo(home: Any) -> None:
    """Which go with it, of IPv6, and come again."""
    lo = {"alias": "sdn:t:b"}
    for notice in (link("lo", 1, up=True, **lo), address(RTM_NEWADDR, 1, "::1/128")):
        home.devices.fold(notice)
    home.devices.forget_news()
    lost = address(RTM_DELADDR, 1, "::1/128")
    assert of_node(home, link("lo", 1, up=False, **lo), lost) == [
        Difference("interface b:lo", "changed", "down instead of up")
    ]
    found = of_node(home, link("lo", 1, up=True, **lo))
    assert found == [Difference("address ::1/128 of b:lo", "removed")]


def test_of_what_a_switch_has_put_right_by_itself() -> None:
    """By what it has sent: changes have both values, of what was made anew nothing else is told."""
    home = Home(devices=Devices())
    home.devices.fold(link("vx-web", 7, alias="sdn:t:hv1:vxlan:web"))
    home.devices.fold(gone("vx-web", 7))
    port = messages.set_link("sdn:t:b:eth0", "p-b-eth0", up=True)._replace(undoes=("down instead of up",))
    vtep = "sdn:t:hv1:underlay address 172.31.0.1/24"
    journal = [
        port,
        port,
        messages.add_bridge("sdn:t:hv1:vxlan:web", "vx-web")._replace(undoes=("up instead of down",)),
        messages.add_address(vtep, 4, ip_interface("172.31.0.1/24")),
        messages.delete_address("sdn:t:hv1:underlay address 172.31.0.9/24", 4, ip_interface("172.31.0.9/24")),
    ]
    spec = SPEC.__class__(**{**{f: getattr(SPEC, f) for f in SPEC.__slots__}, "nodes": ()})
    assert list(differences.of_repair(spec, journal, home)) == [  # type: ignore[arg-type]
        Difference("b:eth0 on hv1", "changed", "down instead of up"),
        Difference("vxlan:web on hv1", "removed"),
        Difference("underlay address 172.31.0.1/24 on hv1", "removed"),
        Difference("underlay address 172.31.0.9/24 on hv1", "added"),
    ]


def test_of_a_chassis() -> None:
    home = Home(devices=Devices(), lead=lambda *_: (), lost_routes=lambda *_: [])
    port = {"up": True, "mtu": 1450, "arp": False, "alias": "sdn:t:b:eth0"}
    home.devices.fold(link("p-b-eth0", 3, **port))
    home.devices.fold(link("underlay0", 4, up=True, mtu=1500))
    home.devices.forget_news()
    home.devices.fold(link("p-b-eth0", 3, **{**port, "up": False}))
    home.devices.fold(gone("underlay0", 4))
    assert list(differences.of_chassis(SPEC, home, "netdev")) == [  # type: ignore[arg-type]
        Difference("wire hv1:underlay", "removed"),
        Difference("bridge port of b:eth0", "changed", "down instead of up"),
    ]
    home.devices.fold(gone("p-b-eth0", 3))
    assert list(differences.of_chassis(SPEC, home, "netdev")) == [], "the node tells of its interface"  # type: ignore[arg-type]


def test_of_a_vtep_that_was_made_anew_nothing_is_missed() -> None:
    home = Home(devices=Devices(), lead=lambda *_: (), lost_routes=lambda *_: [])
    vtep = link("br-underlay", 5, up=True)

    def found() -> list[Difference]:
        return list(differences.of_vtep(SPEC, home))  # type: ignore[arg-type]

    for notice in (vtep, address(RTM_NEWADDR, 5, "172.31.0.1/24")):
        home.devices.fold(notice)
    home.devices.fold(address(RTM_DELADDR, 5, "172.31.0.1/24"))
    assert found() == [Difference("address 172.31.0.1/24 of vtep of hv1", "removed")]
    home.devices.fold(gone("br-underlay", 5))
    home.devices.fold(link("br-underlay", 6, up=True))
    assert found() == []
    home.devices.fold(address(RTM_NEWADDR, 6, "172.31.0.1/24"))
    assert found() == []
    home.devices.fold(address(RTM_DELADDR, 6, "172.31.0.1/24"))
    assert [each.how for each in found()] == ["removed"]
