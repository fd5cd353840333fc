"""When a write is answered, and what the answer says of its confirmation.

Enters: `?wait=`, `?timeout=`, `?dry_run=`. Leaves: Asked; what the answer has besides, and its status. Never: a wait
without an end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query

from sdn.api.live import Live
from sdn.bounds import LONGEST_WAIT, Wait
from sdn.store import Written

Until = Annotated[
    Wait, Query(description="When to answer: stored, confirmed by the switches (applied), or by the hosts too (whole).")
]
Timeout = Annotated[float, Query(gt=0, le=LONGEST_WAIT, description="Seconds to wait at most.")]
Dry = Annotated[bool, Query(description="Only say what would be done, step by step.")]


class Wanted(NamedTuple):
    """What a write wants of its answer. `started` is when it came, by the monotonic clock."""

    wait: str
    timeout: float
    dry: bool
    started: float

    @property
    def seconds(self) -> float:
        """Since it came."""
        return round(time.monotonic() - self.started, 6)


async def _asked(wait: Until = "stored", timeout: Timeout = 30.0, dry_run: Dry = False) -> Wanted:
    return Wanted(wait, timeout, dry_run, time.monotonic())


Asked = Annotated[Wanted, Depends(_asked)]


async def applied(live: Live, written: Written, asked: Wanted) -> dict[str, Any]:
    """Nothing where nobody asked for it."""
    if asked.wait == "stored":
        return {}
    left = max(asked.timeout - asked.seconds, 0.0)
    found = await live.applied(written.revision, timeout=left, whole=asked.wait == "whole")
    return {"applied": {"revision": found.revision, "seconds": asked.seconds, "missing": list(found.missing)}}


def status(more: Mapping[str, Any], *, is_new: bool = False) -> int:
    """202 where what is stored was not confirmed in time."""
    return 202 if more.get("applied", {}).get("missing") else 201 if is_new else 200
