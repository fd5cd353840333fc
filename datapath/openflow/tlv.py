"""OXM TLVs: one match field, or one value to set, between its wire bytes and a MatchField.

In: bytes of one TLV, header and all. Out: (order, MatchField). Whatever the bytes, only DecodeError is raised.
A field that the table in oxm.py does not know becomes `oxm_` and its 32-bit header in hexadecimal: it can be compared
and sent back (to delete the flow), not interpreted.
"""

from __future__ import annotations

from typing import Final

from datapath.openflow.flow import MatchField
from datapath.openflow.oxm import FIELDS, NXM_0, NXM_1, Field

HAS_MASK: Final = 1 << 8
UNKNOWN: Final = "oxm_"
UNKNOWN_ORDER: Final = 1000


class DecodeError(ValueError):
    """These bytes are not what OpenFlow says they should be."""


# The NXM headers under which Open vSwitch and old controllers know fields that we write as OXM.
_NXM_ALIASES: Final[dict[str, tuple[int, int]]] = {
    "eth_dst": (NXM_0, 1),
    "eth_src": (NXM_0, 2),
    "eth_type": (NXM_0, 3),
    "ip_proto": (NXM_0, 6),
    "ipv4_src": (NXM_0, 7),
    "ipv4_dst": (NXM_0, 8),
    "tcp_src": (NXM_0, 9),
    "tcp_dst": (NXM_0, 10),
    "udp_src": (NXM_0, 11),
    "udp_dst": (NXM_0, 12),
    "icmp_type": (NXM_0, 13),
    "icmp_code": (NXM_0, 14),
    "arp_op": (NXM_0, 15),
    "arp_spa": (NXM_0, 16),
    "arp_tpa": (NXM_0, 17),
    "tun_id": (NXM_1, 16),
    "arp_sha": (NXM_1, 17),
    "arp_tha": (NXM_1, 18),
    "ipv6_src": (NXM_1, 19),
    "ipv6_dst": (NXM_1, 20),
    "icmpv6_type": (NXM_1, 21),
    "icmpv6_code": (NXM_1, 22),
    "nd_target": (NXM_1, 23),
    "nd_sll": (NXM_1, 24),
    "nd_tll": (NXM_1, 25),
    "ipv6_label": (NXM_1, 27),
    "ip_ecn": (NXM_1, 28),
}

HEADERS: Final[dict[int, Field]] = {
    **{field.header: field for field in FIELDS.values()},
    **{cls << 16 | number << 9 | FIELDS[name].nbytes: FIELDS[name] for name, (cls, number) in _NXM_ALIASES.items()},
}
"""Every header without a mask that means a field of ours."""


def encode_tlv(field: MatchField) -> bytes:
    """Header, value and, where there is one, mask. KeyError for an unknown name, OverflowError for a large value."""
    name, value, mask = field
    if name.startswith(UNKNOWN):
        return _encode_unknown(name, value, mask)
    spec = FIELDS[name]
    size = spec.nbytes
    if mask is None:
        return spec.header.to_bytes(4, "big") + value.to_bytes(size, "big")
    header = (spec.header | HAS_MASK) + size
    return header.to_bytes(4, "big") + value.to_bytes(size, "big") + mask.to_bytes(size, "big")


def _encode_unknown(name: str, value: int, mask: int | None) -> bytes:
    header = int(name.removeprefix(UNKNOWN), 16)
    size = header & 0xFF
    if mask is None:
        return header.to_bytes(4, "big") + value.to_bytes(size, "big")
    return header.to_bytes(4, "big") + value.to_bytes(size // 2, "big") + mask.to_bytes(size // 2, "big")


def decode_tlv(tlv: bytes) -> tuple[int, MatchField]:
    """The field and its place in a canonical match. A mask of all ones is written as None, one of no bits stays."""
    if len(tlv) < 5 or len(tlv) != 4 + tlv[3]:
        raise DecodeError(f"a match field of {len(tlv)} bytes is cut short")
    header = int.from_bytes(tlv[:4], "big")
    if not header & HAS_MASK:
        spec = HEADERS.get(header)
        if spec is None:
            return _unknown(header, int.from_bytes(tlv[4:], "big"), None)
        return spec.order, MatchField(spec.name, int.from_bytes(tlv[4:], "big") & spec.all_ones)
    half = tlv[3] // 2
    if tlv[3] & 1:
        raise DecodeError(f"match field {header:#010x} has a mask of another length than its value")
    value, mask = int.from_bytes(tlv[4 : 4 + half], "big"), int.from_bytes(tlv[4 + half :], "big")
    spec = HEADERS.get((header ^ HAS_MASK) - half)
    if spec is None:
        return _unknown(header, value, mask)
    mask &= spec.all_ones
    return spec.order, MatchField(spec.name, value & mask, None if mask == spec.all_ones else mask)


def _unknown(header: int, value: int, mask: int | None) -> tuple[int, MatchField]:
    return UNKNOWN_ORDER + (header >> 9), MatchField(f"{UNKNOWN}{header:08x}", value, mask)
