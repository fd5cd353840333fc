"""What is in front of uvicorn's protocol: whose a connection is, how many one may have, and heads that come to an end.

Enters: connections, what is sent on them. Leaves: the same to uvicorn. Never: a connection that holds a place and does
not say what it wants, for which uvicorn has no limit.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import Counter
from typing import Any, Final, cast

from sdn.api import connections
from sdn.api.connections import Connection, End
from sdn.api.limits import neighbourhood

LOG = logging.getLogger(__name__)
CONNECTIONS_OF_ONE: Final = 512
"""Of one address, of IPv6 of a /64, and on this machine of one user: a quarter of what a server has. The next is
closed."""
HEAD_SECONDS, HEAD_BYTES = 10.0, 64 << 10
"""In which the head of a request has to arrive, and how large it may be."""
PIECE: Final = 16 << 10
"""Bytes that are parsed at once."""


class Known(asyncio.Protocol):
    """In front of uvicorn's protocol: what the gate has to know of the connection is in the state of its requests. Of
    one address, or user of this machine, there are so many at most, whatever they do: who has them all idle would keep
    out everybody else."""

    app_state: dict[str, Any]
    asks_user = False
    connected: Counter[str]
    """By address, or user."""
    _whose = ""
    """Where this one is counted; nowhere on a unix socket, which is root's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        user = _user_of(made) if self.asks_user or _is_near(made) else None
        self.app_state[connections.STATE] = Connection(user, made.abort, made.get_write_buffer_size)
        super().connection_made(made)
        self._count(made, user)

    def connection_lost(self, exc: Exception | None) -> None:
        self._count_out()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, *event: Any) -> None:
        """From here on it has another protocol, which the gate counts as a stream."""
        self._count_out()
        super().handle_websocket_upgrade(*event)  # type: ignore[misc]

    def _count(self, transport: asyncio.Transport, user: int | None) -> None:
        """By user where there is one: on this machine all have the same addresses, and 127.0.0.0/8 has many."""
        theirs = transport.get_extra_info("peername")
        if not isinstance(theirs, tuple):
            return
        self._whose = neighbourhood(theirs[0]) if user is None else f"user {user}"
        self.connected[self._whose] += 1
        if self.connected[self._whose] > CONNECTIONS_OF_ONE:
            LOG.info("a connection is closed: %s has %d", self._whose, CONNECTIONS_OF_ONE)
            transport.abort()

    def _count_out(self) -> None:
        if self._whose:
            self.connected[self._whose] -= 1
            if not self.connected[self._whose]:
                del self.connected[self._whose]
            self._whose = ""


def _is_near(transport: asyncio.Transport) -> bool:
    """Where a token is asked for, users of this machine are no less many."""
    theirs = transport.get_extra_info("peername")
    return isinstance(theirs, tuple) and End(theirs[:2]).address.is_loopback


def _user_of(transport: asyncio.Transport) -> int | None:
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return connections.user_of(End(theirs[:2]), End(ours[:2])) if theirs and ours else None


class _Bounded(Known):
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


def bounded() -> type[asyncio.Protocol]:
    """Over the fast parser. Without it h11 serves, which bounds a head's size itself, and not its time."""
    try:
        fast: Any = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except ImportError:
        slow: Any = importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        return type("KnownProtocol", (Known, slow), {})
    return type("BoundedProtocol", (_Bounded, fast), {})
