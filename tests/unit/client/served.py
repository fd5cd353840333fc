"""The app over a store in memory, served by uvicorn on a unix socket from a thread: for clients, which are synchronous.

A server that is stopped and started again at the same socket keeps the app, with its events, unless it shall not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn

from sdn.api.app import create_app
from sdn.api.caller import SCOPE, Caller, Role
from sdn.api.hub import Hub
from sdn.api.live import Live
from sdn.client import Client
from sdn.lab.rundir import RunDir
from sdn.store import Store
from tests.unit.api.memory import MemoryStore


class Served:
    """`store` is changed from any thread; `hub` is told from the server's own."""

    def __init__(self, socket: Path) -> None:
        self.socket, self.store = socket, MemoryStore()
        self.requests: list[tuple[str, str]] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._answering: list[asyncio.Task[None]] = []

    @property
    def api(self) -> str:
        return f"unix:{self.socket}"

    def client(self) -> Client:
        return Client.at(self.api)

    def tell(self, message: str) -> None:
        self._loop.call_soon_threadsafe(self.hub.tell, "test.done", message)

    def cut(self) -> None:
        """Every answer that is under way, in the middle of nothing. Returns when they have ended."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)

    async def _cut_all(self) -> None:
        under_way = [task for task in self._answering if not task.done()]
        assert under_way, "there is nothing to cut"
        for task in under_way:
            task.cancel()
        await asyncio.wait(under_way)

    @contextmanager
    def up(self) -> Iterator[None]:
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        thread.start()
        assert self._ready.wait(10)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)
            self._loop.close()

    async def _serve(self) -> None:
        app = create_app(Live(RunDir("small"), cast(Store, self.store)))
        self.hub: Hub = app.state.hub

        async def as_root(scope: Any, receive: Any, send: Any) -> None:
            scope[SCOPE] = Caller("root", Role.ADMIN, True)
            if scope["type"] == "http":
                self.requests.append((scope["method"], scope["path"]))
                self.headers.append(scope["headers"])
            answering = asyncio.create_task(app(scope, receive, send))
            self._answering.append(answering)
            await asyncio.wait((answering,))
            if not answering.cancelled():
                answering.result()

        async with app.router.lifespan_context(app):
            config = uvicorn.Config(as_root, uds=str(self.socket), lifespan="off", log_config=None)
            config.load()
            server = uvicorn.Server(config)
            server.lifespan = config.lifespan_class(config)
            await server.startup()
            self._ready.set()
            await self._stop.wait()
            self.hub.close()
            await server.shutdown()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "api.sock")
    with made.up():
        yield made
