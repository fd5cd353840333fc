"""Flows of the lab's switches: read when somebody asks, once for all who ask for the same meanwhile.

Enters: which flows of which chassis. Leaves: their statistics. Never: flows from before somebody asked, unless he goes
on with a list that he has begun; more of a switch than it can leave out itself; a loop that stands still while flows
are decoded: 40,000 take a second, in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, NamedTuple

from datapath.errors import TransientError
from datapath.openflow.codec import DecodeError, FlowStats, decode_flow_stats
from sdn.api.latest import Latest
from sdn.southbound.counters import EVERY_TABLE, flow_stats
from sdn.southbound.session import Session

FRESH: Final = 1.0
"""Seconds for which what was read is good for the next page of a list."""
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
        self._known: dict[_Key, Latest[list[FlowStats]]] = {}

    async def of(self, chassis: str, which: Which, max_age: float = 0.0) -> list[FlowStats]:
        """As they are by now: who asks may have changed them just before; or as they were `max_age` seconds ago at
        most. Raises TransientError where the switch is away."""
        key = chassis, which
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Latest(partial(self._read, *key), partial(self._ended, key))
        return await (known.get(max_age) if max_age else known.anew())

    def _ended(self, key: _Key, known: Latest[list[FlowStats]], went_well: bool) -> None:
        """When it is good for nobody any more: a hundred thousand flows are not kept for whoever may ask again."""
        if went_well:
            asyncio.get_running_loop().call_later(FRESH, self._forget, key, known)
        else:
            self._forget(key, known)

    def _forget(self, key: _Key, known: Latest[list[FlowStats]]) -> None:
        """What is being read anew is forgotten after that."""
        if self._known.get(key) is known and not known.is_reading:
            del self._known[key]

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
