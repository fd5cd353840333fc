"""A namespace's way out: the IPv4 default routes, of which those with our protocol number are ours.

Enters: answers and notifications of a Channel. Leaves: messages that make our routes what they shall be. Never: a route
that somebody else has set is removed; where there is one, ours is not added.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from datapath.linux.netlink import (
    HEADER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Channel,
    Message,
    Notice,
    attribute,
    attributes,
)
from datapath.linux.shapes import MAIN, ROUTE, RTA_GATEWAY, RTA_OIF, RTA_PRIORITY, U32, UNICAST, number

PROTOCOL: Final = 0x5D
"""Who installed a route (rtnetlink(7), rtm_protocol): our mark. Routing daemons have other numbers."""


class Way(NamedTuple):
    """A default route."""

    device: int
    gateway: bytes
    metric: int
    protocol: int


class Ways:
    """`read` anew whenever something may have changed: the kernel drops routes with a link or an address, silently."""

    def __init__(self) -> None:
        self._known: list[Way] | None = None
        self._version = 0

    def none_yet(self) -> None:
        """Of a namespace that has just been made."""
        self._known = []

    def has_changed(self, notice: Notice) -> int:
        """The index of the device whose default route a notification is about, or 0."""
        way = _way(notice.payload) if notice.type in (RTM_NEWROUTE, RTM_DELROUTE) else None
        if way is None:
            return 0
        self._known = None
        return way.device

    def changes(
        self, channel: Channel, version: int, about: str, device: int, gateway: IPv4Address | None
    ) -> Iterator[Message]:
        """What makes `gateway` the way out by the device; None: there is none of ours. `version` is that of the
        namespace's devices."""
        known = self._at(channel, version, gateway is not None)
        wanted = gateway.packed if gateway else b""
        for way in known:
            if way.protocol == PROTOCOL and way.device == device and way.gateway != wanted:
                self._known = None
                yield _message(f"{about} default route", RTM_DELROUTE, 0, way, (errno.ESRCH,))
        if gateway is None or any(way.metric == 0 and _stays(way, device, wanted) for way in known):
            return
        way = Way(device, wanted, 0, PROTOCOL)
        yield _message(f"{about} way out by {gateway}", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, way, (errno.EEXIST,))

    def _at(self, channel: Channel, version: int, wanted: bool) -> list[Way]:
        stale = self._version != version and (wanted or any(way.protocol == PROTOCOL for way in self._known or ()))
        if self._known is None or stale:
            dumped = channel.dump(RTM_GETROUTE, ROUTE.pack(socket.AF_INET, *[0] * 8))
            self._known = [way for notice in dumped if (way := _way(notice.payload)) is not None]
            self._version = version
        return self._known


def _stays(way: Way, device: int, gateway: bytes) -> bool:
    """It is right already, somebody else's, or another interface's, which was first."""
    return way.protocol != PROTOCOL or way.device != device or way.gateway == gateway


def _way(payload: bytes) -> Way | None:
    """`payload` is a struct rtmsg with its attributes; None for what is no default route of the main table."""
    family, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(payload)
    if (family, length, table, kind) != (socket.AF_INET, 0, MAIN, UNICAST):
        return None
    found = dict(attributes(payload, ROUTE.size))
    return Way(number(found.get(RTA_OIF)), found.get(RTA_GATEWAY, b""), number(found.get(RTA_PRIORITY)), protocol)


def _message(about: str, kind: int, flags: int, way: Way, tolerated: tuple[int, ...]) -> Message:
    body = ROUTE.pack(socket.AF_INET, 0, 0, 0, MAIN, way.protocol, 0, UNICAST, 0)
    body += attribute(RTA_GATEWAY, way.gateway) + attribute(RTA_OIF, U32.pack(way.device))
    return Message(about, HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body, tolerated)
