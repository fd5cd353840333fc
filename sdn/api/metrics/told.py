"""What is counted as it happens: revisions and their convergence, sessions that break, drift.

Enters: what the store remembers, and updates of it, one by one. Leaves: histograms and counters of a registry of its
own, but for sessions the same in any two processes of a lab. Never: a number made of a history with a gap: what is
lower than before begins anew for Prometheus, which would take all of it for news. There it counts from now on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from datapath.events import HOWS
from sdn.model.facts import Drift, Facts, FlowFacts
from sdn.model.history import Revision
from sdn.store.commands import KEPT_DRIFTS

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Bounds of the buckets: a flow is confirmed within some 10 ms, a lab of guests is whole within a minute."""

FIRST: Final = 1
"""A lab's first revision: with it the store has all."""

_ORIGINS: Final = ("cli", "rest", "rollback", "other")
"""Counters begin at 0: of one that comes into being with its first event, Prometheus sees no increase."""

Stage = Literal["flows", "whole"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
Revisions = Callable[[], Mapping[int, Revision]]

disable_created_metrics()  # type: ignore[no-untyped-call]  # Prometheus sees a reset by the numbers


class Told:
    """Of one lab. `fold` takes the facts of each update; `revisions` is `Store.revisions` or something like it."""

    def __init__(self, lab: str, revisions: Revisions) -> None:
        self.registry: Final = CollectorRegistry(auto_describe=True)
        self._lab, self._revisions = lab, revisions
        self._known: Mapping[int, Revision] | None = None
        self._drifts: Mapping[str, Drift] | None = None
        self._connected: dict[str, bool] = {}
        self._convergence = self._histogram(
            "sdn_convergence_seconds",
            "From the writing of a revision until every switch has confirmed its flows by a barrier (flows), until it "
            "is built everywhere too (whole).",
            "stage",
        )
        self._repair = self._histogram(
            "sdn_drift_repair_seconds",
            "From finding drift until it is put right; where that is undone again and again, the first times.",
        )
        self._written = self._counter("sdn_revisions", "Changes of the lab's intent, by who asks.", "origin")
        self._losses = self._counter("sdn_session_losses", "OpenFlow sessions that broke off.", "chassis")
        self._found = self._counter("sdn_drifts", "What others changed behind sdn's back.", "chassis", "how")
        self._repaired = self._counter("sdn_drift_repairs", "What of it was put right.", "chassis", "how")
        for stage in STAGES:
            self._convergence.labels(lab, stage)
        for word in _ORIGINS:
            self._written.labels(lab, word)
        self._repair.labels(lab)

    def text(self, *, open_metrics: bool) -> bytes:
        """With OpenMetrics' end, `# EOF`."""
        write: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest if open_metrics else generate_latest
        return write(self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, ("lab", *labels), buckets=SECONDS, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ("lab", *labels), registry=self.registry)

    def fold(self, facts: Facts) -> None:
        """The first time all that the store remembers is news, unless it has forgotten some."""
        self._fold_revisions(self._revisions())
        self._fold_sessions(facts.flows)
        self._fold_drifts(facts.drifts)

    def _fold_revisions(self, revisions: Mapping[int, Revision]) -> None:
        known, self._known = self._known, revisions
        if known is revisions:
            return
        if known is None:
            known = {} if FIRST in revisions else revisions
        for number, revision in revisions.items():
            before = known.get(number)
            if before is None:
                self._written.labels(self._lab, origin(revision.origin)).inc()
            if revision.settled and not (before and before.settled):
                self._converged("flows", revision.flows_seconds)
                self._converged("whole", revision.seconds)

    def _converged(self, stage: Stage, seconds: float | None) -> None:
        if seconds is not None:
            self._convergence.labels(self._lab, stage).observe(max(0.0, seconds))

    def _fold_sessions(self, flows: Mapping[str, FlowFacts]) -> None:
        for chassis, seen in flows.items():
            if self._connected.get(chassis) and not seen.connected:
                self._losses.labels(self._lab, chassis).inc()
        self._connected = {chassis: seen.connected for chassis, seen in flows.items()}
        for chassis in self._connected:
            self._losses.labels(self._lab, chassis)
            for how in HOWS:
                self._found.labels(self._lab, chassis, how)
                self._repaired.labels(self._lab, chassis, how)

    def _fold_drifts(self, drifts: Mapping[str, Drift]) -> None:
        known, self._drifts = self._drifts, drifts
        if known is None:
            known = {} if len(drifts) < KEPT_DRIFTS else drifts
        for key, drift in drifts.items():
            before = known.get(key)
            if before is not drift and before != drift:
                self._fold_drift(before or replace(drift, times=0, repairs=0, took=()), drift)

    def _fold_drift(self, before: Drift, drift: Drift) -> None:
        labels = self._lab, drift.chassis, drift.how
        self._found.labels(*labels).inc(drift.times - before.times)
        self._repaired.labels(*labels).inc(drift.repairs - before.repairs)
        for seconds in drift.took[len(before.took) :]:
            self._repair.labels(self._lab).observe(max(0.0, seconds))


def origin(command: str) -> str:
    """A word for what a revision came by, of few: `sdn apply web.yaml` → `cli`, `PATCH /v1/nodes/a` → `rest`."""
    first = command.partition(" ")[0]
    if "rollback" in command.split()[:2]:
        return "rollback"
    if first in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        return "rest"
    return "cli" if first == "sdn" else "other"
