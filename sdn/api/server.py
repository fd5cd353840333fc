"""The server of a lab's API: uvicorn on sockets that are open already, the gate, the app.

Enters: a run directory, sockets. Leaves: answers, until it is told to end. Never: a socket bound here, a command line.

Streams end when the server does: the gate ends them, so that nothing is waited for but answers on their way, for LAST
seconds.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from datapath.errors import SdnError
from sdn.api import ends, sessions
from sdn.api.app import create_app
from sdn.api.audit import Audit
from sdn.api.ends import Ends
from sdn.api.gate import Gate
from sdn.api.hub import Hub
from sdn.api.limits import ASKING, Rate
from sdn.api.listeners import Listener
from sdn.api.live import Live
from sdn.api.protocols import Known, bounded
from sdn.api.tokens import Tokens
from sdn.lab.rundir import RunDir
from sdn.store import Store

LOG = logging.getLogger(__name__)
LAST: Final = 0.5
"""Seconds that answers on their way get when the server ends."""
IDLE: Final = 15
"""Seconds after which a connection is closed that asks nothing any more: longer than most clients' own."""
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
    """Serve the lab until SIGTERM or SIGINT, or until it is down; `ready` is called when it does.

    Raises TransientError without a store, SdnError where the lab is down or it cannot go on.
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
        watching = asyncio.create_task(_end_with_lab(run, app.state.hub, app.state.ends))
        await server.serve_until(stop, ready, gate.close)
        watching.cancel()
    finally:
        store.close()
    told: Ends = app.state.ends
    if told.reasons:
        remedy = told.remedy or f"why is in its log: sdn logs api --lab {run.lab}"
        raise SdnError("; ".join(told.reasons), remedy=remedy)


async def _end_with_lab(run: RunDir, hub: Hub, told: Ends) -> None:
    """What the store said last is not so any more; and a lab that comes up again under its name is another."""
    try:
        await ends.down(run)
    except OSError as error:
        told.tell(f"whether lab {run.lab} is up cannot be followed: {error}")
        return
    await hub.end(LAST)
    told.tell(f"lab {run.lab} is down", remedy=f"bring it up, and serve it again: sdn serve --lab {run.lab}")


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
        self._connected: Counter[str] = Counter()
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
            made: Known = kind(config=config, server_state=self.server_state, app_state=state)
            made.asks_user = listener.is_loopback and not listener.token
            made.connected = self._connected
            return made

        return make

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self.on_tick(0)


def _config(app: ASGIApp) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=bounded(),
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
