"""Flows of the lab's switches: read when somebody asks, once for all who ask for the same meanwhile.

Enters: which flows of which chassis. Leaves: their statistics. Never: more of a switch than it can leave out itself; a
loop that stands still while flows are decoded: 40,000 take a second, in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

from datapath.errors import TransientError
from datapath.openflow.codec import DecodeError, FlowStats, decode_flow_stats
from sdn.southbound.counters import EVERY_TABLE, flow_stats
from sdn.southbound.session import Session

FRESH: Final = 1.0
"""Seconds for which what was read is good for the next who asks: for the next page of a list."""
_LAST_TABLE: Final = 254


class Which(NamedTuple):
    """Flows of this table (None: of all), whose cookie is `cookie` where `mask` has ones."""

    table: int | None = None
    cookie: int = 0
    mask: int = 0


Switch = Callable[[str], AbstractAsyncContextManager[Session]]
_Key = tuple[str, Which]


class Dumps:
    """Of one lab; `switch` is `Live.switch`."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._running: dict[_Key, asyncio.Task[list[FlowStats]]] = {}

    async def of(self, chassis: str, which: Which) -> list[FlowStats]:
        """Raises TransientError where the switch is away."""
        key = chassis, which
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._read(chassis, which))
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)  # others may wait for it too

    def _keep(self, key: _Key, task: asyncio.Task[list[FlowStats]]) -> None:
        """What went wrong is told to those who have waited, and tried again by the next."""
        failed = task.cancelled() or task.exception() is not None
        if failed:
            self._running.pop(key, None)
        else:
            task.get_loop().call_later(FRESH, self._running.pop, key, None)

    async def _read(self, chassis: str, which: Which) -> list[FlowStats]:
        if which.table is not None and not 0 <= which.table <= _LAST_TABLE:
            return []
        table = EVERY_TABLE if which.table is None else which.table
        parts: list[bytes] = []
        async with self._switch(chassis) as switch:
            await switch.multipart(flow_stats(table, cookie=which.cookie, mask=which.mask), parts.append)
            version = switch.version
        return await asyncio.to_thread(_decoded, chassis, parts, version)


def _decoded(chassis: str, parts: list[bytes], version: int) -> list[FlowStats]:
    try:
        return [stats for part in parts for stats in decode_flow_stats(part, version)]
    except DecodeError as error:
        raise TransientError(f"{chassis}: {error}") from error
