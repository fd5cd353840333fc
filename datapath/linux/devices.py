"""What a namespace has: its devices and addresses, read once and then kept by the kernel's notifications.

Enters: answers and notifications of a Channel. Leaves: Device values. Never: a change of anything.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Set
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from datapath.addr import IPAddress, IPInterface, Mac
from datapath.linux import tc
from datapath.linux.netlink import (
    IFF_NOARP,
    IFF_UP,
    NUD_PERMANENT,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWTFILTER,
    Channel,
    Notice,
    attributes,
)
from datapath.linux.shapes import ADDRESS, LINK, NEIGHBOUR, number
from datapath.linux.wiring import MACVLANS

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 5, 10, 18, 20
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_VLAN_ID, _IFLA_MACVLAN_MODE = 1, 2, 1, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2

LINK_LOCAL: Final = b"\xfe\x80"
"""How a packed IPv6 link-local address begins."""

_TELLING: Final = {
    "bridge": frozenset({7, 23, 49}),  # IFLA_BR_VLAN_FILTERING, MCAST_SNOOPING, FDB_MAX_LEARNED
    "vxlan": frozenset({1, 4, 7, 15, 18}),  # IFLA_VXLAN_ID, LOCAL, LEARNING, PORT, UDP_CSUM
    "gretap": frozenset({4, 5, 6, 7, 10, 19}),  # IFLA_GRE_IKEY, OKEY, LOCAL, REMOTE, PMTUDISC, IGNORE_DF
}
"""Attributes of IFLA_INFO_DATA that say what a device is; among the rest are timers."""

Traits = frozenset[tuple[int, bytes]]

RawAddress = tuple[bytes, int]
"""Packed address and prefix length: compared thousands of times, so cheap."""


def raw(address: IPInterface) -> RawAddress:
    return address.packed, address.network.prefixlen


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as the kernel describes it; `peer` is the index of a veth's other end, or of the device that a
    VLAN or macvlan device is on. `mode` is a macvlan's."""

    index: int
    name: str
    kind: str
    mac: Mac
    mtu: int
    alias: str
    up: bool
    arp: bool
    master: int
    peer: int
    tag: int
    mode: int = 0
    traits: Traits = frozenset()


def parse_device(payload: bytes) -> Device:
    """`payload` is a struct ifinfomsg with its attributes."""
    _, _, index, flags, _ = LINK.unpack_from(payload)
    found = dict(attributes(payload, LINK.size))
    info = dict(attributes(found.get(_IFLA_LINKINFO, b""), 0))
    kind = _text(info.get(_IFLA_INFO_KIND, b""))
    telling = _TELLING.get(kind, frozenset())
    data = dict(attributes(info.get(_IFLA_INFO_DATA, b""), 0)) if telling or kind in ("vlan", *MACVLANS) else {}
    return Device(
        index,
        _text(found.get(_IFLA_IFNAME, b"")),
        kind,
        Mac.from_bytes(found.get(_IFLA_ADDRESS, b"")),
        number(found.get(_IFLA_MTU)),
        _text(found.get(_IFLA_IFALIAS, b"")),
        bool(flags & IFF_UP),
        not flags & IFF_NOARP,
        number(found.get(_IFLA_MASTER)),
        number(found.get(_IFLA_LINK)),
        int.from_bytes(data.get(_IFLA_VLAN_ID, b""), sys.byteorder) if kind == "vlan" else 0,
        number(data.get(_IFLA_MACVLAN_MODE)) if kind in MACVLANS else 0,
        frozenset((key, data[key]) for key in telling & data.keys()),
    )


def parse_address(payload: bytes) -> tuple[int, RawAddress]:
    """Index of the device and the address; `payload` is a struct ifaddrmsg with its attributes."""
    _, length, _, _, index = ADDRESS.unpack_from(payload)
    found = dict(attributes(payload, ADDRESS.size))
    return index, (found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""), length)


def permanent_neighbours(channel: Channel, index: int) -> dict[IPAddress, Mac]:
    """The IPv4 neighbours of a device that somebody has set, which the kernel never asks for."""
    found: dict[IPAddress, Mac] = {}
    for notice in channel.dump(RTM_GETNEIGH, NEIGHBOUR.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, device, state, _, _ = NEIGHBOUR.unpack_from(notice.payload)
        if device == index and state & NUD_PERMANENT:
            values = dict(attributes(notice.payload, NEIGHBOUR.size))
            found[ip_address(values[_NDA_DST])] = Mac.from_bytes(values.get(_NDA_LLADDR, b""))
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


class Devices:
    """The devices of one namespace. `version` grows with every change, `touched` gathers the names concerned.

    `gone` are devices that were there and are not any more, or not the same ones, since `forget_news`. `lost` are the
    addresses that devices have had since then and have no more; one that is not there may also just not be told of yet:
    of an IPv6 address the kernel tells some time after it has it (addrconf_dad_work()).

    What is at their tc hooks is not kept, only that it has changed.
    The addresses that the kernel gives itself (link-local) come a little after a link is up: that one has come does not
    count. `bare` are the indexes of devices that may lack theirs: they have lost one since they were set up last, or
    were up without any when all was read.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Device] = {}
        self.version = 0
        self.touched: set[str] = set()
        self.gone: dict[str, Device] = {}
        self.lost: set[tuple[int, RawAddress]] = set()
        """With the index of the device."""
        self.bare: set[int] = set()
        self._news: set[str] = set()
        self._names: dict[int, str] = {}
        self._addresses: dict[int, set[RawAddress]] = {}

    @property
    def indexes(self) -> Set[int]:
        return self._names.keys()

    def master(self, index: int) -> Device | None:
        """Of a device."""
        device = self.by_name.get(self._names.get(index, ""))
        return self.by_name.get(self._names.get(device.master, "")) if device is not None else None

    def addresses(self, device: Device) -> set[RawAddress]:
        return self._addresses.get(device.index, set())

    def read(self, channel: Channel) -> None:
        """Everything anew, and then what has changed meanwhile."""
        channel.hear()  # what was notified before must not be taken for news afterwards
        present = channel.dump(RTM_GETLINK, bytes(LINK.size)) + channel.dump(RTM_GETADDR, bytes(ADDRESS.size))
        before = dict(self.by_name)
        had = {(index, address) for index, addresses in self._addresses.items() for address in addresses}
        self.by_name.clear()
        self._names.clear()
        self._addresses.clear()
        for notice in present:
            self.fold(notice)
        self.gone |= {name: device for name, device in before.items() if name not in self.by_name}
        self.lost |= {each for each in had if each[1] not in self._addresses.get(each[0], ())}
        self._news |= self.gone.keys() | {self._names.get(index, "") for index, _ in self.lost}
        self.bare = {device.index for device in self.by_name.values() if device.up and not self._is_local(device)}
        channel.hear()

    def fold(self, notice: Notice) -> int:
        """Takes in one notification or one item of a dump. The index of the device that has gone, or 0."""
        if notice.type == RTM_NEWLINK and notice.payload[0] == 0:  # family AF_BRIDGE speaks of a bridge's port
            self._put(parse_device(notice.payload))
        elif notice.type == RTM_DELLINK and notice.payload[0] == 0:
            index = int(LINK.unpack_from(notice.payload)[2])
            self._drop(index)
            return index
        elif notice.type in (RTM_NEWADDR, RTM_DELADDR):
            self._fold_address(notice.type == RTM_NEWADDR, *parse_address(notice.payload))
        elif notice.type in (RTM_NEWTFILTER, RTM_DELTFILTER, RTM_DELQDISC):  # whoever has filters there looks again
            self._touch(self._names.get(tc.device_of(notice.payload), ""))
        return 0

    def _put(self, device: Device) -> None:
        before = self._names.get(device.index)
        if before is not None and self.by_name[before] == device:
            return
        if device.up and (before is None or not self.by_name[before].up):
            self.bare.discard(device.index)
        if before is not None:
            del self.by_name[before]
        self._names[device.index] = device.name
        self.by_name[device.name] = device
        self._touch(device.name)

    def _drop(self, index: int) -> None:
        name = self._names.pop(index, None)
        if name is not None:
            self.gone[name] = self.by_name.pop(name)
            self._addresses.pop(index, None)
            self.bare.discard(index)
            self._touch(name)

    def _fold_address(self, present: bool, index: int, address: RawAddress) -> None:
        known = self._addresses.setdefault(index, set())
        if (address in known) == present:
            return
        (known.add if present else known.discard)(address)
        (self.lost.discard if present else self.lost.add)((index, address))
        is_local = address[0].startswith(LINK_LOCAL)
        if is_local and not present:
            self.bare.add(index)
        if not is_local or not present:
            self._touch(self._names.get(index, ""))

    def _is_local(self, device: Device) -> bool:
        """Whether it has a link-local address."""
        return any(packed.startswith(LINK_LOCAL) for packed, _ in self.addresses(device))

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    def take_news(self) -> set[str]:
        """The names about which something was told since they were last taken."""
        news, self._news = self._news, set()
        return news

    def forget_news(self) -> None:
        """What has happened up to now was our own doing."""
        self._news.clear()
        self.gone.clear()
        self.lost.clear()

    def touch(self, index: int) -> None:
        """Something about the device has changed that is not kept here."""
        self._touch(self._names.get(index, ""))

    def _touch(self, name: str) -> None:
        self.touched.add(name)
        self._news.add(name)
        self.version += 1
