"""The hashes by which a multipath action spreads packets, bit for bit as Open vSwitch's.

In: a packet's fields. Out: 32 bits. The hash is Bob Jenkins' lookup3 (`jhash_bytes` in Open vSwitch's `lib/jhash.c`)
over what `flow_hash_fields` in `lib/flow.c` gives it.
"""

from __future__ import annotations

from typing import Final

from datapath.openflow.packet import IPV4, IPV6, TCP, Packet

ETH_SRC: Final = 0
SYMMETRIC_L4: Final = 1
_SCTP: Final = 132
_WORD: Final = 0xFFFFFFFF


def hash_fields(packet: Packet, fields: int, basis: int, inner_vlan: int = 0) -> int:
    """`fields` as NX_HASH_FIELDS_* in `nicira-ext.h`; `inner_vlan` is the id of a second tag, which is no field.

    Raises ValueError for a hash that is not known here.
    """
    if fields == ETH_SRC:
        return jhash_bytes(packet.get("eth_src", 0).to_bytes(6, "big"), basis)
    if fields == SYMMETRIC_L4:
        return jhash_bytes(_symmetric_l4(packet, inner_vlan), basis)
    raise ValueError(f"multipath over hash fields {fields} is not known")


def _symmetric_l4(packet: Packet, inner_vlan: int) -> bytes:
    """Addresses and TCP ports of both directions xored, so that both hash alike; UDP ports are left out, as there."""
    ethertype = packet.get("eth_type", 0)
    addresses = b""
    if ethertype == IPV4:
        addresses = (packet.get("ipv4_src", 0) ^ packet.get("ipv4_dst", 0)).to_bytes(4, "big")
    elif ethertype == IPV6:
        addresses = (packet.get("ipv6_src", 0) ^ packet.get("ipv6_dst", 0)).to_bytes(16, "big")
    protocol = packet.get("ip_proto", 0) if addresses else 0
    ports = packet.get("tcp_src", 0) ^ packet.get("tcp_dst", 0) if protocol in (TCP, _SCTP) else 0
    return b"".join(
        [
            addresses.ljust(16, b"\0"),
            ethertype.to_bytes(2, "big"),
            ((packet.get("vlan_vid", 0) ^ inner_vlan) & 0xFFF).to_bytes(2, "big"),
            ports.to_bytes(2, "big"),
            (packet.get("eth_src", 0) ^ packet.get("eth_dst", 0)).to_bytes(6, "big"),
            bytes([protocol, 0, 0, 0]),
        ]
    )


def jhash_bytes(data: bytes, basis: int) -> int:
    a = b = c = 0xDEADBEEF + len(data) + basis & _WORD
    while len(data) >= 12:
        a, b, c = _add(a, b, c, data[:12])
        a, b, c = _mix(a, b, c)
        data = data[12:]
    if data:
        a, b, c = _add(a, b, c, data.ljust(12, b"\0"))
        c = _final(a, b, c)
    return c


def _add(a: int, b: int, c: int, data: bytes) -> tuple[int, int, int]:
    x, y, z = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8))
    return a + x & _WORD, b + y & _WORD, c + z & _WORD


def _rotate(x: int, k: int) -> int:
    return (x << k | x >> 32 - k) & _WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Two rounds over (a, b, c); each step works on the three in turn."""
    for shift in (4, 6, 8, 16, 19, 4):
        a = a - c & _WORD ^ _rotate(c, shift)
        c = c + b & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _rotate(b, shift) & _WORD
        a, b, c = b, c, a
    return b
