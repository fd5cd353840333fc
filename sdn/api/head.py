"""HEAD: what GET would answer, without the body (RFC 9110 section 9.3.2).

Enters: requests. Leaves: the same, HEAD as GET; of its answer the head. Never: a stream that goes on for one who will
read nothing of it: when its head is out, its client has gone as far as it can tell.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _head_of(send))
        else:
            await self._app(scope, receive, send)


def _head_of(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return told
