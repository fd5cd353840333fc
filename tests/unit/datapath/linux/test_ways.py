"""Default routes: ours are told by their protocol, others' are left alone."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

from datapath.linux.netlink import RTM_DELROUTE, RTM_NEWROUTE, Notice, attribute
from datapath.linux.ways import PROTOCOL, Ways

GATEWAY, OTHER = IPv4Address("10.0.0.254"), IPv4Address("10.0.0.253")
BOOT, MAIN, LOCAL = 3, 254, 255


def route(gateway: IPv4Address, protocol: int, device: int = 2, length: int = 0, table: int = MAIN) -> Notice:
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, table, protocol, 0, 1, 0)
    return Notice(RTM_NEWROUTE, body + attribute(5, gateway.packed) + attribute(4, struct.pack("=I", device)))


class Kernel:
    """A Channel that answers a dump with these routes."""

    def __init__(self, *routes: Notice) -> None:
        self.routes = list(routes)
        self.dumps = 0

    def dump(self, kind: int, body: bytes) -> list[Notice]:
        self.dumps += 1
        return self.routes


def changes(kernel: Kernel, ways: Ways, gateway: IPv4Address | None, version: int = 1) -> list[tuple[int, bytes]]:
    """Kind and gateway of each message."""
    made = list(ways.changes(kernel, version, "web1:eth0", 2, gateway))  # type: ignore[arg-type]
    return [(int.from_bytes(message.data[4:6], "little"), message.data[32:36]) for message in made]


def test_added_where_there_is_none() -> None:
    assert changes(Kernel(), Ways(), GATEWAY) == [(RTM_NEWROUTE, GATEWAY.packed)]


def test_nothing_where_it_is_there() -> None:
    assert changes(Kernel(route(GATEWAY, PROTOCOL)), Ways(), GATEWAY) == []


def test_ours_is_exchanged() -> None:
    found = changes(Kernel(route(OTHER, PROTOCOL)), Ways(), GATEWAY)
    assert found == [(RTM_DELROUTE, OTHER.packed), (RTM_NEWROUTE, GATEWAY.packed)]


def test_ours_goes_where_none_is_wanted() -> None:
    assert changes(Kernel(route(OTHER, PROTOCOL)), Ways(), None) == [(RTM_DELROUTE, OTHER.packed)]


def test_somebody_elses_is_left_alone_and_stands_for_ours() -> None:
    assert changes(Kernel(route(OTHER, BOOT)), Ways(), GATEWAY) == []
    assert changes(Kernel(route(OTHER, BOOT)), Ways(), None) == []


def test_other_routes_do_not_matter() -> None:
    kernel = Kernel(route(OTHER, PROTOCOL, length=24), route(OTHER, PROTOCOL, table=LOCAL))
    assert changes(kernel, Ways(), GATEWAY) == [(RTM_NEWROUTE, GATEWAY.packed)]


def test_a_namespace_just_made_is_not_asked_for_what_it_cannot_have() -> None:
    kernel, ways = Kernel(), Ways()
    ways.none_yet()
    assert changes(kernel, ways, None) == []
    assert kernel.dumps == 0


def test_asked_again_when_devices_or_routes_have_changed() -> None:
    """The kernel drops routes with a link or an address, and tells nobody."""
    kernel, ways = Kernel(route(GATEWAY, PROTOCOL)), Ways()
    for version, dumps in ((1, 1), (1, 1), (2, 2)):
        changes(kernel, ways, GATEWAY, version)
        assert kernel.dumps == dumps
    assert ways.has_changed(route(GATEWAY, PROTOCOL)) == 2
    assert ways.has_changed(route(GATEWAY, PROTOCOL, length=24)) == 0
    changes(kernel, ways, GATEWAY, 2)
    assert kernel.dumps == 3
