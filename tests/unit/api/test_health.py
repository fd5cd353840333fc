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
from sdn.api.caller import NOBODY, Caller
from sdn.api.ends import Ends
from sdn.api.live import Live
from sdn.lab import condition, processes
from sdn.lab.processes import Process
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts
from tests.unit.api import observed
from tests.unit.api.lab import ROOT, as_caller

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


def of(live: Live, caller: Caller = ROOT) -> AsyncClient:
    app = FastAPI()
    app.state.live = live
    app.state.ends = Ends()
    app.include_router(health.router())
    return AsyncClient(transport=ASGITransport(as_caller(app, caller)), base_url="http://sdn")


async def ask(live: Live, path: str, caller: Caller = ROOT) -> Response:
    async with of(live, caller) as client:
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


@pytest.mark.usefixtures("supervisor")
async def test_who_is_not_known_learns_yes_or_no(live: Live) -> None:
    supervised(live, store=os.getpid())
    async with store(live, answers):
        assert (await ask(live, "/readyz", NOBODY)).json() == {"ready": True}
    answer = await ask(live, "/readyz", NOBODY)
    assert (answer.status_code, answer.json()) == (503, {"ready": False})


@pytest.mark.usefixtures("supervisor")
async def test_the_ports_are_looked_at_once(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each state of the lab."""
    looks: list[int] = []

    def troubles(model: Model, _: Facts) -> list[str]:
        looks.append(model.revision)
        return []

    monkeypatch.setattr(condition, "chassis_troubles", troubles)
    changing: Any = live
    async with of(live) as client:
        for _ in range(3):
            await client.get("/readyz")
        changing.facts = observed.facts(live.model)
        await client.get("/readyz")
    assert looks == [3, 3]
