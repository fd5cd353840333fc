"""OpenFlow sessions with the lab's switches, kept open for the next who asks.

Enters: names of chassis. Leaves: sessions over each bridge's management socket. Never: the controller's own session,
which has enough to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Generic, TypeVar

from datapath.spec import INTEGRATION_BRIDGE
from sdn.lab.rundir import RunDir
from sdn.southbound.session import Session

S = TypeVar("S", bound=Session)


class Sessions(Generic[S]):
    """One with each chassis that was asked for. `connect` is `sdn.southbound.connect` or one like it."""

    def __init__(self, run: RunDir, connect: Callable[..., AbstractAsyncContextManager[S]]) -> None:
        self._run = run
        self._connect = connect
        self._known: dict[str, tuple[S, AsyncExitStack]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def of(self, chassis: str) -> AsyncIterator[S]:
        """Stays open afterwards. Raises TransientError where the switch is away."""
        async with self._locks.setdefault(chassis, asyncio.Lock()):
            session = await self._session(chassis)
        yield session

    async def _session(self, chassis: str) -> S:
        if chassis in self._known:
            session, stack = self._known[chassis]
            if not session.over.done():
                return session
            del self._known[chassis]
            await stack.aclose()
        path = self._run.chassis(chassis) / f"{INTEGRATION_BRIDGE}.mgmt"
        stack = AsyncExitStack()
        session = await stack.enter_async_context(self._connect(path, name=chassis))
        self._known[chassis] = session, stack
        return session

    async def close(self) -> None:
        for _, stack in self._known.values():
            await stack.aclose()
        self._known.clear()
