"""What is known of devices, beyond what the kernel says of each."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.linux.connected import Connected
from datapath.linux.devices import Devices
from datapath.linux.host import Namespace
from datapath.linux.netlink import RTM_DELLINK, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, Notice, attribute
from datapath.linux.ways import Ways
from tests.unit.datapath.linux.test_devices import address, link


def namespace(cookie: int) -> Namespace:
    """Without its Channel."""
    found = Namespace.__new__(Namespace)
    found.devices, found._cookie = Devices(), cookie
    found.devices.fold(link("tap", 5))
    return found


def test_a_device_is_not_its_like_in_another_namespace() -> None:
    assert namespace(1).identity("tap") == namespace(1).identity("tap") != namespace(2).identity("tap")
    assert namespace(1).identity("gone") == 0
    assert namespace(0).identity("tap") == 5, "of a kernel without cookies"


@pytest.fixture
def remembered() -> Namespace:
    """Of three devices, as its kernel tells of them."""
    found = namespace(0)
    found.connected, found.forwarding, found._has_way, found.lost = Connected(), None, False, False
    for index in (2, 3):
        found.devices.fold(link(f"eth{index}", index))
    indexes = {2, 3, 5}
    found.ours, found.computing = set(indexes), set(indexes)
    found.neighbours = {index: {ip_address("10.0.0.9"): Mac(9)} for index in indexes}
    return found


def known(place: Namespace) -> list[set[int]]:
    return [place.ours, place.computing, set(place.neighbours)]


def test_what_is_known_of_a_device_goes_with_it(remembered: Namespace) -> None:
    """Its index may be given to another one."""
    gone = link("eth2", 2).payload
    remembered._notice(Notice(RTM_DELLINK, bytes([7]) + gone[1:]))
    assert known(remembered) == [{2, 3, 5}] * 3, "family AF_BRIDGE: it is no port of a bridge any more"
    remembered._notice(Notice(RTM_DELLINK, gone))
    assert known(remembered) == [{3, 5}] * 3


def test_what_went_untold_is_forgotten_too(remembered: Namespace) -> None:
    class Told:
        """A Channel."""

        def hear(self) -> None:
            """No more than was lost."""

        def dump(self, kind: int, _body: bytes) -> list[Notice]:
            return [link("eth3", 3)] if kind == RTM_GETLINK else []

    remembered.channel, remembered.lost = Told(), True  # type: ignore[assignment]
    remembered.hear()
    assert known(remembered) == [{3}] * 3


def of_kind(name: str, index: int, kind: str) -> Notice:
    plain = link(name, index).payload
    return Notice(RTM_NEWLINK, plain + attribute(18, attribute(1, kind.encode())))  # IFLA_LINKINFO, IFLA_INFO_KIND


@pytest.mark.parametrize(("kind", "lacks"), [("vrf", 0), ("bridge", 1)])
def test_of_a_device_in_a_vrf_the_main_table_has_no_routes(kind: str, lacks: int) -> None:
    """The kernel has them in the table of the VRF, and makes them there itself."""

    class Empty:
        """A Channel to a kernel with an address and no routes."""

        def dump(self, what: int, _body: bytes) -> list[Notice]:
            return [held] if what == RTM_GETADDR else []

    place: Any = namespace(0)
    place.channel, place.connected, place.ways, place._has_way = Empty(), Connected(), Ways(), False
    held = address(RTM_NEWADDR, 2, "10.9.0.3/24")
    for notice in (of_kind("m", 7, kind), link("eth0", 2, up=True, master=7), held):
        place.devices.fold(notice)
    eth0 = place.devices.by_name["eth0"]
    assert len(place.lost_routes(eth0, [ip_interface("10.9.0.3/24")])) == lacks
    assert len(list(place.lead("b:eth0", eth0.index, ip_address("10.9.0.1")))) == lacks
