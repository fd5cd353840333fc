"""Connected routes: those that the kernel makes with each address of a device, and nobody makes again once they are
deleted.

Enters: answers and notifications of a Channel, the addresses of a device. Leaves: which of these routes it lacks, and
messages that make them as the kernel does. Never: a route of somebody else's is removed.

    10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.3
    fd09::/64, fe80::/64 dev eth0 proto kernel metric 256
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final, NamedTuple

from datapath.linux.devices import RawAddress, parse_address
from datapath.linux.netlink import (
    HEADER,
    IFF_UP,
    NLM_F_APPEND,
    NLM_F_CREATE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Channel,
    Message,
    Notice,
    attribute,
    attributes,
)
from datapath.linux.shapes import (
    ADDRESS,
    LINK,
    MAIN,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_VIA,
    U32,
    UNICAST,
    number,
)

_IFA_FLAGS, _IFA_RT_PRIORITY = 8, 9
_KERNEL = 2  # RTPROT_KERNEL
_SCOPE_LINK: Final = 253
_SECONDARY, _NO_PREFIX_ROUTE = 0x01, 0x200  # IFA_F_*: another one of its subnet has the route; it is to have none
_METRICS: Final = {4: 0, 16: 256}
"""By the length of an address: of IPv6 it is IP6_RT_PRIO_ADDRCONF of linux/ipv6_route.h."""


def _screen() -> bytes:
    """A program of classic BPF (linux/filter.h) that drops notifications of routes in other tables than the main one:
    most of what the kernel says with each address is about its table `local`."""
    load_half, load_byte, if_equal, leave = 0x28, 0x30, 0x15, 0x06  # BPF_LD|BPF_H|BPF_ABS and so on
    code = [
        (load_half, 0, 0, _TYPE_AT),
        (if_equal, 1, 0, socket.htons(RTM_NEWROUTE)),
        (if_equal, 0, 3, socket.htons(RTM_DELROUTE)),
        (load_byte, 0, 0, _TABLE_AT),
        (if_equal, 1, 0, MAIN),
        (leave, 0, 0, 0),
        (leave, 0, 0, 0xFFFFFFFF),
    ]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


_TYPE_AT, _TABLE_AT = 4, 20
"""In a notification: nlmsg_type of its header, and rtm_table after that."""
SCREEN: Final = _screen()


class Route(NamedTuple):
    """Of a device, given by its index, to a subnet."""

    device: int
    network: bytes
    length: int
    metric: int

    @property
    def prefix(self) -> str:
        return f"{ip_address(self.network)}/{self.length}"


class Lost(NamedTuple):
    """A connected route that is missing. `source` is the address that it came with; `is_taken`: another one leads to
    its subnet."""

    route: Route
    source: bytes
    is_taken: bool

    def message(self, about: str) -> Message:
        """Makes it as the kernel does: behind those of other devices, but before what has come in its place."""
        route = self.route
        version_4 = len(route.network) == 4
        family, scope = (socket.AF_INET, _SCOPE_LINK) if version_4 else (socket.AF_INET6, 0)
        body = ROUTE.pack(family, route.length, 0, 0, MAIN, _KERNEL, scope, UNICAST, 0)
        body += attribute(RTA_DST, route.network) + attribute(RTA_OIF, U32.pack(route.device))
        body += attribute(RTA_PREFSRC, self.source) if version_4 else b""
        body += attribute(RTA_PRIORITY, U32.pack(route.metric)) if route.metric else b""
        flags = NLM_F_CREATE | (NLM_F_APPEND if version_4 and not self.is_taken else 0)
        return Message(about, HEADER.pack(HEADER.size + len(body), RTM_NEWROUTE, flags, 0, 0) + body, (errno.EEXIST,))


class Connected:
    """Of one namespace, kept by notifications. IPv4's go without one with a link that is set down and with an address;
    what seems to be missing is looked for once more, so that nothing is missed that is there."""

    def __init__(self) -> None:
        self._known: set[Route] | None = None
        """None: they are read by the next look."""

    def none_yet(self) -> None:
        """Of a namespace that has just been made."""
        self._known = set()

    def forget(self) -> None:
        self._known = None

    def fold(self, notice: Notice) -> int:
        """Takes in a notification. The index of the device that has lost one, or 0."""
        if notice.type in (RTM_NEWROUTE, RTM_DELROUTE):
            return self._fold_route(notice.type == RTM_NEWROUTE, notice.payload)
        if notice.type in (RTM_NEWLINK, RTM_DELLINK) and notice.payload[0] == 0:
            _, _, index, flags, _ = LINK.unpack_from(notice.payload)
            if notice.type == RTM_DELLINK or not flags & IFF_UP:
                self._drop(index)
        elif notice.type == RTM_DELADDR:
            self._drop(ADDRESS.unpack_from(notice.payload)[4])
        return 0

    def missing(self, channel: Channel, device: int, addresses: Collection[RawAddress]) -> list[Lost]:
        """What a device that is up lacks, of the routes of these addresses of it."""
        if not addresses:
            return []
        routes = (_expected(device, address, _METRICS[len(address[0])]) for address in addresses)
        if self._known is not None and all(route is None or route in self._known for route in routes):
            return []
        having = channel.dump(RTM_GETADDR, bytes(ADDRESS.size))
        found = [found for notice in channel.dump(RTM_GETROUTE, bytes(ROUTE.size)) if (found := _parsed(notice))]
        self._known = {route for route, is_connected in found if is_connected}
        others = {(route.network, route.length) for route, is_connected in found if not is_connected}
        lost = (_lost(notice.payload, addresses, others) for notice in having)
        return [each for each in lost if each and each.route.device == device and each.route not in self._known]

    def _fold_route(self, present: bool, payload: bytes) -> int:
        parsed = _parse(payload)
        if parsed is None:
            return 0
        route, is_connected = parsed
        if not is_connected:
            return self._fold_other(route) if present else 0
        if self._known is not None:
            (self._known.add if present else self._known.discard)(route)
        return 0 if present else route.device

    def _fold_other(self, other: Route) -> int:
        """One that may have come in the place of ours (`ip route replace`), of which the kernel says no more."""
        ours = [each for each in self._known or () if (each.network, each.length) == (other.network, other.length)]
        if not ours:
            return 0
        self._known = None
        return ours[0].device

    def _drop(self, device: int) -> None:
        if self._known:
            self._known = {route for route in self._known if route.device != device}


def _parsed(notice: Notice) -> tuple[Route, bool] | None:
    return _parse(notice.payload) if notice.type == RTM_NEWROUTE else None


def _parse(payload: bytes) -> tuple[Route, bool] | None:
    """A route of the main table that is no default route, and whether it is a connected one. `payload` is a struct
    rtmsg with its attributes."""
    family, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6) or not length or (table, kind) != (MAIN, UNICAST):
        return None
    found = dict(attributes(payload, ROUTE.size))
    device, metric = number(found.get(RTA_OIF)), number(found.get(RTA_PRIORITY))
    led = found.keys() & {RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH}
    is_connected = bool(device) and not led and (protocol == _KERNEL or family == socket.AF_INET6)
    return Route(device, found.get(RTA_DST, b""), length, metric), is_connected


def _lost(payload: bytes, wanted: Collection[RawAddress], others: Collection[tuple[bytes, int]]) -> Lost | None:
    """Of an address (a struct ifaddrmsg with its attributes), as if it were not there; None if it has none."""
    device, address = parse_address(payload)
    found = dict(attributes(payload, ADDRESS.size))
    flags = number(found.get(_IFA_FLAGS)) or ADDRESS.unpack_from(payload)[2]
    secondary = len(address[0]) == 4 and flags & _SECONDARY
    if address not in wanted or secondary or flags & _NO_PREFIX_ROUTE:
        return None
    route = _expected(device, address, number(found.get(_IFA_RT_PRIORITY)) or _METRICS[len(address[0])])
    return Lost(route, address[0], (route.network, route.length) in others) if route else None


def _expected(device: int, address: RawAddress, metric: int) -> Route | None:
    """What the kernel makes with an address (fib_add_ifaddr(), addrconf_prefix_route()): none for one of IPv4 that is
    alone in its subnet."""
    packed, length = address
    if (len(packed), length) == (4, 32):
        return None
    rest = 8 * len(packed) - length
    network = (int.from_bytes(packed, "big") >> rest << rest).to_bytes(len(packed), "big")
    return Route(device, network, length, metric)
