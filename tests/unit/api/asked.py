"""A request or websocket as a server hands it over, whose answer comes piece by piece: for streams, which httpx's own
ASGI transport only shows when they have ended."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message


class Asked:
    """`start` the app; `status` and `body` grow as it answers, `done` is its end. `say` is what the client sends. One
    that never `reads` makes the app wait."""

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        kind: str = "http",
        method: str = "GET",
        *,
        query: str = "",
        reads: bool = True,
        **headers: str,
    ) -> None:
        self._reads = reads
        self.sent: list[Message] = []
        self._changed = asyncio.Event()
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http" if kind == "http" else "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 4711),
            "server": ("127.0.0.1", 8080),
            "extensions": {"websocket.http.response": {}},
        }
        if kind == "http":
            scope["method"] = method
        else:
            self.say({"type": "websocket.connect"})
        self.task = asyncio.create_task(app(scope, self._incoming.get, self._send))

    def say(self, message: Message) -> None:
        self._incoming.put_nowait(message)

    def body(self, part: bytes, more: bool = False) -> None:
        self.say({"type": "http.request", "body": part, "more_body": more})

    async def _send(self, message: Message) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.sent.append(message)
        self._changed.set()

    async def until(self, kind: str, within: float = 5.0) -> Message:
        """The first message of this type."""
        async with asyncio.timeout(within):
            while True:
                for message in self.sent:
                    if message["type"] == kind:
                        return message
                self._changed.clear()
                await self._changed.wait()

    async def end(self, within: float = 5.0) -> None:
        await asyncio.wait_for(asyncio.shield(self.task), within)

    @property
    def status(self) -> int:
        starts = ("http.response.start", "websocket.http.response.start")
        return next((message["status"] for message in self.sent if message["type"] in starts), 0)
