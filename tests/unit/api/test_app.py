"""The application as a whole: tasks without which it cannot go on, and methods that a path does not have."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datapath.errors import SdnError
from sdn.api import server
from sdn.api.hub import Hub
from sdn.api.listeners import parse
from sdn.api.live import Live
from sdn.api.metrics import Metrics
from sdn.cli import serve
from sdn.lab.rundir import RunDir
from tests.unit.api.lab import api, fill, socket, store_at

__all__ = ["socket"]


async def _breaks(_: object) -> None:
    raise OSError("as if it broke")


async def _ends(_: object) -> None:
    return


@pytest.mark.parametrize(("what", "task"), [(Live, "follow"), (Hub, "events"), (Metrics, "metrics")])
async def test_a_task_that_dies_is_noticed(
    socket: Path, what: type, task: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(what, "follow" if what is Live else "run", _breaks)
    async with api(socket) as client:
        told = asyncio.Event()
        client.app.state.ends.when(told.set)
        await asyncio.wait_for(told.wait(), 5)
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        assert answer.json()["reasons"][0] == f"task {task} of the API has ended: as if it broke"
    assert f"task {task} of the API has ended" in caplog.text


async def test_a_task_that_ends_is_noticed_too(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Live, "follow", _ends)
    async with api(socket) as client:
        told = asyncio.Event()
        client.app.state.ends.when(told.set)
        await asyncio.wait_for(told.wait(), 5)
        assert client.app.state.ends.reasons == ["task follow of the API has ended: without a reason"]


def test_the_process_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(Live, "follow", _breaks)
    run = RunDir("t")
    run.logs.mkdir(parents=True)
    listeners = [parse(f"unix:{tmp_path}/api.sock")]
    with store_at(run.path), held("t"), serve._places(listeners, None) as places, pytest.raises(SdnError) as found:
        server.run(run, places)
    assert found.value.message == "task follow of the API has ended: as if it broke"
    assert found.value.exit_code == 1


@contextmanager
def held(lab: str) -> Iterator[subprocess.Popen[bytes]]:
    """By a process that does nothing else, until its input is closed."""
    holding = f"from sdn.lab.rundir import RunDir; RunDir({lab!r}).hold(); print(flush=True); input()"
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process


def test_it_ends_with_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with a store that is away."""
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    run = RunDir("t")
    run.logs.mkdir(parents=True)
    listeners = [parse(f"unix:{tmp_path}/api.sock")]
    begun = 0.0
    with store_at(run.path) as socket, held("t") as holding, serve._places(listeners, None) as places:
        fill(socket)

        def go() -> None:
            nonlocal begun
            begun = time.monotonic()
            assert holding.stdin is not None
            threading.Timer(0.2, holding.stdin.close).start()

        with pytest.raises(SdnError) as found:
            server.run(run, places, go)
    assert 0.2 < time.monotonic() - begun < 5
    assert (found.value.message, found.value.exit_code) == ("lab t is down", 1)
    assert found.value.remedy == "bring it up, and serve it again: sdn serve --lab t"


async def test_a_method_that_a_path_does_not_have(socket: Path) -> None:
    """All that it has are told, of whichever route."""
    async with api(socket) as client:
        for path, methods in (
            ("/v1/nodes", "GET, HEAD, POST"),
            ("/v1/nodes/web1", "DELETE, GET, HEAD, PATCH, PUT"),
            ("/v1/topology", "GET, HEAD, PUT"),
            ("/stats/flow/1", "GET, HEAD, POST"),
            ("/v1/trace", "POST"),
        ):
            answer = await client.request("PROPFIND", path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods)
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/v1/nothing")).status_code == 404


async def test_the_head_alone(socket: Path) -> None:
    """Of streams too, which then end."""
    async with api(socket) as client, asyncio.timeout(10):
        for path in ("/", "/healthz", "/v1/nodes", "/v1/nodes/web1", "/v1/nodes/none", "/v1/topology"):
            whole, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers == whole.headers, path
        for path in ("/v1/events", "/v1/counters/stream"):
            head = await client.head(path)
            assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert (await client.head("/v1/trace")).status_code == 405
        tag = (await client.head("/v1/nodes/web1")).headers["etag"]
        assert (await client.head("/v1/nodes/web1", headers={"If-None-Match": tag})).status_code == 304


async def test_a_slash_too_many_is_said_to_be_one(socket: Path) -> None:
    async with api(socket) as client:
        for path in ("/v1/ports/", "/v1/ports/web1:eth0/", "/stats/switches/"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:sdn:problem:not-found"), path
            assert answer.json()["remedy"] == f"without the slash at its end: {path[:-1]}"
        assert "remedy" not in (await client.get("/v1/none/")).json()
