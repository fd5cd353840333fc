"""Address types shared by the model, the host specification and OpenFlow. Parsed once, at the edge. PURE."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Mac(int):
    """A 48-bit Ethernet address; an int, so that it goes into OpenFlow fields as it is."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Mac:
        """`text` is six hexadecimal octets with colons. Raises ValueError."""
        if not _MAC.fullmatch(text.lower()):
            raise ValueError(f"'{text}' is not a MAC address (expected six octets such as 02:00:00:00:00:01)")
        return cls(int(text.replace(":", ""), 16))

    @property
    def is_group(self) -> bool:
        """True for multicast and broadcast (IEEE 802 I/G bit)."""
        return bool(self >> 40 & 1)

    def __str__(self) -> str:
        return ":".join(f"{self:012x}"[i : i + 2] for i in range(0, 12, 2))

    def __repr__(self) -> str:
        return f"Mac('{self}')"

    def link_local(self) -> IPv6Address:
        """The IPv6 link-local address that stateless configuration forms from this MAC (RFC 4291 appendix A)."""
        flipped = self ^ (1 << 41)
        eui64 = (flipped >> 24) << 40 | 0xFFFE << 24 | (flipped & 0xFFFFFF)
        return IPv6Address(0xFE80 << 112 | eui64)
