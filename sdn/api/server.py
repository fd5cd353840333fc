"""The server of a lab's API: uvicorn on sockets that are open already, the gate, the app.

Enters: a run directory, sockets. Leaves: answers, until it is told to end. Never: a socket bound here, a command line.

What uvicorn has no limit for, a connection that never says what it wants, `_Bounded` has. Streams end when the server
does: the gate ends them, so that nothing is waited for but answers on their way, for LAST seconds.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from datapath.errors import SdnError
from sdn.api import connections, sessions
from sdn.api.app import create_app
from sdn.api.audit import Audit
from sdn.api.connections import Connection, End
from sdn.api.gate import Gate
from sdn.api.limits import ASKING, Rate
from sdn.api.listeners import Listener
from sdn.api.live import Live
from sdn.api.tokens import Tokens
from sdn.lab.rundir import RunDir
from sdn.store import Store

LOG = logging.getLogger(__name__)
LAST: Final = 0.5
"""Seconds that answers on their way get when the server ends."""
IDLE: Final = 15
"""Seconds after which a connection is closed that asks nothing any more: longer than most clients' own."""
HEAD_SECONDS, HEAD_BYTES = 10.0, 64 << 10
"""In which the head of a request has to arrive, and how large it may be."""
PIECE: Final = 16 << 10
"""Bytes that are parsed at once."""
HANDSHAKE: Final = 10.0
"""Seconds for TLS."""
CONNECTIONS: Final = 2048
"""Of one server; the next is answered 503."""
TICK: Final = 1.0
"""Seconds: what the Date header counts."""
BACKLOG: Final = 1024
FRAME: Final = 1 << 20
"""Bytes of a websocket's message: of a console, what was pasted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens: the socket, which it takes over, and its TLS."""

    listener: Listener
    socket: socket.socket
    tls: ssl.SSLContext | None = None


def run(run: RunDir, places: Sequence[Place], ready: Callable[[], None] = lambda: None, asking: Rate = ASKING) -> None:
    """Serve the lab until SIGTERM or SIGINT; `ready` is called when it does.

    Raises TransientError without a store, SdnError where it cannot go on.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(run, places, ready, asking))


async def _run(run: RunDir, places: Sequence[Place], ready: Callable[[], None], asking: Rate) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = Store.open(run.store_socket, history=True)
    try:
        app = create_app(Live(run, store))
        app.include_router(sessions.router())
        gate = Gate(Tokens(), Audit(run.logs), asking=asking)
        server = Server(places, [gate.in_front_of(app, place.listener) for place in places])
        app.state.ends.when(stop.set)
        gc.freeze()  # the model and the app are many small values that stay
        gc.set_threshold(10_000)
        await server.serve_until(stop, ready, gate.close)
    finally:
        store.close()
    if app.state.ends.reasons:
        raise SdnError("; ".join(app.state.ends.reasons), remedy=f"why is in its log: sdn logs api --lab {run.lab}")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Server(uvicorn.Server):
    """At several places, each with a gate of its own in front of the one app. The first starts and ends the app."""

    def __init__(self, places: Sequence[Place], apps: Sequence[ASGIApp]) -> None:
        self._places = places
        self._configs = [_config(app) for app in apps]
        super().__init__(self._configs[0])

    async def serve_until(self, stop: asyncio.Event, ready: Callable[[], None], ends: Callable[[], None]) -> None:
        """`ends` is called when no new connections are taken and open ones are to end."""
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup()
        if self.lifespan.should_exit:
            raise RuntimeError("the app did not start; its reason is above")
        ticking = asyncio.create_task(self._tick())
        ready()
        await stop.wait()
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        for server in self.servers:
            server.close()
        ends()
        await self.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's signature
        """At our places."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            return
        await self.on_tick(0)  # the date of the first answers
        loop = asyncio.get_running_loop()
        self.servers = []
        for place, config in zip(self._places, self._configs, strict=True):
            made: dict[str, Any] = {"sock": place.socket, "ssl": place.tls, "backlog": BACKLOG}
            if place.tls is not None:
                made["ssl_handshake_timeout"] = HANDSHAKE
            self.servers.append(await loop.create_server(self._protocol_of(place.listener, config), **made))
        self.started = True

    def _protocol_of(self, listener: Listener, config: uvicorn.Config) -> Callable[[], asyncio.Protocol]:
        def make() -> asyncio.Protocol:
            kind: Any = config.http_protocol_class
            state = dict(self.lifespan.state)  # of one connection
            made: _Known = kind(config=config, server_state=self.server_state, app_state=state)
            made.asks_user = listener.is_loopback and not listener.token
            return made

        return make

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self.on_tick(0)


def _config(app: ASGIApp) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_bounded(),
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,  # the audit log has what matters, without queries that should not have been
        proxy_headers=False,  # else whoever asks from loopback says who they are
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=1,
        limit_concurrency=CONNECTIONS,
        ws_max_size=FRAME,
    )
    config.timeout_graceful_shutdown = LAST  # type: ignore[assignment]  # it goes to asyncio as it is
    config.load()
    return config


# ── connections ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Known(asyncio.Protocol):
    """In front of uvicorn's protocol: what the gate has to know of the connection is in the state of its requests."""

    app_state: dict[str, Any]
    asks_user = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        user = _user_of(made) if self.asks_user else None
        self.app_state[connections.STATE] = Connection(user, made.abort, made.get_write_buffer_size)
        super().connection_made(made)


def _user_of(transport: asyncio.Transport) -> int | None:
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return connections.user_of(End(theirs[:2]), End(ours[:2])) if theirs and ours else None


class _Bounded(_Known):
    """In front of uvicorn's protocol: closes a connection on which a request's head takes too long or grows too large.

    The parser has no limits of its own, also not while the request before is being answered.
    """

    transport: asyncio.Transport
    _is_in_head = True
    """From the connection on: one that never says anything is late too."""
    _bytes = 0
    _has_begun = False
    """A head, in the piece that is being parsed."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        self._is_in_head = self._has_begun = True
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """In pieces: what is too large is not parsed to its end first."""
        for start in range(0, len(data), PIECE):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:  # a websocket's, by now
                return
            self._parse(data[start : start + PIECE])

    def _parse(self, piece: bytes) -> None:
        self._has_begun = False
        super().data_received(piece)
        if not self._is_in_head:
            self._disarm()
            return
        self._arm()
        self._bytes += 0 if self._has_begun else len(piece)
        if self._bytes > HEAD_BYTES:
            self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._give_up)

    def _disarm(self) -> None:
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        LOG.info("a connection is closed: the head of a request is too slow or too large")
        self._disarm()
        self.transport.abort()


def _bounded() -> type[asyncio.Protocol]:
    """Over the fast parser. Without it h11 serves, which bounds a head's size itself, and not its time."""
    try:
        fast: Any = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except ImportError:
        slow: Any = importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        return type("KnownProtocol", (_Known, slow), {})
    return type("BoundedProtocol", (_Bounded, fast), {})
