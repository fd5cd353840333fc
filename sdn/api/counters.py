"""Counters for who looks: all ports, tunnels and uplinks now, or a stream of what they do.

Enters: requests. Leaves: totals and rates, as arrays, since a thousand ports change every second. Never: a switch asked
while nobody looks, or twice because two do: streams of one interval tick together and share what was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from sdn.api import openapi
from sdn.api.answer import answer, encode
from sdn.api.live import live_of
from sdn.api.samples import Samples, Traffic
from sdn.southbound.counters import Counters

TOTALS: Final = Counters._fields
RATES: Final = ("rx_packets_rate", "tx_packets_rate", "rx_bytes_rate", "tx_bytes_rate")
"""Of the first four totals, per second."""
COLUMNS: Final = (*TOTALS, *RATES)
SHORTEST, LONGEST = 0.2, 60.0
"""Seconds between two events."""
FRESH: Final = 0.2
"""Seconds for which a reading is good for the next who asks."""

Interval = Annotated[float, Query(ge=SHORTEST, le=LONGEST, description="Seconds between two events.")]
Figures = list[float]

_ROWS: Final = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["lab", "time", "columns", "ports", "tunnels", "uplinks", "down", "missing"],
    "properties": {
        "lab": {"type": "string"},
        "time": {"type": "number", "description": "Seconds since the epoch."},
        "seconds": {"type": "number", "description": "Since the event before: what rates are over."},
        "columns": {"type": "array", "items": {"type": "string"}, "description": "What the numbers of a row are."},
        "ports": {**_ROWS, "description": "By node:interface, as the node sees it: rx is what it has received."},
        "tunnels": {
            **_ROWS,
            "description": "By chassis:kind[:network[:peer]], as the chassis sees it: one port of its bridge carries "
            "the tunnels to all others. /v1/links says under `counters` which are a tunnel's.",
        },
        "uplinks": {**_ROWS, "description": "By link, such as hv1--office, as the chassis sees it."},
        "down": {"type": "array", "items": {"type": "string"}, "description": "Those without a carrier."},
        "missing": {"type": "object", "description": "Chassis that did not say, and why."},
    },
}
_STREAM: Final = (
    "Events `counters`. The first has everything, the others those whose totals have changed: one that is "
    "missing has the totals that it had, and rates of 0."
)


def router() -> APIRouter:
    made = APIRouter(tags=["counters"])

    @made.get(
        "/v1/counters",
        summary="Counters of all ports, tunnels and uplinks",
        response_model=None,
        responses={**openapi.found("Totals", _BODY), **openapi.refusals()},
    )
    async def _counters(request: Request) -> Response:
        samples: Samples = request.app.state.samples
        return answer(body(live_of(request).lab, await samples.traffic.get(FRESH)))

    @made.get(
        "/v1/counters/stream",
        summary="Counters as they change",
        response_model=None,
        responses={**_streamed(), **openapi.refusals()},
    )
    async def _stream(request: Request, interval: Interval = 1.0) -> Response:
        samples: Samples = request.app.state.samples
        first = await samples.traffic.get(FRESH)  # what is wrong is said by the status, while there is one
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = _events(live_of(request).lab, samples, first, interval)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    return made


def _streamed() -> dict[int | str, dict[str, Any]]:
    return {200: {"description": _STREAM, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


async def _events(lab: str, samples: Samples, last: Traffic, interval: float) -> AsyncIterator[bytes]:
    """At multiples of the interval, whenever they began: who ticks together gets the same bytes."""
    yield _event(body(lab, last))
    while True:
        await asyncio.sleep(interval - time.time() % interval)
        now = await samples.traffic.get(min(interval, 1.0) / 2)
        yield _block(lab, last, now) if now is not last else b": nothing new\n\n"
        last = now


def _event(content: Mapping[str, Any]) -> bytes:
    return b"event: counters\ndata: %b\n\n" % encode(content)


class _Pair:
    """Two samples as a key, by what they are and not by what is in them."""

    def __init__(self, lab: str, last: Traffic, now: Traffic) -> None:
        self.lab, self.last, self.now = lab, last, now

    def __hash__(self) -> int:
        return hash((id(self.last), id(self.now)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair) and self.last is other.last and self.now is other.now


def _block(lab: str, last: Traffic, now: Traffic) -> bytes:
    return _made(_Pair(lab, last, now))


@lru_cache(8)
def _made(pair: _Pair) -> bytes:
    return _event(body(pair.lab, pair.now, pair.last))


def body(lab: str, now: Traffic, last: Traffic | None = None) -> dict[str, Any]:
    """With rates where there is a sample before, and then without what has not changed."""
    seconds = now.time - last.time if last else 0.0
    content: dict[str, Any] = {"lab": lab, "time": now.time}
    if last:
        content["seconds"] = round(seconds, 6)
    return {
        **content,
        "columns": COLUMNS if last else TOTALS,
        "ports": dict(_rows(now.ports, last.ports if last else None, seconds)),
        "tunnels": dict(_rows(_out(now, "tunnel"), _out(last, "tunnel") if last else None, seconds)),
        "uplinks": dict(_rows(_out(now, "uplink"), _out(last, "uplink") if last else None, seconds)),
        "down": [outlet.label for outlet, device in now.outlets.items() if not device.up],
        "missing": now.missing,
    }


def _out(traffic: Traffic, kind: str) -> dict[str, Counters]:
    return {outlet.label: device.counters for outlet, device in traffic.outlets.items() if outlet.kind == kind}


def _rows(
    now: Mapping[str, Counters], last: Mapping[str, Counters] | None, seconds: float
) -> Iterator[tuple[str, Figures]]:
    for name, counted in now.items():
        if last is None:
            yield name, [*counted]
        elif counted != (before := last.get(name)):
            yield name, [*counted, *_rates(counted, before, seconds)]


def _rates(now: Counters, last: Counters | None, seconds: float) -> Figures:
    """0 for what is new, or has begun anew."""
    if last is None or seconds <= 0:
        return [0.0] * len(RATES)
    steps = [now[place] - last[place] for place in range(len(RATES))]
    return [round(max(0, step) / seconds, 3) for step in steps]
