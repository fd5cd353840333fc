"""An interface of this machine that a lab's physical network shall have: what is on it, and whether it may be had.

Enters: its name. Leaves: what was found there, an error for what is in the way, a sentence for the plan. Never: a
change of anything (`takeover` makes them).

    eth1 ⇄ sdn-<lab>-<physnet> (bridge) ⇄ veth ═ lab's namespace ═ veth ⇄ phy-<physnet> (bridge) ⇄ each chassis

The interface stays in the machine's own namespace, as a port of a bridge there: whatever happens to the lab's
processes and namespaces, the machine has it, and can be reached over it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from datapath.errors import ConflictError, MachineError, SdnError
from datapath.linux.belongings import (
    Belongings,
    address_text,
    by_next_hop_object,
    is_link_local,
    of_device,
    route_text,
)
from datapath.linux.devices import Device, parse_device
from datapath.linux.netlink import (
    GROUP_IPV4_IFADDR,
    GROUP_IPV6_IFADDR,
    GROUP_LINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    Channel,
    Message,
    Notice,
    Refusal,
    attributes,
)
from datapath.spec import MARK, Uplink, alias, device_name

_RULE: Final = 12  # bytes of struct fib_rule_hdr
_FRA_IIFNAME, _FRA_OIFNAME = 3, 17
_BOTH: Final = (socket.AF_INET, socket.AF_INET6)

# Classic BPF (linux/filter.h): BPF_LD|BPF_ABS of 4, 2, 1 bytes, BPF_JMP|BPF_JEQ, BPF_RET
_SIZES: Final = {4: 0x20, 2: 0x28, 1: 0x30}
_IF_EQUAL, _RETURN = 0x15, 0x06
_FILTER: Final = struct.Struct("=HBBI")
_INDEX_AT, _NAME_AT = 20, 36
"""In a notification of a link: ifi_index after its two headers, and the text of IFLA_IFNAME, which comes first. That of
an address has ifa_index in the same place."""


def bridge_name(lab: str, physnet: str) -> str:
    """Of the bridge in the machine's namespace that has the interface as a port."""
    return device_name("sdn-", lab, physnet)


@dataclass(frozen=True, slots=True)
class Found:
    """An interface as it is. `others` are the interfaces of this machine, for one that does not exist (`index` 0).

    `addresses` (without IPv6's link-local ones) and `routes` over it, also those that a lab has moved to its bridge.
    `master` is the device that it is a port of, `holder` that device's alias where it is a lab's. `hindrances` are what
    cannot be moved: policy rules that name it, routes by nexthop objects.
    """

    interface: str
    index: int = 0
    mtu: int = 0
    up: bool = False
    loopback: bool = False
    ethernet: bool = True
    master: str = ""
    holder: str = ""
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    hindrances: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Machine:
    """The kernel in the namespace of this process, where everybody else is at work too.

    `sent` counts requests. Of what others do there it hears nothing but changes of the links that it watches.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.sent = 0
        groups = (GROUP_LINK, GROUP_IPV4_IFADDR, GROUP_IPV6_IFADDR)
        self.channel = Channel(lambda _notice: on_change(), on_change, groups)
        self.watch((), ())

    def watch(self, names: Sequence[str], indexes: Sequence[int]) -> None:
        """From now on hears of links with these names or indexes only, and of addresses on the latter."""
        self.channel.screen(screen(names, indexes))

    def links(self) -> dict[str, Device]:
        devices = (parse_device(notice.payload) for notice in self.channel.dump(RTM_GETLINK, bytes(16)))
        return {device.name: device for device in devices}

    def belongings(self, index: int) -> Belongings:
        """Addresses, routes and fixed neighbours of a device."""
        return of_device(
            index,
            self._all(RTM_GETADDR, 8),
            self._all(RTM_GETROUTE, 12),
            self._all(RTM_GETNEIGH, 12),
        )

    def rules(self, interface: str) -> list[str]:
        """Policy rules that name it."""
        name = interface.encode()
        named = [dict(attributes(rule, _RULE)) for rule in self._all(RTM_GETRULE, _RULE)]
        words = {_FRA_IIFNAME: "iif", _FRA_OIFNAME: "oif"}
        return [
            f"policy rule {word} {interface}"
            for rule in named
            for kind, word in words.items()
            if rule.get(kind, b"").rstrip(b"\0") == name
        ]

    def _all(self, kind: int, header: int) -> list[bytes]:
        bodies = (bytes([family]).ljust(header, b"\0") for family in _BOTH)
        return [notice.payload for body in bodies for notice in self._dump(kind, body) if notice.payload[0] == body[0]]

    def _dump(self, kind: int, body: bytes) -> list[Notice]:
        """A kernel without IPv6 or policy routing has none."""
        try:
            return self.channel.dump(kind, body)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                return []
            raise

    def send(self, batch: list[Message]) -> list[Refusal]:
        self.sent += len(batch)
        return self.channel.send(batch) if batch else []

    def find(self, interface: str) -> Found:
        links = self.links()
        device = links.get(interface)
        if device is None:
            return Found(interface, others=tuple(sorted(name for name, each in links.items() if not _is_ours(each))))
        master = next((each for each in links.values() if each.index == device.master), None)
        holder = master if master is not None and _is_ours(master) else None
        has = [self.belongings(each.index) for each in (device, holder) if each is not None]
        over = [route for each in has for route in each.routes]
        by_object = [f"route {route_text(each)} by a nexthop object" for each in over if by_next_hop_object(each)]
        return Found(
            interface,
            device.index,
            device.mtu,
            device.up,
            interface == "lo",
            bool(device.mac),
            f"number {device.master}" if device.master and master is None else master.name if master else "",
            holder.alias if holder else "",
            tuple(address_text(each) for of in has for each in of.addresses if not is_link_local(each)),
            tuple(route_text(each) for each in over),
            (*self.rules(interface), *by_object),
        )

    def close(self) -> None:
        self.channel.close()


def _is_ours(device: Device) -> bool:
    """Of any lab."""
    return device.alias.startswith(f"{MARK}:")


def screen(names: Sequence[str], indexes: Sequence[int]) -> bytes:
    """A program of classic BPF that passes notifications of links with one of these names or indexes."""
    tests = [[(4, _INDEX_AT, socket.htonl(index))] for index in indexes]
    tests += [list(_letters(name.encode() + b"\0")) for name in names]
    code: list[bytes] = []
    for test in tests:
        for at, (size, offset, value) in enumerate(test):
            rest = 2 * (len(test) - at - 1) + 1  # instructions to the end of this test, over its `pass`
            code.append(_FILTER.pack(_SIZES[size], 0, 0, offset))
            code.append(_FILTER.pack(_IF_EQUAL, 0, rest, value))
        code.append(_FILTER.pack(_RETURN, 0, 0, 0xFFFFFFFF))
    return b"".join((*code, _FILTER.pack(_RETURN, 0, 0, 0)))


def _letters(text: bytes) -> Iterator[tuple[int, int, int]]:
    """Size, place and value of the loads that compare the text: the fewest."""
    place = 0
    while place < len(text):
        size = next(size for size in _SIZES if place + size <= len(text))
        yield size, _NAME_AT + place, int.from_bytes(text[place : place + size], "big")
        place += size


@contextmanager
def _machine() -> Iterator[Machine]:
    made = Machine()
    try:
        yield made
    finally:
        made.close()


def look(interface: str) -> Found:
    """What is on an interface of the namespace of this process."""
    with _machine() as machine:
        return machine.find(interface)


def has_any(lab: str) -> bool:
    """Whether a lab has anything of this machine, by the bridges that carry its mark."""
    with _machine() as machine:
        return any(each.alias.startswith(alias(lab, "")) for each in machine.links().values())


def trouble(lab: str, uplink: Uplink, found: Found) -> SdnError | None:
    """Why the physical network cannot have its interface; None where it can, or already has it."""
    name = found.interface
    if not found.index:
        others = ", ".join(each for each in found.others if each != "lo") or "none"
        missing = f"physnet {uplink.physnet}: this machine has no interface {name}; it has: {others}"
        return MachineError(f"interface {name}", missing, remedy="name one that exists, or plug it in")
    if found.loopback:
        return ConflictError(f"physnet {uplink.physnet}: lo leads nowhere", remedy="name an interface to a network")
    if not found.ethernet:
        lacking = f"physnet {uplink.physnet}: {name} has no MAC, so it is no Ethernet device and cannot be bridged"
        return ConflictError(lacking, remedy="name an interface to an Ethernet network")
    if found.holder and found.holder != alias(lab, uplink.physnet):
        _, other, physnet = found.holder.split(":", 2)
        taken = f"interface {name} belongs to physnet {physnet} of lab {other}"
        return ConflictError(taken, remedy=f"take that lab down, or give physnet {uplink.physnet} another interface")
    if found.master and not found.holder:
        taken = f"interface {name} is a port of {found.master}, which is not ours; it was left alone"
        return ConflictError(taken, remedy=f"ip link set {name} nomaster, or name another interface")
    return _in_use(uplink, found)


def _in_use(uplink: Uplink, found: Found) -> SdnError | None:
    name = found.interface
    used = [*found.addresses, *(f"route {route}" for route in found.routes)]
    if used and not uplink.moves_addresses:
        return ConflictError(
            f"interface {name} is in use by this machine: {', '.join(used)}",
            remedy=f"`addresses: move` at physnet {uplink.physnet}, or name another interface",
        )
    if used and found.hindrances:
        return ConflictError(
            f"the addresses of interface {name} cannot be moved: {', '.join(found.hindrances)}",
            remedy="remove these, or name another interface",
        )
    if found.mtu < uplink.mtu:
        return ConflictError(
            f"interface {name} carries {found.mtu} bytes, physnet {uplink.physnet} wants {uplink.mtu}",
            remedy=f"`mtu: {found.mtu}` at physnet {uplink.physnet}, or ip link set {name} mtu {uplink.mtu}",
        )
    return None


def describe(lab: str, uplink: Uplink, found: Found) -> str:
    """What giving the interface to the physical network does, for the plan."""
    problem = trouble(lab, uplink, found)
    if problem is not None:
        return f"refused: {problem.message}"
    joins = f"interface {found.interface} joins physnet {uplink.physnet}"
    if not found.addresses and not found.routes:
        return joins + ("" if found.up else "; it is set up, and down again with `sdn down`")
    addresses = f"its address{'es' if len(found.addresses) != 1 else ''} {', '.join(found.addresses)}"
    routes = f" and {len(found.routes)} route{'s' if len(found.routes) != 1 else ''}" if found.routes else ""
    bridge = bridge_name(lab, uplink.physnet)
    return f"{joins}; {addresses}{routes} move to bridge {bridge} and come back with `sdn down`"
