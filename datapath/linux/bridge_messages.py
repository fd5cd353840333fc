"""rtnetlink requests about bridges: their ports, VLANs, filtering entries, tunnel devices. Packed by hand, as there are
several for each port.

Enters: indexes, raw addresses. Leaves: Message values. Never: a socket.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from datapath.linux.bridging import ANYONE, Bridge, Flags, Tunnel, Vlans
from datapath.linux.devices import Traits
from datapath.linux.forwarding import FLAG_ATTRIBUTES, NTF_MASTER, NTF_SELF, NTF_STICKY, NUD_NOARP
from datapath.linux.netlink import (
    HEADER,
    IFF_UP,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NUD_PERMANENT,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_SETLINK,
    Message,
    attribute,
)
from datapath.linux.shapes import LINK, NEIGHBOUR, U32, VLAN

_PORT: Final = struct.Struct("!H")

_NESTED: Final = 0x8000
_IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_LINKINFO, _IFLA_AF_SPEC = 3, 4, 10, 12, 18, 26
_INFO_KIND, _INFO_DATA = 1, 2
_BRIDGE_FLAGS, _VLAN_INFO = 0, 2  # IFLA_BRIDGE_*
_SELF: Final = 2  # BRIDGE_FLAGS_SELF
_RANGE_BEGIN, _RANGE_END = 0x8, 0x10  # BRIDGE_VLAN_INFO_*
_NDA_DST, _NDA_LLADDR, _NDA_VLAN = 1, 2, 5

_BR_VLAN_FILTERING, _BR_MCAST_SNOOPING, _BR_DEFAULT_PVID = 7, 23, 39  # IFLA_BR_*
BR_MAX_LEARNED: Final = 49
"""IFLA_BR_FDB_MAX_LEARNED; Linux 6.7 has it, and earlier ones do not mind."""
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_CHECKSUM = 1, 4, 7, 15, 18  # IFLA_VXLAN_*
_GRE_IFLAGS, _GRE_OFLAGS, _GRE_IKEY, _GRE_OKEY, _GRE_LOCAL, _GRE_REMOTE, _GRE_TTL = 2, 3, 4, 5, 6, 7, 8  # IFLA_GRE_*
_GRE_PMTUDISC, _GRE_IGNORE_DF = 10, 19
_GRE_KEY: Final = struct.pack("!H", 0x2000)  # RFC 2890: the K bit, and with it the key
_VXLAN_UDP: Final = 4789
_TTL: Final = 64
_LEAST_MTU: Final = 68

LEARNED_LIMIT: Final = 4096
"""MACs that a bridge learns beyond uplinks, at most."""


def _message(about: str, kind: int, flags: int, body: bytes, tolerated: tuple[int, ...] = ()) -> Message:
    return Message(about, HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body, tolerated)


# ── devices ──


def traits(wish: Bridge | Tunnel) -> Traits:
    """What makes the device what it is, in the kernel's words (of IFLA_INFO_DATA)."""
    found: dict[int, bytes]
    if isinstance(wish, Bridge):
        found = {_BR_MCAST_SNOOPING: b"\0"}
        if wish.aware:  # a kernel without VLAN filtering refuses to have it off, too
            found[_BR_VLAN_FILTERING] = b"\1"
    elif wish.kind == "vxlan":
        found = {_VXLAN_ID: U32.pack(wish.id), _VXLAN_LOCAL: wish.local.packed, _VXLAN_LEARNING: b"\0"}
        found |= {_VXLAN_PORT: _PORT.pack(_VXLAN_UDP), _VXLAN_CHECKSUM: b"\0"}  # RFC 7348 section 5: SHOULD be zero
    elif wish.remote is None:
        raise ValueError(f"{wish.device}: {wish.kind} has one remote")
    else:
        key = struct.pack("!I", wish.id)
        found = {_GRE_IKEY: key, _GRE_OKEY: key, _GRE_LOCAL: wish.local.packed, _GRE_REMOTE: wish.remote.packed}
        found |= {_GRE_PMTUDISC: b"\0", _GRE_IGNORE_DF: b"\1"}
    return frozenset(found.items())


def _more(wish: Bridge | Tunnel) -> dict[int, bytes]:
    """What is said at the making only."""
    if isinstance(wish, Bridge):
        found = {BR_MAX_LEARNED: struct.pack("=I", LEARNED_LIMIT)}
        return found | ({_BR_DEFAULT_PVID: struct.pack("=H", 0)} if wish.aware else {})
    if wish.kind == "gretap":
        return {_GRE_IFLAGS: _GRE_KEY, _GRE_OFLAGS: _GRE_KEY, _GRE_TTL: bytes([_TTL])}
    return {}


def add_device(about: str, wish: Bridge | Tunnel) -> Message:
    """A bridge or a tunnel device. A bridge minds its own MTU, and not the least of its ports', from its first change
    on: it is made with another than it is to have."""
    kind = "bridge" if isinstance(wish, Bridge) else wish.kind
    mtu = _LEAST_MTU if isinstance(wish, Bridge) else wish.mtu
    data = b"".join(attribute(key, value) for key, value in {**dict(traits(wish)), **_more(wish)}.items())
    info = attribute(_INFO_KIND, kind.encode() + b"\0") + attribute(_INFO_DATA | _NESTED, data)
    body = LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, wish.device.encode() + b"\0")
    body += attribute(_IFLA_MTU, struct.pack("=I", mtu)) + attribute(_IFLA_LINKINFO | _NESTED, info)
    return _message(about, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


# ── ports ──


def set_up(about: str, device: int) -> Message:
    return _message(about, RTM_NEWLINK, 0, LINK.pack(socket.AF_UNSPEC, 0, device, IFF_UP, IFF_UP))


def set_master(about: str, port: int, bridge: int) -> Message:
    """`bridge` 0: none."""
    body = LINK.pack(socket.AF_UNSPEC, 0, port, 0, 0) + attribute(_IFLA_MASTER, struct.pack("=I", bridge))
    return _message(about, RTM_NEWLINK, 0, body)


def set_flags(about: str, port: int, flags: Flags) -> Message:
    said = b"".join(attribute(kind, bytes([value])) for kind, value in zip(FLAG_ATTRIBUTES, flags, strict=True))
    body = LINK.pack(socket.AF_BRIDGE, 0, port, 0, 0) + attribute(_IFLA_PROTINFO | _NESTED, said)
    return _message(about, RTM_SETLINK, 0, body)


def add_vlans(about: str, device: int, vlans: Vlans, *, own: bool = False) -> Message:
    """`own`: the device is a bridge, and the VLANs its own."""
    return _message(about, RTM_SETLINK, 0, _with_vlans(device, vlans, own))


def delete_vlans(about: str, device: int, vlans: Vlans, *, own: bool = False) -> Message:
    return _message(about, RTM_DELLINK, 0, _with_vlans(device, vlans, own), (errno.ENOENT,))


def _with_vlans(device: int, vlans: Vlans, own: bool) -> bytes:
    said = attribute(_BRIDGE_FLAGS, struct.pack("=H", _SELF)) if own else b""
    said += b"".join(attribute(_VLAN_INFO, VLAN.pack(flags, vid)) for vid, flags in ranges(vlans))
    return LINK.pack(socket.AF_BRIDGE, 0, device, 0, 0) + attribute(_IFLA_AF_SPEC | _NESTED, said)


def ranges(vlans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """VLANs in a row with the same flags as their first and last, in the kernel's way. A PVID is one."""
    ordered = sorted(vlans, key=lambda vlan: (vlan[1], vlan[0]))
    start = 0
    for place, (vid, flags) in enumerate(ordered):
        if place + 1 < len(ordered) and ordered[place + 1] == (vid + 1, flags):
            continue
        first = ordered[start][0]
        if first != vid:
            yield first, flags | _RANGE_BEGIN
        yield vid, flags | (_RANGE_END if first != vid else 0)
        start = place + 1


# ── filtering entries ──


def _entry(
    about: str, kind: int, how: int, device: int, state: int, flags: int, found: bytes, tolerated: tuple[int, ...] = ()
) -> Message:
    return _message(about, kind, how, NEIGHBOUR.pack(socket.AF_BRIDGE, device, state, flags, 0) + found, tolerated)


def set_known(about: str, port: int, vid: int, mac: bytes) -> Message:
    """The bridge has the MAC at this port. Sticky: no frame from an uplink with this source moves it."""
    found = attribute(_NDA_LLADDR, mac) + (attribute(_NDA_VLAN, struct.pack("=H", vid)) if vid else b"")
    how = NLM_F_CREATE | NLM_F_REPLACE
    return _entry(about, RTM_NEWNEIGH, how, port, NUD_NOARP, NTF_MASTER | NTF_STICKY, found)


def delete_known(about: str, port: int, vid: int, mac: bytes) -> Message:
    found = attribute(_NDA_LLADDR, mac) + (attribute(_NDA_VLAN, struct.pack("=H", vid)) if vid else b"")
    return _entry(about, RTM_DELNEIGH, 0, port, 0, NTF_MASTER, found, (errno.ENOENT, errno.ENODEV, errno.EINVAL))


def set_remote(about: str, device: int, mac: bytes, vtep: bytes) -> Message:
    """The vtep behind which a MAC is, or one more that gets what is for everyone."""
    found = attribute(_NDA_LLADDR, mac) + attribute(_NDA_DST, vtep)
    how = NLM_F_CREATE | (NLM_F_APPEND if mac == ANYONE else NLM_F_REPLACE)
    return _entry(about, RTM_NEWNEIGH, how, device, NUD_PERMANENT, NTF_SELF, found, (errno.EEXIST,))


def delete_remote(about: str, device: int, mac: bytes, vtep: bytes) -> Message:
    found = attribute(_NDA_LLADDR, mac) + attribute(_NDA_DST, vtep)
    return _entry(about, RTM_DELNEIGH, 0, device, 0, NTF_SELF, found, (errno.ENOENT, errno.ENODEV))


def set_neighbour(about: str, device: int, address: bytes, mac: bytes) -> Message:
    """A permanent one, by raw addresses."""
    body = NEIGHBOUR.pack(_family(address), device, NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, address) + attribute(_NDA_LLADDR, mac)
    return _message(about, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_neighbour(about: str, device: int, address: bytes) -> Message:
    body = NEIGHBOUR.pack(_family(address), device, 0, 0, 0) + attribute(_NDA_DST, address)
    return _message(about, RTM_DELNEIGH, 0, body, (errno.ENOENT,))


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6
