"""Framing and flow control of one OpenFlow connection on asyncio. It knows the 8-byte header and nothing behind it.

Enters: bytes, however the stream cut them. Leaves: whole messages, one call each. Never: a message longer than 65,535
bytes (the length field has 16 bits), a write that blocks the loop, more than `UNREAD_MAX` bytes for a deaf peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, cast

HEADER: Final = Struct("!BBHI")
"""version, type, length of the whole message, transaction id (OpenFlow 1.4 section 7.1.1)."""

OLDEST_VERSION: Final = 0x01
NEWEST_VERSION: Final = 0x07
"""Wire versions that a HELLO may carry: any, since the lower one wins; later ones would still be negotiated down."""

HIGH_WATER: Final = 512 * 1024
"""Bytes not yet taken by the socket at which a stream of flow-mods waits."""
UNREAD_MAX: Final = 16 * 1024 * 1024
"""Bytes of answers (echo replies) kept for a peer that asks and does not read."""


class MalformedError(ValueError):
    """These bytes are not OpenFlow; `first` are the first of them."""

    def __init__(self, message: str, first: bytes) -> None:
        super().__init__(message)
        self.first = bytes(first[:32])

    def __str__(self) -> str:
        return f"{super().__str__()}; it begins with {self.first.hex(' ', -4)}"


class Framer:
    """Cuts a stream into messages. `version` is what each must carry once it is negotiated, None before."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.version: int | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` completes; raises MalformedError after those before the bad one."""
        buffer = self._buffer
        buffer += data
        offset = 0
        try:
            while len(buffer) - offset >= HEADER.size:
                length = self._length(offset)
                if len(buffer) - offset < length:
                    return
                start, offset = offset, offset + length
                yield bytes(memoryview(buffer)[start:offset])
        finally:
            del buffer[:offset]

    @property
    def partial(self) -> bytes:
        """What came of a message that is not complete yet."""
        return bytes(self._buffer)

    def _length(self, offset: int) -> int:
        version, kind, length, _ = HEADER.unpack_from(self._buffer, offset)
        first = bytes(self._buffer[offset : offset + 32])
        if length < HEADER.size:
            raise MalformedError(f"a message of type {kind} says that it is {length} bytes long", first)
        if self.version is None and not OLDEST_VERSION <= version <= NEWEST_VERSION:
            raise MalformedError(f"version {version:#04x} is not OpenFlow", first)
        if self.version not in (None, version):
            raise MalformedError(f"version {version:#04x} where {self.version:#04x} was negotiated", first)
        return cast(int, length)


class Connection(asyncio.Protocol):
    """The asyncio protocol of one connection. `received` gets each message, `ended` the reason why it is over, once."""

    def __init__(
        self, received: Callable[[bytes], None], made: Callable[[], None], ended: Callable[[str, bool], None]
    ) -> None:
        self.framer = Framer()
        self.heard = 0.0
        """When something last came, on the loop's clock."""
        self._received, self._made, self._ended = received, made, ended
        self._transport: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._writable: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self.heard = self._loop.time()
        self._made()

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        try:
            for message in self.framer.feed(data):
                self._received(message)
                if self._transport is None:
                    return
        except MalformedError as error:
            self.end(f"malformed message: {error}", fault=True)

    def eof_received(self) -> None:
        partial = self.framer.partial
        if partial:
            self.end(f"truncated message: {MalformedError('the stream ended in it', partial)}", fault=True)
        else:
            self.end("the switch closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self.end(f"connection lost: {error}" if error else "connection lost")

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def write(self, data: bytes) -> None:
        """Queue `data`; after the end it goes nowhere.

        What is written in one turn of the loop goes out at once: Open vSwitch, which has its hands full with the first
        message as soon as it comes, then finds the others with it and does one round of its main loop for all.
        """
        if self._transport is None:
            return
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if self._transport is None:
            return
        self._transport.write(b"".join(gathered))
        if self._transport.get_write_buffer_size() > UNREAD_MAX:
            self.end("the switch asks and does not read the answers", fault=True)

    async def drain(self) -> None:
        """Let the loop turn once, and wait while the switch is slower than we are."""
        await (asyncio.shield(self._writable) if self._writable else asyncio.sleep(0))

    def end(self, reason: str, *, fault: bool = False, flush: bool = False) -> None:
        """Close; what is queued is sent first where `flush`. `fault` marks what an operator should look into."""
        if flush:
            self._flush()
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if flush:
            transport.close()
        else:
            transport.abort()
        self.resume_writing()
        self._ended(reason, fault)
