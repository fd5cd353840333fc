"""Many things in a few words. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NAMED: Final = 3
"""Things that are named one by one."""


def several(named: Sequence[str], noun: str, count: int = 0) -> str:
    """`a`, `a, b and c`, or `412 flows, such as a, b and c`. `noun` is of several; `count` where not all are named."""
    count = count or len(named)
    if count > NAMED:
        return f"{count} {noun}, such as {_listed(named[:NAMED])}"
    return _listed(named)


def _listed(named: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
