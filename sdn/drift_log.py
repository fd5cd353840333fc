"""The drifts of one process on their way to the store: told when found, and again when put right, or not.

Enters: Drift values with what they are about, by chassis; what is still wrong. Leaves: facts for the reporter, under
keys that no other process has, nor this one after a restart. Never: a drift told as repaired of which something is
still wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from sdn.model.facts import Drift

LOG = logging.getLogger(__name__)


@dataclass
class _Open:
    """Found, and not put right as far as is known."""

    key: str
    drift: Drift
    about: frozenset[Hashable]


class DriftLog:
    """Of the process `by`; `tell` gets key and drift."""

    def __init__(self, by: str, tell: Callable[[str, Drift], None]) -> None:
        self._tell = tell
        self._numbers = count(1)
        self._prefix = f"{by}-{time.time_ns() // 1_000_000:x}"
        self._open: dict[str, list[_Open]] = {}

    def found(self, drifts: Mapping[Drift, frozenset[Any]]) -> None:
        """Each with what it is about."""
        for drift, about in drifts.items():
            opened = _Open(f"{self._prefix}-{next(self._numbers)}", drift, about)
            self._open.setdefault(drift.chassis, []).append(opened)
            LOG.info("%s: %s %s behind our back", drift.chassis, drift.what, drift.how)
            self._tell(opened.key, drift)

    def settle(self, chassis: str, troubles: Mapping[Any, str]) -> None:
        """All of a chassis is as it shall be, except for what is in `troubles`."""
        now = time.time()
        still = []
        for opened in self._open.pop(chassis, []):
            wrong = [troubles[each] for each in opened.about if each in troubles]
            if wrong:
                still.append(opened)
            else:
                LOG.info("%s: put right after %.0f ms", chassis, (now - opened.drift.found) * 1000)
            self._say(opened, replace(opened.drift, repaired=0.0 if wrong else now, error=wrong[0] if wrong else ""))
        if still:
            self._open[chassis] = still

    def failed(self, chassis: str, error: str) -> None:
        """It could not be put right yet."""
        for opened in self._open.get(chassis, ()):
            self._say(opened, replace(opened.drift, error=error))

    def forget(self, chassis: str) -> None:
        """It is none of ours any more."""
        self._open.pop(chassis, None)

    def _say(self, opened: _Open, drift: Drift) -> None:
        if drift != opened.drift:
            opened.drift = drift
            self._tell(opened.key, drift)
