"""One OpenFlow session: HELLO, features, keepalive, and answers matched to their requests.

Enters: messages of one switch. Leaves: replies to whoever asked, packet-in, port-status and flow-removed to `on_event`,
one log line when it ends and why. Never: anything that outlives the connection; a bad message ends this session only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from datapath.errors import RefusedError, SdnError, TransientError
from sdn.southbound import messages, requests
from sdn.southbound.messages import Dialect, Type
from sdn.southbound.requests import Request
from sdn.southbound.transport import HEADER, Connection, MalformedError

log: Final = logging.getLogger("sdn.southbound")

FLOW_MOD_XID: Final = 1 << 31
"""Set in the xids of flow-mods: nobody waits for each of them, their errors go to `on_refused`."""

MULTIPART_MAX: Final = 256 * 1024 * 1024
"""Bytes of one multipart reply, over two million flows: a switch that never sends the last part is not believed."""

_MULTIPART_HEAD: Final = Struct("!HH4x")
_MORE: Final = 1

Event = Callable[[Any, Any], None]
"""Called with the session and os-ken's message object. It must not block."""


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds. A switch that was silent for `echo_interval` is asked, called silent when it stays so for
    `echo_patience`, and given up after `echo_timeout`.

    Open vSwitch answers nothing while it commits a bundle: half a second for 100,000 flows.
    """

    handshake: float = 5.0
    echo_interval: float = 5.0
    echo_patience: float = 4.0
    echo_timeout: float = 15.0


@dataclass(slots=True)
class _Pending:
    """A request without its reply; `each` takes the parts of a multipart reply, `size` bytes up to now."""

    asked: str
    reply: asyncio.Future[bytes]
    each: Callable[[bytes], None] | None
    size: int = 0


class Session:
    """The controller's end of a connection, to a switch that called or to a bridge's management socket."""

    def __init__(
        self,
        peer: str,
        *,
        timers: Timers | None = None,
        on_event: Event | None = None,
        name_of: Callable[[int], str] | None = None,
    ) -> None:
        """`peer` names the switch in logs until its datapath id is known, `name_of` afterwards."""
        self.name = peer
        self.dpid: int | None = None
        """Known when the handshake is done; there are no events before."""
        self.version = 0
        self.timers = timers or Timers()
        self.on_event = on_event
        self.on_refused: Callable[[int, str], None] | None = None
        """Takes xid and reason of each refused flow-mod."""
        self.on_updates: Callable[[bytes], None] | None = None
        """Takes the bodies of what flow monitors tell, which answer nothing."""
        self.on_silence: Callable[[bool], None] | None = None
        """Told that the switch does not answer, and that it does so again."""
        self.gave_up = False
        """Whether it was ended because the switch did not answer."""
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason, when it is over. Wait with `asyncio.wait([over])`: a cancelled `await` would cancel it."""
        self.connection = Connection(self._received, self._greet, self._ended)
        self._name_of = name_of or (lambda dpid: f"{dpid:016x}")
        self._greeted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending: dict[int, _Pending] = {}
        self._xid = 1
        self._is_silent = False
        self._handlers: dict[int, Callable[[bytes, int], None]] = {
            Type.ECHO_REQUEST: self._echo,
            Type.ERROR: self._refused,
            Type.MULTIPART_REPLY: self._part,
            Type.PACKET_IN: self._event,
            Type.FLOW_REMOVED: self._event,
            Type.PORT_STATUS: self._event,
        }

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def handshake(self) -> None:
        """Agree on a version and learn the datapath id. Raises TransientError where the peer does not do its part."""
        try:
            async with asyncio.timeout(self.timers.handshake):
                await self._greeted
                self.dpid = await self._datapath_id()
        except TimeoutError:
            self.close(f"no OpenFlow handshake within {self.timers.handshake:g} s", fault=True)
            raise self.lost() from None
        self.name = self._name_of(self.dpid)
        log.info("%s: connected, OpenFlow %s", self.name, messages.VERSIONS[self.version])

    async def keepalive(self) -> None:
        """Returns when the connection is over; ends it when the switch does not answer."""
        connection, timers, clock = self.connection, self.timers, asyncio.get_running_loop().time
        while not self.over.done():
            idle = clock() - connection.heard
            if idle < timers.echo_interval:
                await asyncio.wait([self.over], timeout=timers.echo_interval - idle)
                continue
            heard = connection.heard
            self.send(requests.ECHO)
            deadline = clock() + timers.echo_timeout
            while connection.heard == heard and (left := deadline - clock()) > 0 and not self.over.done():
                await asyncio.wait([self.over], timeout=min(left, timers.echo_patience))
                self._say_silent(connection.heard == heard)
            if connection.heard == heard:
                self.gave_up = not self.over.done()
                self.close(f"silent for {clock() - heard:.1f} s, and no answer to an echo request", fault=True)

    def _say_silent(self, is_silent: bool) -> None:
        if is_silent != self._is_silent and not self.over.done():
            self._is_silent = is_silent
            if self.on_silence:
                self.on_silence(is_silent)

    def close(self, reason: str = "closed by the controller", *, fault: bool = False) -> None:
        """End the session; whoever waits for a reply gets a TransientError."""
        self.connection.end(reason, fault=fault)

    def _ended(self, reason: str, fault: bool) -> None:
        log.log(logging.WARNING if fault else logging.INFO, "%s: %s", self.name, reason)
        if not self.over.done():
            self.over.set_result(reason)
        pending, self._pending = self._pending, {}
        for reply in (self._greeted, *(waiting.reply for waiting in pending.values())):
            _fail(reply, self.lost())

    def lost(self) -> TransientError:
        """What to raise once the session is over."""
        return TransientError(f"{self.name}: {self.over.result()}")

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def codec(self) -> Dialect:
        """os-ken's modules of the negotiated version, for what the switch says unasked."""
        return messages.dialect(self.version)

    def send(self, request: Request) -> int:
        """Send it and wait for nothing; returns its xid. Raises TransientError where no version is agreed yet."""
        if not self.version:
            raise TransientError(f"{self.name}: no OpenFlow version is agreed yet")
        self._xid = self._xid % (FLOW_MOD_XID - 1) + 1
        self.connection.write(request.encode(self.version, self._xid))
        return self._xid

    def ask(self, request: Request, each: Callable[[bytes], None] | None = None) -> asyncio.Future[bytes]:
        """Send a request; the future gets the bytes of the reply (the last part of a multipart one), RefusedError or
        TransientError."""
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if self.over.done():
            _fail(reply, self.lost())
        else:
            self._pending[self.send(request)] = _Pending(request.name, reply, each)
        return reply

    async def _datapath_id(self) -> int:
        reply = await self.ask(requests.FEATURES)
        try:
            return requests.datapath_id(reply)
        except MalformedError as error:
            self.close(f"malformed message: {error}", fault=True)
            raise self.lost() from error

    async def multipart(self, request: Request, each: Callable[[bytes], None]) -> None:
        """Send a multipart request; `each` gets the body of every part as it comes (OFPMPF_REPLY_MORE)."""
        await self.ask(request, each)

    async def barrier(self) -> None:
        """Returns when the switch has done everything sent before."""
        await self.ask(requests.BARRIER)

    # ── listening ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _greet(self) -> None:
        self.connection.write(messages.hello(list(messages.VERSIONS)))

    def _received(self, data: bytes) -> None:
        kind = data[1]
        if not self.version:
            self._before_version(data, kind)
        elif handler := self._handlers.get(kind):
            handler(data, HEADER.unpack_from(data)[3])
        elif waiting := self._pending.pop(HEADER.unpack_from(data)[3], None):
            _answer(waiting.reply, data)
        elif kind > Type.LAST:
            raise MalformedError(f"there is no message type {kind}", data)
        else:
            log.debug("%s: message of type %d that nobody waits for", self.name, kind)

    def _before_version(self, data: bytes, kind: int) -> None:
        if kind == Type.ERROR:
            self.close(f"the switch refused our HELLO: {data[12:].decode(errors='replace').rstrip(chr(0))}", fault=True)
        elif kind != Type.HELLO:
            raise MalformedError(f"message of type {kind} before the version is agreed", data)
        else:
            self._choose(messages.offered(data))

    def _choose(self, offered: set[int]) -> None:
        """The highest common version holds from the very next message, which may already be here."""
        ours = messages.VERSIONS
        common = offered & set(ours)
        if common:
            self.version = self.connection.framer.version = max(common)
            self._greeted.set_result(b"")
            return
        text = f"no common OpenFlow version: the switch offers {_listed(offered)}, we speak {_listed(ours)}"
        self.connection.write(messages.hello_failed(list(ours), text))
        self.connection.end(text, fault=True, flush=True)

    def _echo(self, data: bytes, _: int) -> None:
        self.connection.write(data[:1] + bytes([Type.ECHO_REPLY]) + data[2:])

    def _event(self, data: bytes, _: int) -> None:
        """Not decoded where nobody listens: a switch tells of every port that comes up."""
        if self.on_event and self.dpid is not None:
            self.on_event(self, self.codec.decode(data))

    def _part(self, data: bytes, xid: int) -> None:
        waiting = self._pending.get(xid)
        if len(data) < 16:
            raise MalformedError("a multipart reply without its header", data)
        kind, flags = _MULTIPART_HEAD.unpack_from(data, HEADER.size)
        if waiting is None and kind == requests.FLOW_MONITOR:
            self._updates(data)
        if waiting is None or waiting.each is None:
            return
        waiting.size += len(data)
        if waiting.size > MULTIPART_MAX:
            raise MalformedError(f"multipart reply of more than {MULTIPART_MAX} bytes", data)
        try:
            if not waiting.reply.done():  # its waiter may have been cancelled
                waiting.each(data[16:])
        except ValueError as error:
            raise MalformedError(f"multipart reply ({error})", data) from error
        if not flags & _MORE:
            del self._pending[xid]
            _answer(waiting.reply, data)

    def _updates(self, data: bytes) -> None:
        try:
            if self.on_updates:
                self.on_updates(data[16:])
        except ValueError as error:
            raise MalformedError(f"updates of a flow monitor ({error})", data) from error

    def _refused(self, data: bytes, xid: int) -> None:
        why = self.codec.why(self.codec.decode(data))
        waiting = self._pending.pop(xid, None)
        if waiting:
            _fail(waiting.reply, RefusedError(f"{self.name} refused {waiting.asked}: {why}"))
        elif xid >= FLOW_MOD_XID and self.on_refused:
            self.on_refused(xid, why)
        else:
            log.warning("%s: OpenFlow error for a message that nobody waits for: %s", self.name, why)


def _answer(reply: asyncio.Future[bytes], data: bytes) -> None:
    if not reply.done():  # its waiter may have been cancelled
        reply.set_result(data)


def _fail(reply: asyncio.Future[bytes], error: SdnError) -> None:
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # marks it as seen: of several that fail together, one is enough to raise


def _listed(versions: Any) -> str:
    known = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}
    return ", ".join(known.get(version, f"{version:#04x}") for version in sorted(versions)) or "none"
