"""Puts right what others have changed on a host, and tells of it.

Enters: differences, as the kernel and the switches tell of them. Leaves: Drift events; calls of `again`, which makes
everything so once more. Never: two of them at a time, one without a pause after one that failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from datapath.drift import Difference, Drifts
from datapath.events import Drift

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0  # seconds

Errors = Mapping[str, tuple[str, ...]]
"""By chassis."""


class Restorer:
    """`again` looks at whatever has changed and puts it right; it returns what is wrong then."""

    def __init__(self, tell: Callable[[Drift], None], again: Callable[[], Awaitable[Errors]]) -> None:
        self._drifts = Drifts(tell, time.time)
        self._again = again
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    def find(
        self, chassis: str, differences: Iterable[Difference], errors: tuple[str, ...] = (), when: float = 0.0
    ) -> None:
        """`errors` are those that the chassis has anyway; `when` 0 is now. Call it in the loop."""
        if self._drifts.find(chassis, differences, errors, when):
            self._more.set()
        if self._drifts and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._restore(), name="restore")
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()

    async def _restore(self) -> None:
        pause = FIRST_PAUSE
        while self._drifts:
            self._more.clear()
            self._drifts.announce()
            self._drifts.conclude(await self._again())
            if self._drifts.is_open:
                pause = await self._pause(pause)

    async def _pause(self, pause: float) -> float:
        """The next one, if this one has not been cut short by something new."""
        try:
            async with asyncio.timeout(pause):
                await self._more.wait()
        except TimeoutError:
            return min(2 * pause, LONGEST_PAUSE)
        return FIRST_PAUSE

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
