"""The drifts of one process on their way to the store: told when found, and again when put right, or not.

Enters: drifts of flows with what they are about, by chassis; what is still wrong. Leaves: facts for the reporter, under
keys that no other process has, nor this one after a restart. Never: a drift told as repaired of which something is
still wrong. What is one drift, and how fast it is put right, `datapath.drift` says for flows too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from datapath import events
from datapath.drift import Ledger, words_of
from sdn.model.facts import Drift

LOG = logging.getLogger(__name__)

Tell = Callable[[str, Drift], None]
"""Gets key and drift."""


def to_store(by: str, tell: Tell) -> Callable[[events.Drift], None]:
    """Takes the events of the process `by`."""
    prefix = f"{by}-{time.time_ns() // 1_000_000:x}"

    def take(event: events.Drift) -> None:
        told = {field.name: getattr(event, field.name) for field in fields(Drift)}
        tell(f"{prefix}-{event.number}", Drift(**told))

    return take


class DriftLog:
    """Of the process `by`; a thing is whatever tells one from the other, a flow's key."""

    def __init__(self, by: str, tell: Tell, clock: Callable[[], float] = time.time) -> None:
        self._tell = to_store(by, tell)
        self._clock = clock
        self._ledger = Ledger(self._say, clock)

    def found(self, drifts: Mapping[events.Drift, frozenset[Any]]) -> None:
        """Each, not numbered yet, with the things that it is about."""
        for drift, about in drifts.items():
            self._ledger.record(drift, about)

    def settle(self, chassis: str, troubles: Mapping[Any, str]) -> None:
        """All of a chassis is as it shall be, except for what is in `troubles`."""
        self._ledger.look(chassis)
        self._ledger.settle(chassis, lambda entry: next((troubles[e] for e in entry.about if e in troubles), ""))

    def failed(self, chassis: str, error: str) -> None:
        """It could not be put right yet."""
        self._ledger.fail(error, chassis)

    def forget(self, chassis: str) -> None:
        """It is none of ours any more."""
        self._ledger.forget(chassis)

    def hold(self, chassis: str, things: Iterable[Hashable] | None) -> float:
        """Seconds until the first of these should be put right, longer than 0 where somebody fights for all of them;
        None: nobody knows which they are."""
        due = self._ledger.hold(chassis) if things is None else self._ledger.due(chassis, things)
        return max(0.0, due - self._clock())

    def fights(self, chassis: str) -> list[str]:
        return [words_of(fight) for fight in self._ledger.fights() if fight.chassis == chassis]

    def _say(self, drift: events.Drift) -> None:
        if drift.repaired:
            LOG.info("%s: put right after %.0f ms", drift.chassis, (drift.repaired - drift.found) * 1000)
        elif not drift.error:
            LOG.info("%s: %s %s behind our back (%d)", drift.chassis, drift.what, drift.how, drift.times)
        self._tell(drift)
