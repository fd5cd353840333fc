"""Room in the kernel's neighbour tables, whose limits count the entries of all network namespaces together.

A full mesh of 100 nodes is 9,900 entries; beyond `gc_thresh3` (usually 1,024) the kernel answers ENOBUFS to every
sender on the machine until entries are five seconds old. The limits exist in the initial namespace only. They are
raised where they are too low, never lowered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_LIMITS: Final = Path("/proc/sys/net")
_OTHERS: Final = 512


def make_room(entries: int, limits: Path = _LIMITS) -> bool:
    """Let the IPv4 and IPv6 tables hold `entries` and what others have; False where this process may not."""
    wanted = entries + _OTHERS
    try:
        for family in ("ipv4", "ipv6"):
            folder = limits / family / "neigh" / "default"
            too_low = int((folder / "gc_thresh3").read_text()) < wanted
            for threshold in (3, 2, 1) if too_low else ():  # downwards: none may be above the next
                (folder / f"gc_thresh{threshold}").write_text(f"{wanted}\n")
    except OSError:
        return False  # a container without /proc/sys, or not root: probes then say ENOBUFS themselves
    return True
