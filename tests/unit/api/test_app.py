"""The application as a whole: tasks without which it cannot go on, and methods that a path does not have."""

from __future__ import annotations

import asyncio
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
from tests.unit.api.lab import api, socket, store_at

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
    with store_at(run.path), serve._places(listeners, None) as places, pytest.raises(SdnError) as found:
        server.run(run, places)
    assert found.value.message == "task follow of the API has ended: as if it broke"
    assert found.value.exit_code == 1


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
