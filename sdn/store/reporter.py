"""Facts on their way to the store: what gathers while one transaction is under way goes out in the next.

Enters: facts by kind and name. Leaves: calls of `Store.report`, one at a time, in a thread. Never: a fact lost because
the store was away for a moment; a newer fact overwritten by an older one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Literal

from datapath.errors import SdnError
from sdn.model.facts import Drift, FlowFacts, GuestFacts, HostFacts, PortFacts

LOG = logging.getLogger(__name__)
RETRY: Final = 0.2  # seconds

Kind = Literal["flows", "hosts", "ports", "guests", "drifts"]


class Reporter:
    """`report` is `Store.report` or something like it: it takes mappings of facts by kind, and blocks."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report
        self._pending: dict[Kind, dict[str, Any]] = {}
        self._something = asyncio.Event()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="report")

    def tell(self, kind: Kind, name: str, facts: FlowFacts | HostFacts | PortFacts | GuestFacts | Drift) -> None:
        """Call it in the loop; the newest facts of a name win."""
        self._pending.setdefault(kind, {})[name] = facts
        self._something.set()

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                writing, self._pending = self._pending, {}
                try:
                    await loop.run_in_executor(self._writer, partial(self._report, **writing))
                except SdnError as error:
                    LOG.warning("the store did not take our facts: %s", error)
                    self._put_back(writing)
                    loop.call_later(RETRY, self._something.set)
        finally:
            self._writer.shutdown(wait=False, cancel_futures=True)

    def _put_back(self, unwritten: dict[Kind, dict[str, Any]]) -> None:
        for kind, facts in unwritten.items():
            self._pending[kind] = {**facts, **self._pending.get(kind, {})}
