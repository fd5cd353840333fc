"""Says to other chassis where an address is now: what a node announces itself, the kernel's suppression keeps here.

Enters: an address with its new MAC, the tunnels of its network. Leaves: one frame into each. Never: an announcement of
what is not on this chassis.

Neighbour caches of nodes elsewhere hold the old MAC, and would for half a minute (RFC 4861 section 10).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from datapath.checksum import checksum

BROADCAST: Final = b"\xff" * 6
ALL_NODES: Final = bytes.fromhex("333300000001")
"""The Ethernet address of ff02::1 (RFC 2464 section 7)."""
_ALL_NODES: Final = socket.inet_pton(socket.AF_INET6, "ff02::1")
_ARP, _IPV6 = b"\x08\x06", b"\x86\xdd"
_REQUEST: Final = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)  # of Ethernet, for IPv4
_ICMPV6: Final = 58
_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_TARGET_LINK_LAYER: Final = b"\x02\x01"


class Moved(NamedTuple):
    """A packed address, its MAC, and the tunnel devices that lead to the network's other chassis."""

    address: bytes
    mac: bytes
    tunnels: tuple[str, ...]


def frame(address: bytes, mac: bytes) -> bytes:
    """An ARP announcement (RFC 5227 section 3), or an unsolicited advertisement (RFC 4861 section 7.2.6)."""
    if len(address) == 4:
        return BROADCAST + mac + _ARP + _REQUEST + mac + address + bytes(6) + address
    rest = struct.pack("!I", _OVERRIDE) + address + _TARGET_LINK_LAYER + mac
    length = 4 + len(rest)
    pseudo = address + _ALL_NODES + struct.pack("!II", length, _ICMPV6)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, checksum(pseudo + bytes([_ADVERTISEMENT, 0, 0, 0]) + rest)) + rest
    header = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, 255) + address + _ALL_NODES
    return ALL_NODES + mac + _IPV6 + header + message


def announce(moved: Iterable[Moved]) -> None:
    """In a thread within the chassis' namespace. Raises OSError where a device is down."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        for each in moved:
            for device in each.tunnels:
                wire.sendto(frame(each.address, each.mac), (device, 0))
