"""A switch made of a script: it says exactly the bytes that a test wants said. And a controller to say them to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sdn.southbound.messages import Type
from sdn.southbound.program import Switch
from sdn.southbound.server import Server
from sdn.southbound.session import Timers

FEATURES_REQUEST, MULTIPART_REQUEST, BARRIER_REQUEST, BARRIER_REPLY = 5, 18, 20, 21
FLOW_MOD, BUNDLE_CONTROL, BUNDLE_ADD = 14, 33, 34
OPEN, COMMIT, DISCARD = 0, 4, 6
V13, V14 = 4, 5


class Message(NamedTuple):
    version: int
    kind: int
    xid: int
    body: bytes


def message(kind: int, body: bytes = b"", xid: int = 0, version: int = V14) -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body


def hello(*versions: int) -> bytes:
    bitmap = sum(1 << version for version in versions)
    return message(Type.HELLO, struct.pack("!HHI", 1, 8, bitmap), version=max(versions))


def features(dpid: int, xid: int, version: int = V14) -> bytes:
    return message(Type.FEATURES_REPLY, struct.pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0), xid, version)


def error(kind: int, code: int, xid: int, version: int = V14) -> bytes:
    return message(Type.ERROR, struct.pack("!HH", kind, code), xid, version)


class FakeSwitch:
    """The switch's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int = V14) -> None:
        self.reader, self.writer, self.version = reader, writer, version

    def say(self, kind: int, body: bytes = b"", xid: int = 0) -> None:
        self.writer.write(message(kind, body, xid, self.version))

    async def hear(self) -> Message:
        """The next message of the controller; raises IncompleteReadError when it has hung up."""
        version, kind, length, xid = struct.unpack("!BBHI", await self.reader.readexactly(8))
        return Message(version, kind, xid, await self.reader.readexactly(length - 8))

    async def expect(self, kind: int) -> Message:
        """The next message that is not an echo request, which must be of this kind."""
        while (heard := await self.hear()).kind == Type.ECHO_REQUEST:
            pass
        assert heard.kind == kind, heard
        return heard

    async def greet(self, dpid: int, *versions: int) -> None:
        self.writer.write(hello(*(versions or (self.version,))))
        assert (await self.hear()).kind == Type.HELLO
        asked = await self.expect(FEATURES_REQUEST)
        self.writer.write(features(dpid, asked.xid, self.version))

    async def take_bundle(self, refuse: int | None = None) -> list[Message]:
        """Play a switch through one bundle until its commit or discard; the flow-mod numbered `refuse` is refused."""
        heard = []
        adds = 0
        while True:
            said = await self.expect_any()
            heard.append(said)
            control = struct.unpack_from("!IH", said.body)[1] if said.kind == BUNDLE_CONTROL else None
            if said.kind == BUNDLE_ADD:
                if adds == refuse:
                    self.writer.write(error(3, 4, said.xid))  # OFPET_BAD_INSTRUCTION, OFPBIC_UNSUP_METADATA_MASK
                adds += 1
            elif said.kind == BARRIER_REQUEST:
                self.say(BARRIER_REPLY, xid=said.xid)
            elif control is not None:
                bundle = said.body[:4]
                self.say(BUNDLE_CONTROL, bundle + struct.pack("!HH", control + 1, 3), said.xid)
            if control in (COMMIT, DISCARD):
                return heard

    async def expect_any(self) -> Message:
        while (heard := await self.hear()).kind == Type.ECHO_REQUEST:
            self.say(Type.ECHO_REPLY, heard.body, heard.xid)
        return heard

    async def hung_up(self) -> None:
        """Returns when the controller has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionResetError:
            return


class Controller:
    """A Server with queues for what its callbacks are given."""

    def __init__(self, path: Path, timers: Timers | None = None) -> None:
        self.path = path
        self.ready: asyncio.Queue[Switch] = asyncio.Queue()
        self.gone: asyncio.Queue[Switch] = asyncio.Queue()
        self.events: asyncio.Queue[tuple[Switch, Any]] = asyncio.Queue()
        self.server = Server(
            path,
            on_switch=self.ready.put_nowait,
            on_gone=self.gone.put_nowait,
            on_event=lambda switch, event: self.events.put_nowait((switch, event)),
            name_of=lambda dpid: f"hv{dpid}",
            timers=timers,
        )

    async def call(self, version: int = V14) -> FakeSwitch:
        return FakeSwitch(*await asyncio.open_unix_connection(str(self.path), limit=1 << 20), version)

    async def connect(self, dpid: int, version: int = V14) -> tuple[FakeSwitch, Switch]:
        fake = await self.call(version)
        await fake.greet(dpid)
        return fake, await self.ready.get()


@asynccontextmanager
async def controller(path: Path, timers: Timers | None = None) -> AsyncIterator[Controller]:
    made = Controller(path, timers)
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.close()
