"""The server with real sockets: heads that never end, streams when it ends, several places at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdn.api import server
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
    try:
        async with asyncio.timeout(5):
            while await reader.read(1 << 16):
                pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started


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
    assert {entry["peer"] for entry in guarded.audited()} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_does_not_end(
    guarded: Guarded, path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        assert 0.1 < await closed_after(reader) < 2
        writer.close()


async def test_a_slow_head_after_a_request(guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /v1/ports/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        writer.write(b"G")
        assert 0.1 < await closed_after(reader) < 2
        writer.close()


@pytest.mark.parametrize("before", [b"", b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_head_that_grows(guarded: Guarded, path: Path, before: bytes) -> None:
    """Also behind a request that is being answered."""
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(before)
        if before:
            await reader.readuntil(b"data: first")
        writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * server.HEAD_BYTES:
                sent += 1000
                writer.write(b"X: %b\r\n" % (b"x" * 1000))
                await writer.drain()
        assert sent < 16 * server.HEAD_BYTES, "what the kernel keeps is not counted"
        writer.close()


async def test_a_slow_stream_is_no_slow_head(guarded: Guarded, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"data: first\n\n")
        await asyncio.sleep(0.3)
        assert not reader.at_eof()
        writer.close()


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
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    async with served(guarded, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(
            b"GET /v1/guests/g/console HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await asyncio.sleep(0.3)
        writer.write(b"\x81\x82\0\0\0\0hi")
        assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()


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
