"""Connected routes: what the kernel makes with addresses, told by its notifications, and what of it is missing."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_interface
from typing import Any

import pytest

from datapath.linux import messages
from datapath.linux.connected import Connected, Lost, Route
from datapath.linux.devices import RawAddress, raw
from datapath.linux.netlink import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Notice,
    attribute,
)

V4, V6 = ip_interface("10.9.0.3/24"), ip_interface("fd09::3/64")
BOTH: tuple[RawAddress, ...] = (raw(V4), raw(V6))
TO_V4 = Lost(Route(2, socket.inet_aton("10.9.0.0"), 24, 0), V4.packed, False)
TO_V6 = Lost(Route(2, V6.network.network_address.packed, 64, 256), V6.packed, False)


def route(lost: Lost, kind: int = RTM_NEWROUTE, gateway: bytes = b"") -> Notice:
    """As the kernel says it."""
    body = lost.message("").data[16:]
    return Notice(kind, body + (attribute(5, gateway) if gateway else b""))


def link(kind: int, *, up: bool) -> Notice:
    body = bytearray(messages.set_link("", "eth0", up=up).data[16:])
    body[4:8] = (2).to_bytes(4, "little")
    return Notice(kind, bytes(body))


def address(kind: int, which: Any = V4) -> Notice:
    return Notice(kind, messages.add_address("", 2, which).data[16:])


class Kernel:
    """What it answers; `asked` counts."""

    def __init__(self, *routes: Notice, addresses: Iterable[Any] = (V4, V6)) -> None:
        self.routes = list(routes)
        self.addresses = [address(RTM_NEWADDR, each) for each in addresses]
        self.asked = 0

    def dump(self, kind: int, _body: bytes) -> list[Notice]:
        self.asked += 1
        return self.addresses if kind == RTM_GETADDR else self.routes


@pytest.fixture
def connected() -> Connected:
    """Both are there."""
    made = Connected()
    made.none_yet()
    assert [made.fold(route(each)) for each in (TO_V4, TO_V6)] == [0, 0]
    return made


def missing(connected: Connected, kernel: Kernel) -> list[Lost]:
    return connected.missing(kernel, 2, BOTH)  # type: ignore[arg-type]


def test_nothing_is_asked_while_all_are_known_to_be_there(connected: Connected) -> None:
    kernel = Kernel()
    assert missing(connected, kernel) == []
    assert kernel.asked == 0


@pytest.mark.parametrize("lost", [TO_V4, TO_V6], ids=["IPv4", "IPv6"])
def test_one_that_is_deleted_is_told_and_made_again(connected: Connected, lost: Lost) -> None:
    (other,) = {TO_V4, TO_V6} - {lost}
    assert connected.fold(route(lost, RTM_DELROUTE)) == 2
    assert missing(connected, Kernel(route(other))) == [lost]
    connected.fold(route(lost))
    assert missing(connected, Kernel()) == []


def test_what_only_seems_to_be_missing_is_looked_for(connected: Connected) -> None:
    connected.fold(route(TO_V4, RTM_DELROUTE))
    kernel = Kernel(route(TO_V4), route(TO_V6))
    assert missing(connected, kernel) == []
    assert missing(connected, kernel) == []
    assert kernel.asked == 2, "addresses and routes, once"


@pytest.mark.parametrize(
    "told",
    [link(RTM_NEWLINK, up=False), link(RTM_DELLINK, up=False), address(RTM_DELADDR)],
    ids=["down", "gone", "lost"],
)
def test_ipv4s_go_without_a_word(connected: Connected, told: Notice) -> None:
    assert connected.fold(told) == 0
    assert missing(connected, Kernel(route(TO_V6))) == [TO_V4]


def test_one_that_was_replaced(connected: Connected) -> None:
    """`ip route replace 10.9.0.0/24 via 10.9.0.9`: ours comes before it, and it stays."""
    theirs = route(TO_V4, gateway=socket.inet_aton("10.9.0.9"))
    assert connected.fold(theirs) == 2
    (lost,) = missing(connected, Kernel(theirs, route(TO_V6)))
    assert lost == TO_V4._replace(is_taken=True)


def test_what_an_address_has_no_route_for() -> None:
    alone, second = ip_interface("10.9.9.9/32"), ip_interface("10.9.0.4/24")
    kernel = Kernel(addresses=(alone,))
    assert Connected().missing(kernel, 2, [raw(alone)]) == []  # type: ignore[arg-type]
    flagged = bytearray(address(RTM_NEWADDR, second).payload)
    flagged[2] = 0x01  # IFA_F_SECONDARY
    kernel = Kernel(addresses=(V4,))
    kernel.addresses.append(Notice(RTM_NEWADDR, bytes(flagged)))
    assert Connected().missing(kernel, 2, [raw(V4), raw(second)]) == [TO_V4]  # type: ignore[arg-type]


def test_another_device_and_addresses_that_are_not_ours_are_left() -> None:
    assert Connected().missing(Kernel(), 3, BOTH) == []  # type: ignore[arg-type]
    assert Connected().missing(Kernel(), 2, [raw(V4)]) == [TO_V4]  # type: ignore[arg-type]
