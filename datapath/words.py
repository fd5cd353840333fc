"""Values in words, as people and the topology file have them. PURE."""

from __future__ import annotations


def size(octets: int) -> str:
    """A whole number of MiB: 256M, 2G."""
    gib, rest = divmod(octets, 1 << 30)
    return f"{gib}G" if gib and not rest else f"{octets >> 20}M"
