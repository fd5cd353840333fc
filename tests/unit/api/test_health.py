"""/healthz is about this process and its store, /readyz about the lab."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from sdn.api import health
from sdn.api.live import Live
from sdn.lab import processes
from sdn.lab.processes import Process
from sdn.lab.rundir import RunDir
from sdn.model.facts import Facts
from tests.unit.api import observed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    found = observed.live()
    found.run.path.mkdir()
    return found


@asynccontextmanager
async def store(live: Live, serve: Serve) -> AsyncIterator[None]:
    async with await asyncio.start_unix_server(serve, live.run.store_socket):
        yield


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.close()


async def ask(live: Live, path: str) -> Response:
    app = FastAPI()
    app.state.live = live
    app.include_router(health.router())
    async with AsyncClient(transport=ASGITransport(app), base_url="http://sdn") as client:
        return await client.get(path)


async def test_healthy(live: Live) -> None:
    async with store(live, answers):
        answer = await ask(live, "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"healthy": True, "reasons": []})


async def test_a_store_that_is_away(live: Live) -> None:
    answer = await ask(live, "/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"healthy": False, "reasons": ["the store does not answer: No such file or directory"]}


async def test_a_store_that_hangs_up(live: Live) -> None:
    async with store(live, hangs_up):
        assert (await ask(live, "/healthz")).json()["reasons"] == ["the store has closed the connection"]


async def test_a_store_that_hangs(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection it takes, or the kernel does for it."""
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    over = asyncio.Event()

    async def says_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with store(live, says_nothing):
        assert (await ask(live, "/healthz")).json()["reasons"] == ["the store does not answer within 0.05 s"]
        over.set()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one held the lock."""
    monkeypatch.setattr(RunDir, "supervisor", property(lambda _: 1))


def supervised(live: Live, **pids: int | None) -> None:
    processes.write(live.run.processes, [Process(name, pid, bool(pid), 0.0, 0) for name, pid in pids.items()])


@pytest.mark.usefixtures("supervisor")
async def test_ready(live: Live) -> None:
    supervised(live, store=os.getpid())
    async with store(live, answers):
        answer = await ask(live, "/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "lab": "watched", "revision": 3, "confirmed": 3, "reasons": []}


async def test_not_ready(live: Live) -> None:
    """Everything that is wrong, at once."""
    supervised(live, store=None)
    late: Any = live
    late.facts = Facts()
    async with store(live, answers):
        answer = await ask(live, "/readyz")
    body = answer.json()
    assert (answer.status_code, body["ready"], body["confirmed"]) == (503, False, 0)
    assert {"store is not running", "supervisor is not running"} <= set(body["reasons"])
    assert "hv1: the switch is not connected to the controller" in body["reasons"]


async def test_an_empty_lab_is_not_ready(live: Live) -> None:
    empty: Any = live
    empty.revision = 0
    async with store(live, answers):
        answer = await ask(live, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["nothing has been applied yet"]
