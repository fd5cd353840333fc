"""The server with real sockets: heads that never end, streams when it ends, several places at once."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdn.api import connections, passage, protocols, server
from sdn.api.connections import End
from sdn.api.listeners import parse
from sdn.api.server import Place, Server
from sdn.cli import serve
from tests.unit.api.guarded import Guarded

Session = Callable[[Path], Coroutine[Any, Any, None]]


@asynccontextmanager
async def served(guarded: Guarded, *listen: str) -> AsyncIterator[list[Place]]:
    """Until the block ends; then it ends as a process would, and within its time."""
    stop, ready = asyncio.Event(), asyncio.Event()
    with serve._places([parse(text) for text in listen], None) as places:
        apps = [guarded.at(place.listener) for place in places]
        serving = asyncio.create_task(Server(places, apps).serve_until(stop, ready.set, guarded.gate.close))
        await asyncio.wait({serving, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        try:
            yield places
        finally:
            stop.set()
            await asyncio.wait_for(serving, 5)


@asynccontextmanager
async def talking(guarded: Guarded, path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to one that is served."""
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        yield reader, writer
        writer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://sdn")


async def closed_after(reader: asyncio.StreamReader) -> float:
    """Seconds until the other side closes."""
    started = time.monotonic()
    with suppress(ConnectionResetError):  # it is aborted: what was not read yet makes a RST of the FIN
        async with asyncio.timeout(5):
            while await reader.read(1 << 16):
                pass
    return time.monotonic() - started


async def one_that_is_late(path: Path) -> None:
    """A connection that says nothing is closed: by then so would be those that have begun before it."""
    reader, writer = await asyncio.open_unix_connection(path)
    await closed_after(reader)
    writer.close()


async def test_several_places_know_who_asks_where(guarded: Guarded, path: Path) -> None:
    async with served(guarded, f"unix:{path}", "127.0.0.1:0", "[::1]:0") as places:
        async with client(path) as local:
            assert (await local.get("/v1/ports/a")).json() == {"name": "root", "role": "admin"}
        for place in places[1:]:
            async with httpx.AsyncClient(base_url=place.listener.url) as remote:
                assert (await remote.get("/v1/ports/a")).json()["role"] == "admin"
                assert (await remote.get("/v1/ports/a", headers={"Host": "evil.example"})).status_code == 403
                forged = {"X-Forwarded-For": "192.0.2.1", "Host": "evil.example"}
                await remote.get("/v1/ports/a", headers=forged)
    assert {entry["peer"] for entry in guarded.refused()} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_does_not_end(
    guarded: Guarded, path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.2)
    async with talking(guarded, path) as (reader, writer):
        writer.write(said)
        assert 0.1 < await closed_after(reader) < 2


async def test_a_slow_head_after_a_request(guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.2)
    async with talking(guarded, path) as (reader, writer):
        writer.write(b"GET /v1/ports/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        writer.write(b"G")
        assert 0.1 < await closed_after(reader) < 2


@pytest.mark.parametrize("before", [b"", b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_head_that_grows(guarded: Guarded, path: Path, before: bytes) -> None:
    """Also behind a request that is being answered."""
    async with talking(guarded, path) as (reader, writer):
        writer.write(before)
        if before:
            await reader.readuntil(b"data: first")
        writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * protocols.HEAD_BYTES:
                sent += 1000
                writer.write(b"X: %b\r\n" % (b"x" * 1000))
                await writer.drain()
        assert sent < 16 * protocols.HEAD_BYTES, "what the kernel keeps is not counted"


async def test_a_slow_stream_is_no_slow_head(guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.1)
    async with talking(guarded, path) as (reader, writer):
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"data: first\n\n")
        await one_that_is_late(path)
        assert not reader.at_eof()


async def test_streams_do_not_delay_the_end(guarded: Guarded, path: Path) -> None:
    async with served(guarded, f"unix:{path}"):
        streams = [await asyncio.open_unix_connection(path) for _ in range(20)]
        for reader, writer in streams:
            writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"data: first\n\n")
        started = time.monotonic()
    assert time.monotonic() - started < 2 * server.LAST
    for reader, writer in streams:
        assert (await reader.read()).endswith(b"0\r\n\r\n"), "it ended as an answer ends"
        writer.close()


async def test_a_websocket_is_refused_with_a_reason(guarded: Guarded) -> None:
    async with served(guarded, "127.0.0.1:0") as (place,):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.port)
        writer.write(
            b"GET /v1/guests/g/console HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Origin: https://evil.example\r\n\r\n"
        )
        answer = await reader.read(1 << 16)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"urn:sdn:problem:origin" in answer + await reader.read(1 << 16)
        writer.close()


async def test_a_websocket_outlives_the_time_for_heads(
    guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.1)
    async with talking(guarded, path) as (reader, writer):
        writer.write(
            b"GET /v1/guests/g/console HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await one_that_is_late(path)
        writer.write(b"\x81\x82\0\0\0\0hi")
        assert await reader.readexactly(4) == b"\x81\x02hi"


@pytest.mark.parametrize("size", [protocols.PIECE, 10 * protocols.PIECE])
async def test_a_body_in_one_piece_with_its_head_is_no_large_head(guarded: Guarded, path: Path, size: int) -> None:
    """Nor with the next head behind it."""
    async with talking(guarded, path) as (reader, writer):
        head = b"PUT /v1/ports/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        writer.write((head + b"x" * size) * 3)
        for _ in range(3):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(str(size))) == str(size).encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
@pytest.mark.parametrize("by", ["the kernel's answer", "proc"])
async def test_another_user_of_the_machine_is_refused(
    guarded: Guarded, listen: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of a socket is who made it; of one that is closed nobody is, and not root."""
    if by == "proc":
        monkeypatch.setattr(connections, "_by_diag", connections._by_proc)
    async with served(guarded, listen) as (place,):
        address = str(place.listener.address), place.listener.port
        for user, status in ((0, b"200"), (1234, b"403")):
            client = connected(address, user)
            theirs = End(client.getsockname()[:2])
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"GET /v1/ports/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readline()).split()[1] == status
            assert connections.user_of(theirs, End(address)) == user
            writer.close()
            await writer.wait_closed()
            assert connections.user_of(theirs, End(address)) is None


def connected(address: tuple[str, int], user: int, source: str = "") -> socket.socket:
    """The kernel goes by the thread's file-system user when a socket is made (setfsuid(2))."""
    before = os.geteuid()
    os.seteuid(user)
    try:
        made = socket.create_connection(address, source_address=(source, 0) if source else None)
    finally:
        os.seteuid(before)
    made.setblocking(False)
    return made


async def test_a_client_that_does_not_read_its_answer_is_left(
    guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "SEND_SECONDS", 0.05)
    async with served(guarded, f"unix:{path}"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
            await expect_hung_up(client)


async def expect_hung_up(client: socket.socket) -> None:
    """The kernel tells of it without that anything is read."""
    over = asyncio.Event()
    with select.epoll() as poll:
        poll.register(client, select.EPOLLRDHUP)
        asyncio.get_running_loop().add_reader(poll.fileno(), over.set)
        try:
            await asyncio.wait_for(over.wait(), 5)
        finally:
            asyncio.get_running_loop().remove_reader(poll.fileno())


async def test_a_large_body_in_chunks(guarded: Guarded, path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * (1 << 20)

    async with served(guarded, f"unix:{path}"), client(path) as local:
        try:
            answer = await local.put("/v1/ports/a", content=chunks())
        except httpx.WriteError:
            return  # the connection is closed while it is still being sent
        assert answer.status_code == 413


async def test_one_address_does_not_have_all_connections(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has gone makes room for another; who asks at another place of the server is counted with the others."""
    monkeypatch.setattr(protocols, "CONNECTIONS_OF_ONE", 3)
    async with served(guarded, "127.0.0.1:0", "127.0.0.1:0") as places:
        ports = [place.listener.port for place in places]
        idle = [await asyncio.open_connection("127.0.0.1", ports[index % 2]) for index in range(3)]
        for reader, writer in idle:
            writer.write(b"GET /v1/ports/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
        assert await closed_after(reader) < 2
        writer.close()
        idle[0][1].write_eof()
        await closed_after(idle[0][0])
        async with httpx.AsyncClient(base_url=places[1].listener.url) as other:
            assert (await other.get("/v1/ports/a")).status_code == 200
        for _, writer in idle:
            writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_another_user_of_the_machine_does_not_have_our_connections(
    guarded: Guarded, listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor more of them by other addresses of this machine, of which 127.0.0.0/8 has many."""
    monkeypatch.setattr(protocols, "CONNECTIONS_OF_ONE", 3)
    async with served(guarded, listen) as (place,):
        address = "::1" if "::1" in listen else "127.0.0.1", place.listener.port
        sources = ("::1",) * 3 if "::1" in listen else ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        idle = [await asyncio.open_connection(sock=connected(address, 1234, source)) for source in sources]
        reader, writer = await asyncio.open_connection(sock=connected(address, 1234, sources[0]))
        assert await closed_after(reader) < 2
        own_reader, own_writer = await asyncio.open_connection(sock=connected(address, 0))
        own_writer.write(b"GET /v1/ports/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await own_reader.readline()).startswith(b"HTTP/1.1 ")
        for each in (writer, own_writer, *(theirs for _, theirs in idle)):
            each.close()
