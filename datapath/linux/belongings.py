"""What a device of the machine has, and the same for another device: addresses, routes, fixed neighbours.

Enters: answers of rtnetlink, as bytes. Leaves: requests that take them off one device and give them to another, and
text. Never: a value is interpreted that only the kernel needs: metrics, encapsulations, protocols go as they came.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from datapath.linux.netlink import (
    ATTRIBUTE,
    HEADER,
    IFA_F_NODAD,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NUD_PERMANENT,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    Message,
    attribute,
    attributes,
)
from datapath.linux.shapes import ADDRESS, NEIGHBOUR, ROUTE, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_VIA, U32

_NEXT_HOP: Final = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight, index
_CACHE: Final = struct.Struct("=IIII")  # struct ifa_cacheinfo: seconds preferred, seconds valid, two time stamps

_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 6, 8
_RTA_CACHEINFO, _RTA_TABLE, _RTA_EXPIRES, _RTA_NH_ID = 12, 15, 23, 30
_NDA_DST, _NDA_LLADDR = 1, 2

_TENTATIVE: Final = 0x40 | 0x08
"""IFA_F_TENTATIVE, IFA_F_DADFAILED: not known to be unique."""
_FOREVER: Final = 0xFFFFFFFF
_KERNEL: Final = 2  # RTPROT_KERNEL: such a route comes and goes with an address
_HOP_FLAGS: Final = 0x2 | 0x4
"""RTNH_F_PERVASIVE, RTNH_F_ONLINK: those that one asks for. The others say how the route does."""
_MAIN_TABLE: Final = 254
_TICKS: Final = 100
"""USER_HZ: what a route's age is counted in."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """Of one device, each as the body of an rtnetlink message, in the kernel's order.

    Routes are those that somebody made: the kernel's own come with the addresses.
    """

    addresses: tuple[bytes, ...] = ()
    routes: tuple[bytes, ...] = ()
    neighbours: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.routes or self.neighbours)


def of_device(
    index: int, addresses: Iterable[bytes], routes: Iterable[bytes], neighbours: Iterable[bytes]
) -> Belongings:
    """What of the namespace's is the device's."""
    return Belongings(
        tuple(each for each in addresses if ADDRESS.unpack_from(each)[4] == index),
        tuple(each for each in routes if index in _ways(each) and each[5] != _KERNEL),
        tuple(each for each in neighbours if _is_fixed(each, index)),
    )


def merged(first: Belongings, second: Belongings) -> Belongings:
    """All of it once: where both have the same, it is as the first has it."""
    rest = without(second, first)
    return Belongings(first.addresses + rest.addresses, first.routes + rest.routes, first.neighbours + rest.neighbours)


def without(some: Belongings, known: Belongings) -> Belongings:
    """What of it is not among the known, which are of the same device."""
    addresses, routes, neighbours = (
        {address_key(each) for each in known.addresses},
        {_route_key(each) for each in known.routes},
        {_neighbour_key(each) for each in known.neighbours},
    )
    return Belongings(
        tuple(each for each in some.addresses if address_key(each) not in addresses),
        tuple(each for each in some.routes if _route_key(each) not in routes),
        tuple(each for each in some.neighbours if _neighbour_key(each) not in neighbours),
    )


def lasting(some: Belongings, seconds: int) -> Belongings:
    """What is left of it that many seconds later."""
    aged = (_aged(each, seconds) for each in some.addresses)
    return Belongings(tuple(each for each in aged if each), some.routes, some.neighbours)


def redirected(some: Belongings, old: int, new: int) -> Belongings:
    """The same of the device with another index."""
    return Belongings(
        tuple(ADDRESS.pack(*each[:4], new) + each[ADDRESS.size :] for each in some.addresses),
        tuple(_rerouted(each, old, new) for each in some.routes),
        tuple(each[:4] + struct.pack("=i", new) + each[8:] for each in some.neighbours),
    )


# What is asked of the kernel


def taking(some: Belongings) -> Iterator[Message]:
    """Off their device. Gateways' routes before those that lead to gateways, further addresses before the first."""
    for route in sorted(some.routes, key=_has_gateway, reverse=True):
        yield _message(f"remove route {route_text(route)}", RTM_DELROUTE, 0, _asked_route(route), errno.ESRCH)
    for address in reversed(some.addresses):
        about = f"remove address {address_text(address)}"
        yield _message(about, RTM_DELADDR, 0, address, errno.EADDRNOTAVAIL)


def giving(some: Belongings, old_name: str, new_name: str) -> Iterator[Message]:
    """To their device, with the same order among them. A label that is the old device's name becomes the new one's."""
    version_4 = [each for each in some.addresses if each[0] == socket.AF_INET]
    version_6 = [each for each in some.addresses if each[0] == socket.AF_INET6]
    for address in version_4:
        yield _message(f"address {address_text(address)}", RTM_NEWADDR, _NEW, _relabelled(address, old_name, new_name))
    for address in reversed(version_6):  # the kernel puts each before the others
        yield from _adding_version_6(address)
    for route in sorted(some.routes, key=_has_gateway):
        flags = NLM_F_CREATE | (NLM_F_APPEND if route[0] == socket.AF_INET else 0)
        yield _message(f"route {route_text(route)}", RTM_NEWROUTE, flags, _asked_route(route), errno.EEXIST)
    for neighbour in some.neighbours:
        found = dict(attributes(neighbour, NEIGHBOUR.size))
        body = neighbour[: NEIGHBOUR.size] + b"".join(
            attribute(kind, found[kind]) for kind in (_NDA_DST, _NDA_LLADDR) if kind in found
        )
        yield _message("fixed neighbour", RTM_NEWNEIGH, _NEW, body)


_NEW: Final = NLM_F_CREATE | NLM_F_REPLACE


def _adding_version_6(address: bytes) -> Iterator[Message]:
    """Known to be unique, it is usable at once: made without duplicate address detection (RFC 4862 section 5.4), of
    which the flag is then taken away again."""
    about = f"address {address_text(address)}"
    flags = _flags(address)
    if not flags & (_TENTATIVE | IFA_F_NODAD):
        yield _message(about, RTM_NEWADDR, _NEW, _with_flags(address, flags | IFA_F_NODAD))
    yield _message(about, RTM_NEWADDR, _NEW, address)


def _message(about: str, kind: int, flags: int, body: bytes, *tolerated: int) -> Message:
    return Message(about, HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body, tolerated)


# Addresses


def address_key(address: bytes) -> tuple[int, int, bytes, bytes]:
    """What makes it another one: family, prefix length, itself, its peer."""
    found = dict(attributes(address, ADDRESS.size))
    return address[0], address[1], found.get(_IFA_LOCAL, b"") or found[_IFA_ADDRESS], found[_IFA_ADDRESS]


def address_text(address: bytes) -> str:
    _, length, own, _ = address_key(address)
    return f"{ip_address(own)}/{length}"


def is_link_local(address: bytes) -> bool:
    """Of IPv6: one that the kernel makes itself."""
    return address[0] == socket.AF_INET6 and ip_address(address_key(address)[2]).is_link_local


def _flags(address: bytes) -> int:
    found = dict(attributes(address, ADDRESS.size)).get(_IFA_FLAGS)
    return int(U32.unpack(found)[0]) if found else address[2]


def _with_flags(address: bytes, flags: int) -> bytes:
    return _changed(address, ADDRESS.size, {_IFA_FLAGS: U32.pack(flags)})


def _relabelled(address: bytes, old: str, new: str) -> bytes:
    label = dict(attributes(address, ADDRESS.size)).get(_IFA_LABEL, b"")
    if label.rstrip(b"\0") != old.encode():
        return address
    return _changed(address, ADDRESS.size, {_IFA_LABEL: new.encode() + b"\0"})


def _aged(address: bytes, seconds: int) -> bytes:
    """b"" where its time is over."""
    cache = dict(attributes(address, ADDRESS.size)).get(_IFA_CACHEINFO)
    if cache is None:
        return address
    preferred, valid, made, changed = _CACHE.unpack(cache)
    preferred, valid = (each if each == _FOREVER else max(0, each - seconds) for each in (preferred, valid))
    if valid == 0:
        return b""
    return _changed(address, ADDRESS.size, {_IFA_CACHEINFO: _CACHE.pack(preferred, valid, made, changed)})


# Routes


def route_text(route: bytes) -> str:
    """As `ip route` says it, as far as it tells routes apart."""
    found = dict(attributes(route, ROUTE.size))
    words = [f"{ip_address(found[RTA_DST])}/{route[1]}" if RTA_DST in found else "default"]
    if RTA_GATEWAY in found:
        words.append(f"via {ip_address(found[RTA_GATEWAY])}")
    table = int(U32.unpack(found[_RTA_TABLE])[0]) if _RTA_TABLE in found else route[4]
    words += [f"table {table}"] if table != _MAIN_TABLE else []
    return " ".join(words)


def by_next_hop_object(route: bytes) -> bool:
    """It has no device of its own: the object that it names has, for all its routes."""
    return any(kind == _RTA_NH_ID for kind, _ in attributes(route, ROUTE.size))


def _route_key(route: bytes) -> bytes:
    """Its time goes on."""
    return _changed(_asked_route(route), ROUTE.size, {_RTA_EXPIRES: b""})


def _ways(route: bytes) -> set[int]:
    """Indexes of the devices that it leads over."""
    found = dict(attributes(route, ROUTE.size))
    ways = {U32.unpack(found[RTA_OIF])[0]} if RTA_OIF in found else set()
    return ways | {index for _, _, _, index, _ in _hops(found.get(RTA_MULTIPATH, b""))}


def _hops(multipath: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Length, flags, weight, index and attributes of each."""
    offset = 0
    while offset + _NEXT_HOP.size <= len(multipath):
        length, flags, weight, index = _NEXT_HOP.unpack_from(multipath, offset)
        if length < _NEXT_HOP.size:
            return
        yield length, flags, weight, index, multipath[offset + _NEXT_HOP.size : offset + length]
        offset += (length + 3) & ~3


def _has_gateway(route: bytes) -> bool:
    return any(kind in (RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH) for kind, _ in attributes(route, ROUTE.size))


def _rerouted(route: bytes, old: int, new: int) -> bytes:
    found = dict(attributes(route, ROUTE.size))
    changes = {RTA_OIF: U32.pack(new)} if found.get(RTA_OIF) == U32.pack(old) else {}
    return _changed(route, ROUTE.size, changes | _multipath(found, {old: new}))


def _multipath(found: Mapping[int, bytes], renumbered: Mapping[int, int]) -> dict[int, bytes]:
    """Its ways, if there are several, over other devices, and without what only answers say of them."""
    if RTA_MULTIPATH not in found:
        return {}
    hops = [
        _NEXT_HOP.pack(length, flags & _HOP_FLAGS, weight, renumbered.get(index, index)) + rest
        for length, flags, weight, index, rest in _hops(found[RTA_MULTIPATH])
    ]
    return {RTA_MULTIPATH: b"".join(hop + bytes(-len(hop) % 4) for hop in hops)}


def _asked_route(route: bytes) -> bytes:
    """As a request: without what only answers say. What is left of its time is said otherwise there."""
    *head, flags = ROUTE.unpack_from(route)
    found = dict(attributes(route, ROUTE.size))
    changes = {_RTA_CACHEINFO: b"", **_multipath(found, {})}
    cache = found.get(_RTA_CACHEINFO, b"")
    expires = struct.unpack_from("=i", cache, 8)[0] if len(cache) >= 12 else 0  # struct rta_cacheinfo
    if expires > 0:
        changes[_RTA_EXPIRES] = U32.pack(max(1, expires // _TICKS))
    return ROUTE.pack(*head, flags & _HOP_FLAGS) + _changed(route, ROUTE.size, changes)[ROUTE.size :]


# Neighbours


def _is_fixed(neighbour: bytes, index: int) -> bool:
    _, device, state, _, _ = NEIGHBOUR.unpack_from(neighbour)
    return device == index and bool(state & NUD_PERMANENT)


def _neighbour_key(neighbour: bytes) -> bytes:
    return dict(attributes(neighbour, NEIGHBOUR.size)).get(_NDA_DST, b"")


def _changed(body: bytes, offset: int, changes: dict[int, bytes]) -> bytes:
    """With other values of some attributes, new ones at the end; b"" takes one away. All others stay byte for byte."""
    made, left, place = [body[:offset]], dict(changes), offset
    while place + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, place)
        if length < ATTRIBUTE.size:
            break
        end = min(place + ((length + 3) & ~3), len(body))
        if (value := left.pop(kind & 0x3FFF, None)) is None:
            made.append(body[place:end])
        elif value:
            made.append(attribute(kind, value))
        place = end
    return b"".join(made) + b"".join(attribute(kind, value) for kind, value in left.items() if value)
