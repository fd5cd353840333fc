"""Flows page by page, while they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datapath.openflow.codec import FlowStats
from datapath.openflow.flow import Flow, MatchField
from sdn.api.dumps import FRESH, Which
from tests.unit.api.lab import api, socket

__all__ = ["socket"]


class Dumped:
    """What the switches have."""

    def __init__(self) -> None:
        self.max_age = 0.0
        self.flows = [stats(table, priority) for table in (0, 1) for priority in (5, 700)]

    async def of(self, _chassis: str, _which: Which, max_age: float = 0.0) -> list[FlowStats]:
        self.max_age = max_age
        return self.flows


def stats(table: int, priority: int) -> FlowStats:
    return FlowStats(Flow(table, priority, (), (), 0), 1, 60, 2.0)


async def test_a_page_begins_where_the_one_before_has_ended(socket: Path) -> None:
    """Also where that flow has gone."""
    async with api(socket) as client:
        dumped: Any = Dumped()
        client.app.state.dumps = dumped
        path, seen = "/v1/flows?limit=3", []
        while path:
            page = (await client.get(path)).json()
            assert dumped.max_age == (FRESH if "after" in path else 0)
            seen += [(each["chassis"], each["table_id"], each["priority"]) for each in page["items"]]
            path = page["next"]
            dumped.flows = [each for each in dumped.flows if (each.flow.table, each.flow.priority) != (1, 700)]
        assert seen[:3] == [("hv1", 0, 700), ("hv1", 0, 5), ("hv1", 1, 700)]
        assert seen[3:] == [("hv1", 1, 5), ("hv2", 0, 700), ("hv2", 0, 5), ("hv2", 1, 5)]
        for wrong in ("hv1", "hv1/1/700", "hv1/1/700/xyz", "hv1/1/700/0123456789abcdef/"):
            answer = await client.get("/v1/flows", params={"after": wrong})
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:sdn:problem:malformed"), wrong


async def test_none_is_left_out(socket: Path) -> None:
    """Where it was among those of its table and priority nobody knows: they come again."""
    async with api(socket) as client:
        dumped: Any = Dumped()
        masks = (None, 0xFFFF0000, 0xFFFFFF00)
        dumped.flows = [FlowStats(Flow(7, 9, (MatchField("reg0", 1 << 20, mask),)), 0, 0, 1.0) for mask in masks]
        client.app.state.dumps = dumped
        page = (await client.get("/v1/flows?limit=2&chassis=hv1")).json()
        dumped.flows = [dumped.flows[0], dumped.flows[2]]
        rest = (await client.get(page["next"])).json()
        seen = [each["raw"].rpartition("reg0=")[2].split()[0] for each in (*page["items"], *rest["items"])]
        assert seen == ["0x100000", "0x100000/0xffff0000", "0x100000", "0x100000/0xffffff00"]


async def test_what_has_changed_is_sent_again(socket: Path) -> None:
    """Counters are a part of the answer, and of its ETag."""
    async with api(socket) as client:
        dumped: Any = Dumped()
        client.app.state.dumps = dumped
        key = (await client.get("/v1/flows?limit=1")).json()["items"][0]["id"]
        for path in ("/v1/flows", f"/v1/flows/{key}"):
            known = {"If-None-Match": (await client.get(path)).headers["etag"]}
            assert (await client.get(path, headers=known)).status_code == 304
            dumped.flows = [each._replace(packets=each.packets + 1) for each in dumped.flows]
            assert (await client.get(path, headers=known)).status_code == 200
