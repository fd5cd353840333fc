"""One request on its way through the gate: its body measured, its answer made safe, its end where it has to end.

Enters: an ASGI request that was admitted. Leaves: the same to the app, the app's answer with the headers that tell a
browser what it may do with it. Never: a stream that goes on when its token does not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdn.api import connections, refusals
from sdn.api.limits import BODY_SECONDS, SEND_SECONDS
from sdn.api.refusals import Refusal
from sdn.api.roles import READING

if TYPE_CHECKING:
    from sdn.api.gate import Admitted, Gate

SAFE: Final = [
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""No script but our own files. xterm.js makes <style> elements for its colours and sizes: style-src allows that."""

GOING_AWAY, POLICY_VIOLATION = 1001, 1008
"""RFC 6455 section 7.4.1."""
OPENED, CLOSED = "opened", "closed"
"""What the audit log says of a websocket."""
_EVENTS: Final = b"text/event-stream"


class Passage:
    """`status` is that of the answer, 0 until it begins; 101 of a websocket that was accepted. One that is `owed` has
    yet to be noted in the audit log: that is done before its answer goes out; of a websocket when it is accepted, and
    again when it ends. A client that does not read is left after a while."""

    def __init__(self, gate: Gate, admitted: Admitted, scope: Scope, receive: Receive, send: Send) -> None:
        self.admitted = admitted
        self.scope = scope
        self.started = time.monotonic()
        self.owed = scope["type"] == "websocket" or scope["method"] not in READING
        self.status = 0
        self.revision: int | None = None
        self.refusal: Refusal | None = None
        self.is_stream = False
        self._gate = gate
        self._receive = receive
        self._send = send
        self._limit = asyncio.timeout(None)
        self._read = 0
        self._expected = False
        self._patience = BODY_SECONDS
        """Seconds that are left to the body. They pass while the app waits for it: what nobody reads is not late."""
        self._ended: tuple[int, str] | None = None
        self._is_over = self._is_gone = False

    async def go(self, app: ASGIApp, has_body: bool) -> None:
        """Returns when the app has answered, or was stopped."""
        self._expected = has_body
        try:
            async with self._limit:
                await app(self.scope, self.receive, self.send)
        except TimeoutError:
            if not self._limit.expired():
                raise  # the app's own
            self._is_over = True
            await self._say_why()
        finally:
            if self.is_stream:
                self._gate.closed(self)
            if self.owed:
                self._gate.note(self, CLOSED if self.is_stream else "")
            if connection := connections.of(self.scope):
                connection.answered(SEND_SECONDS)

    def end(self, code: int, why: str) -> None:
        """Of a stream that is open: the browser sees an end, and asking again is refused. `code` is for websockets."""
        if self._ended is None:
            self._ended = code, why
            self._stop()

    def _stop(self) -> None:
        """The app is cancelled wherever it waits."""
        if not self._is_over:
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _refuse(self, refusal: Refusal) -> None:
        """Instead of what the app is about to do. Does not return: the app is cancelled here."""
        self.refusal = refusal
        self._stop()
        await asyncio.get_running_loop().create_future()

    async def _say_why(self) -> None:
        """As long as the client reads."""
        if self._is_gone:
            return
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._last_words()
        except TimeoutError:
            self._abort()

    async def _last_words(self) -> None:
        if self._ended is None:
            self.refusal = self.refusal or refusals.too_slow(BODY_SECONDS)
            if not self.status:
                self.status = self.refusal.status
                self._gate.note(self)
                await refuse(self.scope, self._send, self.refusal)
        elif self.scope["type"] == "websocket":
            code, why = self._ended
            await self._send({"type": "websocket.close", "code": code, "reason": why})
        elif self.status:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, message: Message) -> None:
        """To the server, which makes the app wait while the client does not read."""
        timer = asyncio.get_running_loop().call_later(SEND_SECONDS, self._give_up)
        try:
            await self._send(message)
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._is_gone = True
        self._abort()
        self.end(GOING_AWAY, "the client does not read")

    def _abort(self) -> None:
        connection = connections.of(self.scope)
        if connection is not None:
            connection.abort()

    async def receive(self) -> Message:
        message = await self._next()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self.admitted.body:
                await self._refuse(refusals.too_large(self.admitted.body))
            if self._expected and not message.get("more_body", False):
                self._expected = False
        return message

    async def _next(self) -> Message:
        while self._expected:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._patience):
                    return await self._receive()
            except TimeoutError:
                if self._expected:
                    await self._refuse(refusals.too_slow(BODY_SECONDS))
            finally:
                self._patience -= time.monotonic() - began
        return await self._receive()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            message = await self._start(message)
        elif kind == "websocket.accept":
            await self._open_stream()
            self.status = 101
            self._gate.note(self, OPENED)
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            self._gate.note(self)
        await self._put(message)

    async def _start(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        for name, value in headers:
            if name == b"content-type" and value.startswith(_EVENTS):
                await self._open_stream()
            elif name == b"sdn-revision" and value.isdigit():
                self.revision = int(value)
        self.status = message["status"]
        if self.owed:
            self._gate.note(self)
        return {**message, "headers": _safe(headers)}

    async def _open_stream(self) -> None:
        if not self._gate.opened(self):
            await self._refuse(refusals.too_many(1.0, "too many event streams and websockets are open"))
        self.is_stream = True
        self._expected = False  # who streams has read what they want of the body


def _safe(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What a route says itself stays as it says it."""
    there = {name for name, _ in headers}
    return headers + [each for each in SAFE if each[0] not in there]


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer in the app's place. A websocket's handshake is answered like a request where the server can do that."""
    prefix = "http" if scope["type"] == "http" else "websocket.http"
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.why[:120]})
        return
    await send({"type": f"{prefix}.response.start", "status": refusal.status, "headers": refusal.headers + SAFE})
    body = b"" if scope.get("method") == "HEAD" else refusal.body
    await send({"type": f"{prefix}.response.body", "body": body})
