"""What is read when somebody asks, once for all who ask meanwhile, or soon after.

Enters: something that reads. Leaves: what it has read; to all who have waited what went wrong. Never: a reading that
ends because the first who asked for it has gone; a failure that is told to the next, who has it tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Of one thing. `ended` is called whenever a reading ends, with this and whether it did well."""

    def __init__(
        self,
        read: Callable[[], Coroutine[Any, Any, T]],
        ended: Callable[[Latest[T], bool], None] = lambda _, __: None,
    ) -> None:
        self._read = read
        self._ended = ended
        self._reading: asyncio.Task[T] | None = None
        self._since = 0.0
        """When it had been read, by the monotonic clock."""

    @property
    def is_reading(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def anew(self) -> T:
        """What is read from now on: what is being read just now began before its asker came."""
        if self._reading is not None and not self._reading.done():
            await asyncio.wait([self._reading])
        return await self.get(0)

    async def get(self, max_age: float) -> T:
        """What was read `max_age` seconds ago at most, or is being read."""
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() - self._since >= max_age):
            reading = self._reading = asyncio.create_task(self._read())
            reading.add_done_callback(self._keep)
        return await asyncio.shield(reading)  # others may wait for it too

    def _keep(self, reading: asyncio.Task[T]) -> None:
        self._since = time.monotonic()
        went_well = not reading.cancelled() and reading.exception() is None
        if not went_well and self._reading is reading:
            self._reading = None
        self._ended(self, went_well)
