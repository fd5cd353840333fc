"""The checksum of the Internet's headers. PURE."""

from __future__ import annotations

import struct


def checksum(data: bytes) -> int:
    """Ones' complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
