"""Conditional writes: what `If-Match` sees, and what a replica that lags behind does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.lab import FILE, Api, api, fill, store_at


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with store_at(tmp_path) as found:
        fill(found)
        yield found


async def test_a_port_that_is_gone_changed_its_node(socket: Path) -> None:
    """It is no longer among the node's own, and its going is seen all the same."""
    async with api(socket) as client:
        await client.post("/v1/ports", json={"name": "web1:eth1", "network": "db"})
        read = await client.get("/v1/nodes/web1")
        assert (await client.delete("/v1/ports/web1:eth1")).status_code == 204
        back = await client.put("/v1/nodes/web1", json=read.json(), headers={"If-Match": read.headers["etag"]})
        assert back.status_code == 412
        assert len((await client.get("/v1/nodes/web1")).json()["ports"]) == 1


async def test_another_lab_of_the_same_name(tmp_path: Path) -> None:
    """Revisions begin at 1 again; what was read of the one before is stale."""
    tags = []
    for place in ("before", "after"):
        (tmp_path / place).mkdir()
        with store_at(tmp_path / place) as socket:
            fill(socket)
            async with api(socket) as client:
                tags.append((await client.get("/v1/nodes/web1")).headers["etag"])
                mine = await client.patch("/v1/nodes/web1", json={"spoof_guard": False}, headers={"If-Match": tags[0]})
                assert mine.status_code == (200 if place == "before" else 412)
                whole = await client.put("/v1/topology?dry_run=true", content=FILE, headers={"If-Match": tags[0]})
                assert whole.status_code == 412
    assert tags[0] != tags[1]
    assert [tag.strip('"').split("-")[1] for tag in tags] == ["1", "1"]


async def test_a_revision_alone_is_of_the_lab_that_there_is(socket: Path) -> None:
    async with api(socket) as client:
        assert (
            await client.patch("/v1/networks/db", json={"mtu": 1300}, headers={"If-Match": '"1"'})
        ).status_code == 200
        assert (
            await client.patch("/v1/networks/db", json={"mtu": 1301}, headers={"If-Match": '"1"'})
        ).status_code == 412
        several = {"If-Match": '"1", "2"'}
        assert (await client.patch("/v1/networks/db", json={"mtu": 1301}, headers=several)).status_code == 200
        for wrong in ("12", '"x"', '"1" "2"'):
            answer = await client.patch("/v1/networks/db", json={"mtu": 1302}, headers={"If-Match": wrong})
            assert answer.status_code == 400, wrong


@pytest.mark.parametrize(
    ("path", "header", "told"),
    [
        ("nodes/web1", "If-None-Match", "there is a node 'web1' already"),
        ("nodes/none", "If-Match", "there is no node 'none'"),
        ("topology", "If-None-Match", "there is a topology already"),
    ],
)
async def test_what_is_there_or_not_is_said_so(socket: Path, path: str, header: str, told: str) -> None:
    """No revision is older than another: nobody has to look at what has changed."""
    async with api(socket) as client:
        answer = await client.put(f"/v1/{path}", json={"network": "web"}, headers={header: "*"})
        assert (answer.status_code, answer.json()["detail"]) == (412, told)
        assert answer.json()["remedy"].startswith(f"PUT without {header} c")


async def test_a_tag_of_another_lab_is_said_to_be_one(socket: Path) -> None:
    async with api(socket) as client:
        other = {"If-Match": '"00000000-3"'}
        answer = await client.patch("/v1/nodes/web1", json={"spoof_guard": False}, headers=other)
        assert answer.status_code == 412
        assert (
            answer.json()["detail"] == 'If-Match "00000000-3" is of another lab of this name, before or after this one'
        )


READ = (
    "/v1/nodes/web1",
    "/v1/nodes?limit=1",
    "/v1/ports",
    "/v1/links",
    "/v1/labs",
    "/v1/topology",
    "/v1/routers",
    "/v1/graph.svg",
)


async def test_what_the_client_has_is_not_sent_again(socket: Path) -> None:
    async with api(socket) as client:
        for path in READ:
            read = await client.get(path)
            for tags in (read.headers["etag"], f'"x", W/{read.headers["etag"]}', "*"):
                same = await client.get(path, headers={"If-None-Match": tags})
                assert (same.status_code, same.content) == (304, b""), (path, tags)
                assert same.headers["etag"] == read.headers["etag"]
            other = await client.get(path, headers={"If-None-Match": '"x", "1"'})
            assert (other.status_code, other.content) == (200, read.content)


async def test_what_was_observed_is_sent_again(socket: Path) -> None:
    """The revision is the same, and the answer is not: there is more to read, and nothing to lose by a write."""
    async with api(socket) as client:
        tags = {path: (await client.get(path)).headers["etag"] for path in ("/v1/chassis/hv1", "/v1/chassis")}
        with client.live.subscribe() as updates:
            client.confirm(1)
            await asyncio.wait_for(updates.get(), 5)
        for path, tag in tags.items():
            again = await client.get(path, headers={"If-None-Match": tag})
            assert (again.status_code, again.headers["sdn-revision"]) == (200, "1"), path
        mine = await client.patch("/v1/chassis/hv1", json={}, headers={"If-Match": tags["/v1/chassis/hv1"]})
        assert mine.status_code == 200


async def test_nothing_to_do_is_said_by_the_store_itself(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that lags believes that it is so already; the store, asked, knows better."""
    async with api(socket) as lagging, api(socket) as other:
        await _patched(other, "db", 1300)
        await lagging.until(2)
        asked, hears = _made_deaf(lagging.live.store, monkeypatch)
        await _patched(other, "db", 1400)
        asking = asyncio.create_task(lagging.patch("/v1/networks/db", json={"mtu": 1300}))
        is_asked = asyncio.create_task(asked.wait())
        await asyncio.wait([asking, is_asked], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert is_asked.done(), "an answer from the replica alone"
        assert not asking.done()
        hears.set()
        answer = await asyncio.wait_for(asking, 10)
        assert (answer.status_code, answer.headers["sdn-revision"]) == (200, "4")
        await other.until(4)
        assert (await other.get("/v1/networks/db")).json()["mtu"] == 1300


def _made_deaf(store: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, threading.Event]:
    """From now on its replica takes nothing in. The first event is set when a question to the store is under way, which
    waits for its answer until the second one is."""
    replica, loop = store._replica, asyncio.get_running_loop()
    asked, hears = asyncio.Event(), threading.Event()
    run = replica.run

    def deaf() -> bool:
        if replica._outstanding_txns:
            loop.call_soon_threadsafe(asked.set)
            hears.wait(10)
        return bool(run()) if hears.is_set() else False

    monkeypatch.setattr(replica, "run", deaf)
    return asked, hears


async def _patched(client: Api, network: str, mtu: int) -> None:
    (await client.patch(f"/v1/networks/{network}", json={"mtu": mtu})).raise_for_status()
