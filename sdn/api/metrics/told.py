"""What is counted as it happens: revisions and their convergence, sessions that break, drift.

Enters: updates of the store, one by one. Leaves: histograms and counters of a registry of its own. Never: what happened
before this process came up, which Prometheus would take for news.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from datapath.events import HOWS
from sdn.lab import condition
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.model.history import Revision
from sdn.store import Update

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Bounds of the buckets: a flow is confirmed within some 10 ms, a lab of guests is whole within a minute."""

_ORIGINS: Final = ("cli", "rest", "rollback", "other")
"""Counters begin at 0: of one that comes into being with its first event, Prometheus sees no increase."""

Stage = Literal["flows", "whole"]
Revisions = Callable[[], Mapping[int, Revision]]

disable_created_metrics()  # type: ignore[no-untyped-call]  # Prometheus sees a reset by the numbers


class Told:
    """Of one lab. `fold` takes each update; `revisions` is `Store.revisions` or something like it."""

    def __init__(self, lab: str, revisions: Revisions, now: Callable[[], float] = time.time) -> None:
        self.registry: Final = CollectorRegistry(auto_describe=True)
        self._lab, self._revisions, self._now = lab, revisions, now
        self._open: dict[Stage, set[int]] = {"flows": set(), "whole": set()}
        self._seen: int | None = None
        self._connected: dict[str, bool] = {}
        self._drifts: dict[str, bool] | None = None
        """Those known, and whether they are repaired."""
        self._convergence = self._histogram(
            "sdn_convergence_seconds",
            "From the writing of a revision until every switch has confirmed its flows by a barrier (flows), until it "
            "is built everywhere too (whole).",
            "stage",
        )
        self._repair = self._histogram("sdn_drift_repair_seconds", "From finding drift until it is put right.")
        self._written = self._counter("sdn_revisions", "Changes of the lab's intent, by who asks.", "origin")
        self._losses = self._counter("sdn_session_losses", "OpenFlow sessions that broke off.", "chassis")
        self._found = self._counter("sdn_drifts", "What others changed behind sdn's back.", "chassis", "how")
        for stage in self._open:
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

    def fold(self, update: Update) -> None:
        self._fold_revisions(update.model)
        self._fold_confirmations(update.model, update.facts)
        self._fold_sessions(update.facts.flows)
        self._fold_drifts(update.facts)

    def _fold_revisions(self, model: Model) -> None:
        if self._seen is not None:
            revisions = self._revisions()
            fresh = [number for number in range(self._seen + 1, model.revision + 1) if number in revisions]
            for number in fresh:
                self._written.labels(self._lab, origin(revisions[number].origin)).inc()
            for stage in self._open.values():
                stage.update(fresh)
        self._seen = model.revision

    def _fold_confirmations(self, model: Model, facts: Facts) -> None:
        self._confirm("flows", _flows_confirmed(model, facts))
        self._confirm("whole", condition.confirmed_revision(model, facts))

    def _confirm(self, stage: Stage, upto: int) -> None:
        revisions, waiting = self._revisions(), self._open[stage]
        for number in [each for each in waiting if each <= upto]:
            waiting.discard(number)
            if (revision := revisions.get(number)) is not None:
                self._convergence.labels(self._lab, stage).observe(max(0.0, self._now() - revision.time))

    def _fold_sessions(self, flows: Mapping[str, FlowFacts]) -> None:
        for chassis, seen in flows.items():
            if self._connected.get(chassis) and not seen.connected:
                self._losses.labels(self._lab, chassis).inc()
        self._connected = {chassis: seen.connected for chassis, seen in flows.items()}
        for chassis in self._connected:
            self._losses.labels(self._lab, chassis)
            for how in HOWS:
                self._found.labels(self._lab, chassis, how)

    def _fold_drifts(self, facts: Facts) -> None:
        known, self._drifts = self._drifts, {key: bool(drift.repaired) for key, drift in facts.drifts.items()}
        if known is None:
            return
        for key, drift in facts.drifts.items():
            if key not in known:
                self._found.labels(self._lab, drift.chassis, drift.how).inc()
            if drift.repaired and not known.get(key):
                self._repair.labels(self._lab).observe(max(0.0, drift.repaired - drift.found))


def _flows_confirmed(model: Model, facts: Facts) -> int:
    """The newest revision whose flows every switch has; where there are no flow tables, none waits for them."""
    switches: Iterable[str] = (name for name in condition.managed(model) if model.chassis[name].has_tables)
    return min((facts.flows.get(name, FlowFacts()).revision for name in switches), default=model.revision)


def origin(command: str) -> str:
    """A word for what a revision came by, of few: `sdn apply web.yaml` → `cli`, `PATCH /v1/nodes/a` → `rest`."""
    first = command.partition(" ")[0]
    if "rollback" in command.split()[:2]:
        return "rollback"
    if first in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        return "rest"
    return "cli" if first == "sdn" else "other"
