"""What the bridges and tunnels of a namespace have: ports, filtering entries, neighbours. Read once, then kept by the
kernel's notifications, as `devices` does with devices.

Enters: answers and notifications of a Channel. Leaves: mappings by device index. Never: a MAC that a bridge has learned
by itself, a change of anything.
"""

from __future__ import annotations

import socket
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from datapath.linux.bridging import PVID, UNTAGGED, Flags, Vlans
from datapath.linux.netlink import (
    NUD_PERMANENT,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Channel,
    Notice,
    attribute,
    attributes,
)
from datapath.linux.shapes import LINK, NEIGHBOUR, VLAN

_IFLA_MASTER, _IFLA_PROTINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 10, 12, 26, 29
_BRVLAN_COMPRESSED: Final = 1 << 2  # RTEXT_FILTER_BRVLAN_COMPRESSED
_VLAN_INFO: Final = 2  # IFLA_BRIDGE_VLAN_INFO
_RANGE_BEGIN, _RANGE_END = 0x8, 0x10
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_MASTER = 1, 2, 5, 9

NUD_REACHABLE, NUD_NOARP = 0x02, 0x40
NTF_SELF, NTF_MASTER, NTF_EXT_LEARNED, NTF_STICKY = 0x02, 0x04, 0x10, 0x40

FLAG_ATTRIBUTES: Final = Flags(8, 9, 33, 32, 27, 30)  # type: ignore[arg-type]
"""IFLA_BRPORT_* of each flag of a port: LEARNING, UNICAST_FLOOD, ISOLATED, NEIGH_SUPPRESS, MCAST_FLOOD, BCAST_FLOOD."""


class Bridged(NamedTuple):
    """A port of a bridge, or (no flags) the bridge itself as a port."""

    flags: Flags | None
    vlans: Vlans


class Forwarding:
    """`on_change` is told the index of a device about which something has changed."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self.ports: dict[int, Bridged] = {}
        self.known: dict[int, dict[tuple[int, bytes], int]] = defaultdict(dict)
        """By bridge: the port of a VLAN id and MAC, of entries that do not age."""
        self.remotes: dict[int, dict[tuple[bytes, bytes], bytes]] = defaultdict(dict)
        """By tunnel device: the vtep of a MAC; of MAC zero there are several, which are part of the key."""
        self.neighbours: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        """By device: the MAC of a permanent neighbour's address."""
        self._on_change = on_change

    def read(self, channel: Channel) -> None:
        """Everything anew, and then what has changed meanwhile."""
        channel.hear()
        links = LINK.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + attribute(
            _IFLA_EXT_MASK, struct.pack("=I", _BRVLAN_COMPRESSED)
        )
        present = channel.dump(RTM_GETLINK, links)
        for family in (socket.AF_BRIDGE, socket.AF_INET, socket.AF_INET6):
            present += channel.dump(RTM_GETNEIGH, NEIGHBOUR.pack(family, 0, 0, 0, 0))
        for kept in (self.ports, self.known, self.remotes, self.neighbours):
            kept.clear()
        for notice in present:
            self.fold(notice)
        channel.hear()

    def fold(self, notice: Notice) -> None:
        """Takes in one notification or one item of a dump."""
        if notice.type in (RTM_NEWNEIGH, RTM_DELNEIGH):
            self._fold_neighbour(notice.type == RTM_NEWNEIGH, notice.payload)
        elif notice.type == RTM_NEWLINK and notice.payload[0] == socket.AF_BRIDGE:
            self._fold_port(notice.payload)
        elif notice.type == RTM_DELLINK:
            self._drop(*LINK.unpack_from(notice.payload)[:3:2])

    def _fold_port(self, payload: bytes) -> None:
        index, port = parse_port(payload)
        if self.ports.get(index) != port:
            self.ports[index] = port
            self._on_change(index)

    def _drop(self, family: int, index: int) -> None:
        """A device is gone, or (AF_BRIDGE) is no port any more."""
        if self.ports.pop(index, None) is not None:
            self._on_change(index)
        if family != socket.AF_BRIDGE:
            for kept in (self.known, self.remotes, self.neighbours):
                kept.pop(index, None)

    def _fold_neighbour(self, present: bool, payload: bytes) -> None:
        family, index, state, flags, _ = NEIGHBOUR.unpack_from(payload)
        if family == socket.AF_BRIDGE and not flags & NTF_SELF and not state & NUD_NOARP and present:
            self._forget_moved(index, payload)
            return
        found = dict(attributes(payload, NEIGHBOUR.size))
        mac = found.get(_NDA_LLADDR, b"")
        if family != socket.AF_BRIDGE:
            fixed = present and state & NUD_PERMANENT
            self._keep(self.neighbours[index], found.get(_NDA_DST, b""), mac if fixed else None, index)
        elif not flags & NTF_SELF:
            self._fold_known(present, index, mac, found)
        elif _NDA_DST in found:
            vtep = found[_NDA_DST]
            key = (mac, vtep if not any(mac) else b"")
            self._keep(self.remotes[index], key, vtep if present else None, index)

    def _fold_known(self, present: bool, index: int, mac: bytes, found: dict[int, bytes]) -> None:
        bridge = int.from_bytes(found.get(_NDA_MASTER, b""), "little")
        vid = int.from_bytes(found.get(_NDA_VLAN, b""), "little")
        entries = self.known[bridge]
        if present:
            self._keep(entries, (vid, mac), index, index)
        elif entries.get((vid, mac)) == index:
            self._keep(entries, (vid, mac), None, index)

    def _forget_moved(self, index: int, payload: bytes) -> None:
        """An entry that has become one that ages, or the bridge's own, is no longer as it was set."""
        found = dict(attributes(payload, NEIGHBOUR.size))
        bridge = int.from_bytes(found.get(_NDA_MASTER, b""), "little")
        key = (int.from_bytes(found.get(_NDA_VLAN, b""), "little"), found.get(_NDA_LLADDR, b""))
        if key in self.known.get(bridge, ()):
            self._keep(self.known[bridge], key, None, index)

    def _keep(self, entries: dict, key: object, value: object, index: int) -> None:  # type: ignore[type-arg]
        """`value` None: there is none."""
        if entries.get(key) == value:
            return
        if value is None:
            del entries[key]
        else:
            entries[key] = value
        self._on_change(index)


def parse_port(payload: bytes) -> tuple[int, Bridged]:
    """Index and state; `payload` is a struct ifinfomsg of family AF_BRIDGE with its attributes."""
    _, _, index, _, _ = LINK.unpack_from(payload)
    found = dict(attributes(payload, LINK.size))
    flags = None
    if _IFLA_PROTINFO in found:
        said = dict(attributes(found[_IFLA_PROTINFO], 0))
        flags = Flags(*(said.get(kind, b"\0") == b"\1" for kind in FLAG_ATTRIBUTES))
    return index, Bridged(flags, frozenset(_vlans(found.get(_IFLA_AF_SPEC, b""))))


def _vlans(spec: bytes) -> Iterator[tuple[int, int]]:
    """Ranges come as their first and last VLAN."""
    first = 0
    for kind, value in attributes(spec, 0):
        if kind != _VLAN_INFO:
            continue
        flags, vid = VLAN.unpack(value)
        if flags & _RANGE_BEGIN:
            first = vid
            continue
        for each in range(first if flags & _RANGE_END else vid, vid + 1):
            yield each, flags & (PVID | UNTAGGED)
