"""What is known of devices, beyond what the kernel says of each."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from datapath.addr import Mac
from datapath.linux.connected import Connected
from datapath.linux.devices import Devices
from datapath.linux.host import Namespace
from datapath.linux.netlink import RTM_DELLINK, RTM_GETLINK, Notice
from tests.unit.datapath.linux.test_devices import link


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
