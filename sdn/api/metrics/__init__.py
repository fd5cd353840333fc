"""EDGE: GET /metrics for Prometheus: what was told as it happened, what the store says, what switches have counted.

Enters: a request. Leaves: text, in Prometheus' format or in OpenMetrics, as `Accept` asks. Never: work between scrapes
but to fold updates; more than one reading of the switches a second, whoever scrapes.

    store ─ updates ─▶ told      histograms and counters (prometheus-client)     ┐
    Model, Facts ────▶ known     gauges                                          ├─▶ text
    switches ─ samples ▶ counted counters of ports, links, tables, drops         │
    /proc ───────────▶ usage     processes, guests                               ┘

A series has the label `lab`. Names and units are by Prometheus' conventions (prometheus.io/docs/practices/naming).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from datapath.errors import FileError
from sdn.api.latest import Latest
from sdn.api.live import Live
from sdn.api.metrics import counted, known, usage
from sdn.api.metrics.render import Family, text
from sdn.api.metrics.told import Told
from sdn.api.openapi import refusals
from sdn.api.samples import Losses, Samples, Traffic

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN: Final = CONTENT_TYPE_LATEST
FRESH: Final = 1.0
"""Seconds for which a second scraper is told what the first one was."""


class Metrics:
    """Of one lab."""

    def __init__(self, live: Live, samples: Samples) -> None:
        self.told: Final = Told(live.lab, live.store.revisions)
        self._live, self._samples = live, samples
        self._boot = usage.boot_time()
        self._texts: Final = {PLAIN: Latest(self._plain), OPEN: Latest(self._open)}

    async def run(self) -> None:
        """Count what has happened, and what happens, until cancelled."""
        with self._live.subscribe() as updates:
            self.told.fold(self._live.facts)
            while True:
                self.told.fold((await updates.get()).facts)

    async def text(self, form: str) -> bytes:
        """`form` is PLAIN or OPEN."""
        return await self._texts[form].get(FRESH)

    async def _plain(self) -> bytes:
        return (await self._seen(open_metrics=False)).encode() + self.told.text(open_metrics=False)

    async def _open(self) -> bytes:
        """The end of all is told once, after the last family."""
        return (await self._seen(open_metrics=True)).encode() + self.told.text(open_metrics=True)

    async def _seen(self, *, open_metrics: bool) -> str:
        started = time.perf_counter()
        always = {"lab": self._live.lab}
        try:
            asked = self._samples.traffic.get(FRESH), self._samples.losses.get(FRESH)
            traffic, losses = await asyncio.gather(*asked)
        except FileError:  # nothing has been applied yet
            return text(self._of_processes(), always, open_metrics=open_metrics)
        families = self._families(traffic, losses)
        shown = await asyncio.to_thread(text, families, always, open_metrics=open_metrics)  # others are answered too
        took = [((), round(time.perf_counter() - started, 6))]
        family = Family("sdn_scrape_duration_seconds", "gauge", "What collecting all of this took.", rows=took)
        return shown + text([family], always, open_metrics=open_metrics)

    def _families(self, traffic: Traffic, losses: Losses) -> Iterator[Family]:
        model, facts = self._live.model, self._live.facts
        yield from known.families(model, facts)
        yield from counted.of_traffic(model, traffic)
        yield from counted.of_losses(model, losses)
        yield from self._of_processes()

    def _of_processes(self) -> Iterator[Family]:
        live = self._live
        chassis = live.model.chassis if live.revision else ()
        guests = {name: seen.pid for name, seen in live.facts.guests.items()}
        return usage.families(live.run, chassis, guests, self._boot)


def router() -> APIRouter:
    made = APIRouter(tags=["metrics"])

    @made.get(
        "/metrics",
        summary="Metrics for Prometheus",
        description="All series have the label `lab`. Revisions and drift are counted since the lab came up, or where "
        "the store has forgotten the first of them since this process did; sessions that break since this process did.",
        response_model=None,
        responses=_answers(),
    )
    async def _metrics(request: Request) -> Response:
        metrics: Metrics = request.app.state.metrics
        form = OPEN if "application/openmetrics-text" in request.headers.get("accept", "") else PLAIN
        return Response(await metrics.text(form), headers={"Content-Type": form})

    return made


_SAMPLE: Final = 'sdn_flows{lab="web",chassis="hv1"} 112\n'


def _answers() -> dict[int | str, dict[str, Any]]:
    content = {
        "text/plain": {"schema": {"type": "string"}, "example": _SAMPLE},
        "application/openmetrics-text": {"schema": {"type": "string"}, "example": f"{_SAMPLE}# EOF\n"},
    }
    text = "In Prometheus' text format; in OpenMetrics where `Accept` has application/openmetrics-text"
    return {200: {"description": text, "content": content}, **refusals()}
