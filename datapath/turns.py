"""What the switches of a lab are at, so that one that hangs holds up nobody else.

Enters: work for the switch of a chassis. Leaves: its end; on the Chassis, that it is late. Never: two pieces of work
at a time for switches of one name, as that of a chassis and of its successor; a failure that nobody foresaw kept back:
the next look raises it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final

from datapath.chassis import Chassis

PATIENCE: Final = 2.0
"""Seconds for which none gets done before those that are left are late, at least."""


def patience(shortest: float, elapsed: float) -> float:
    """A busy machine is none that hangs: twice as long again as it took the others."""
    return max(shortest, 2 * elapsed)


class Turns:
    """`on_end` is called with each chassis whose late switch has ended its work."""

    def __init__(self, on_end: Callable[[Chassis], None], shortest: float = PATIENCE) -> None:
        self._on_end = on_end
        self._shortest = shortest
        self._work: dict[str, asyncio.Task[None]] = {}
        """By name of the chassis: whoever follows one that was removed works in the same directory."""

    def collect(self) -> None:
        """What has ended is forgotten; raises what somebody has failed with."""
        for name, work in list(self._work.items()):
            if work.done():
                del self._work[name]
                work.result()

    def free(self, every: Iterable[Chassis]) -> list[Chassis]:
        """Those whose switches are not at work. The others are late, be it with work for their predecessors."""
        found = []
        for chassis in every:
            if chassis.name in self._work:
                chassis.late = True
            else:
                found.append(chassis)
        return found

    def begin(self, chassis: Chassis, work: Coroutine[Any, Any, None]) -> None:
        """For a free one."""
        self._work[chassis.name] = asyncio.create_task(work, name=f"switch of {chassis.name}")

    async def wait(self, begun: Iterable[Chassis], *, alone: bool = False) -> None:
        """Until they have ended, or those that are left are late. `alone`: they hold up nobody else."""
        started = time.monotonic()
        left = {self._work[chassis.name]: chassis for chassis in begun}
        while left:
            longest = None if alone else patience(self._shortest, time.monotonic() - started)
            done, _ = await asyncio.wait(left, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for chassis in map(left.pop, done):
                chassis.late = False
        for work, chassis in left.items():
            chassis.late = True
            work.add_done_callback(partial(self._ended_late, chassis))
        self.collect()

    def _ended_late(self, chassis: Chassis, work: asyncio.Task[None]) -> None:
        if not work.cancelled():
            self._on_end(chassis)

    def close(self) -> None:
        for work in self._work.values():
            work.cancel()
