"""Counters for who looks: rates between two samples, streams that tick together, readings that are shared."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI

from datapath.errors import TransientError
from sdn.api import counters
from sdn.api.latest import Latest
from sdn.api.samples import Samples, Traffic
from sdn.southbound.counters import Counters
from tests.unit.api import observed
from tests.unit.api.asked import Asked

ZERO = Counters(*[0] * 8)


def traffic(time: float, **ports: Counters) -> Traffic:
    return Traffic(time, ports, {})


def row(body: dict[str, dict[str, list[float]]], port: str) -> dict[str, float]:
    return dict(zip(body["columns"], body["ports"][port], strict=True))


def test_totals() -> None:
    model = observed.model()
    body = counters.body("watched", observed.traffic(model, missing={"hv2": "it is away"}))
    assert row(body, "b:eth0")["rx_packets"] == observed.traffic(model).ports["b:eth0"].rx_packets
    assert set(body["tunnels"]) == {"hv1:vxlan", "hv2:vxlan"}
    assert set(body["uplinks"]) == {"hv1--office"}
    assert body["down"] == ["hv2:vxlan"]
    assert body["missing"] == {"hv2": "it is away"}


def test_rates() -> None:
    before, after = traffic(100.0, a=ZERO), traffic(102.0, a=Counters(10, 20, 3000, 4000, 1, 0, 0, 0))
    body = counters.body("watched", after, before)
    found = row(body, "a")
    assert (found["rx_packets_rate"], found["tx_packets_rate"]) == (5.0, 10.0)
    assert (found["rx_bytes_rate"], found["tx_bytes_rate"]) == (1500.0, 2000.0)
    assert found["tx_bytes"] == 4000
    assert body["seconds"] == 2.0


def test_what_has_not_changed_is_left_out() -> None:
    body = counters.body("watched", traffic(2.0, a=ZERO, b=ZERO), traffic(1.0, a=ZERO))
    assert set(body["ports"]) == {"b"}


@pytest.mark.parametrize("last", [{}, {"a": Counters(*[1 << 40] * 8)}])
def test_what_is_new_or_begins_anew_has_no_rate(last: dict[str, Counters]) -> None:
    body = counters.body("watched", traffic(2.0, a=observed.counters(5)), traffic(1.0, **last))
    assert row(body, "a")["rx_bytes_rate"] == 0


async def test_who_asks_meanwhile_gets_the_same() -> None:
    asked = 0
    ready = asyncio.Event()

    async def read() -> int:
        nonlocal asked
        asked += 1
        await ready.wait()
        return asked

    latest = Latest(read)
    waiting = [asyncio.create_task(latest.get(60)) for _ in range(20)]
    await asyncio.sleep(0)
    ready.set()
    assert await asyncio.gather(*waiting) == [1] * 20
    assert await latest.get(0) == 2


async def test_a_reading_that_fails_is_not_kept() -> None:
    answers = [TransientError("away"), 7]

    async def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    latest = Latest(read)
    with pytest.raises(TransientError):
        await latest.get(60)
    assert await latest.get(60) == 7


class Moving:
    """Samples of which each reading has more."""

    def __init__(self) -> None:
        self.readings = 0
        self.traffic = Latest(self._read)

    async def _read(self) -> Traffic:
        self.readings += 1
        found = observed.traffic(observed.model(), step=self.readings)
        return replace(found, time=100.0 + self.readings)


async def test_streams_share_what_is_read() -> None:
    """They tick together, whenever each began."""
    moving: Any = Moving()

    async def listen() -> list[bytes]:
        first = await moving.traffic.get(counters.FRESH)
        stream = counters._events("watched", moving, first, counters.SHORTEST)
        return [await anext(stream) for _ in range(4)]

    heard = await asyncio.gather(*(listen() for _ in range(5)))
    assert moving.readings <= 10, "of twenty, if each read for itself"
    content = json.loads(next(block for block in heard[0][1:] if b"data: " in block).partition(b"data: ")[2])
    assert content["columns"] == list(counters.COLUMNS)


def test_one_step_is_written_out_once() -> None:
    before, after = traffic(1.0, a=ZERO), traffic(2.0, a=observed.counters(1))
    assert counters._block("watched", before, after) is counters._block("watched", before, after)
    assert counters._block("watched", after, before) != counters._block("watched", before, after)


async def test_nobody_is_asked_when_nobody_listens() -> None:
    app, moving = FastAPI(), Moving()
    app.state.samples, app.state.live = moving, observed.live()
    app.include_router(counters.router())
    stream = Asked(app, "/v1/counters/stream")
    stream.body(b"")
    first = await stream.until("http.response.body")
    assert first["body"].startswith(b"event: counters\ndata: {")
    stream.say({"type": "http.disconnect"})
    await stream.end()
    assert stream.task.done()
    assert moving.readings == 1


async def test_a_chassis_that_is_away_is_named() -> None:
    live = observed.live()
    found = await Samples(live).traffic.get(0)
    assert found.missing == {name: f"{name}: nobody listens" for name in live.model.chassis}
    assert not found.ports
