"""Flows of users as events: who has changed which, by what, on which switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdn.api.happened import About
from sdn.api.hub import Filter
from sdn.api.ofctl import LONGEST, several, words
from tests.unit.api.memory import Running, running
from tests.unit.api.test_ryu_routes import Script

FLOW = {"priority": 7, "match": {"in_port": 1}, "actions": []}
DONE: list[tuple[str, dict[str, Any], str]] = [
    ("POST /stats/flowentry/add", FLOW, 'added a flow on hv1 ({}): priority 7, match {{"in_port":1}}'),
    ("POST /stats/flowentry/delete", {"table_id": 3}, "deleted flows on hv1 ({}): table_id 3"),
    ("POST /stats/flowentry/modify_strict", FLOW, 'changed a flow on hv1 ({}): priority 7, match {{"in_port":1}}'),
    ("POST /stats/groupentry/add", {"group_id": 5}, "added a group on hv1 ({}): group_id 5"),
    ("DELETE /stats/flowentry/clear/{dpid}", {}, "deleted all flows of users on hv1 ({})"),
]


def obedient(lab: Running) -> int:
    """hv1, by its datapath id; it does whatever it is told."""

    @asynccontextmanager
    async def connect(_dpid: int) -> AsyncIterator[Script]:
        yield Script()

    lab.app.state.ofctl.connect = connect
    model = lab.store.model()
    assert model
    return model.chassis["hv1"].id


@pytest.mark.asyncio
@pytest.mark.parametrize(("asked", "body", "message"), DONE)
async def test_what_users_change_is_told(asked: str, body: dict[str, Any], message: str) -> None:
    async with running() as lab:
        dpid = obedient(lab)
        method, path = asked.format(dpid=dpid).split()
        answer = await lab.http.request(method, path, json={"dpid": dpid, **body})
        assert answer.status_code == 200
        (entry,) = [each for each in lab.hub.since(0) if each.event.kind == "flows.changed"]
        assert entry.event.message == "root " + message.format(f"{method} {path}")
        assert entry.event.about == About("chassis", "hv1")
        assert Filter(chassis=("hv1",)).wants(entry.event)


@pytest.mark.asyncio
async def test_many_at_once_are_told_together() -> None:
    """A few in full; else who installs ten thousand flows would leave nothing else in the ring."""
    async with running() as lab:
        dpid = obedient(lab)
        for priority in range(100):
            await lab.http.post("/stats/flowentry/add", json={"dpid": dpid, **FLOW, "priority": priority})
        for priority in range(3):
            await lab.http.post("/stats/flowentry/delete", json={"dpid": dpid, "priority": priority})
        await until_told_of(lab, 103)
        told = [each.event for each in lab.hub.since(0) if each.event.kind == "flows.changed"]
        assert len(told) < 30
        assert all("POST /stats/flowentry/add): priority" in event.message for event in told[:10])
        assert any(" more flows on hv1 (POST /stats/flowentry/add)" in event.message for event in told[10:])
        assert all(event.chassis == "hv1" and event.data["author"] == "root" for event in told)


async def until_told_of(lab: Running, changes: int) -> None:
    async with asyncio.timeout(5):
        while True:
            news = lab.hub.news()
            found = [entry.event for entry in lab.hub.since(0) if entry.event.kind == "flows.changed"]
            if sum(event.data["times"] for event in found) == changes:
                return
            await news.wait()


@pytest.mark.parametrize(
    ("done", "times", "said"),
    [
        ("added a flow", 812, "added 812 more flows"),
        ("added a flow", 1, "added 1 more flow"),
        ("deleted flows", 2, "deleted flows 2 more times"),
        ("deleted all flows of users", 1, "deleted all flows of users once more"),
    ],
)
def test_how_many_more(done: str, times: int, said: str) -> None:
    assert several(done, times) == said


@pytest.mark.asyncio
async def test_what_is_refused_or_only_asked_is_not_told() -> None:
    async with running() as lab:
        await lab.http.post("/stats/flowentry/add", json={"dpid": 4711, **FLOW})
        await lab.http.post("/stats/flowentry/add", json=FLOW)
        assert lab.told("flows.changed") == []


def test_a_flow_takes_no_more_room_than_it_needs() -> None:
    assert len(words({"match": {"eth_dst": "x" * 10_000}})) == LONGEST
