"""Values in words, as people and the topology file have them. PURE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

FIXED: Final = {
    "memory": "memory",
    "cpus": "number of CPUs",
    "image": "image",
    "disk": "size of its disk",
    "kernel": "kernel",
    "seed": "seed",
    "devices": "host devices",
}
"""What of a Machine cannot be changed while it runs, in words."""


def size(octets: int) -> str:
    """A whole number of MiB: 256M, 2G."""
    gib, rest = divmod(octets, 1 << 30)
    return f"{gib}G" if gib and not rest else f"{octets >> 20}M"


def with_the_next_start(fields: Iterable[str]) -> tuple[str, ...]:
    """That these of `FIXED` wait for it."""
    return tuple(f"its {FIXED[field]} will change with the next start" for field in fields)
