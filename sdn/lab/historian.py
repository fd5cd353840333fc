"""The historian: says how each revision ended, once every chassis has confirmed it.

Enters: updates of the store. Leaves: calls of `Store.settle`: a revision is confirmed, and what was wrong in the lab
then. Never: a state of its own: a revision that ended while no historian ran is settled by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from datapath.errors import SdnError
from sdn.bounds import REVISIONS_KEPT
from sdn.lab.condition import chassis_troubles, confirmed_revision, managed
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.store import Update

LOG = logging.getLogger(__name__)
RETRY: Final = 0.2  # seconds

Settle = Callable[[int, Sequence[str], Sequence[tuple[int, float]]], None]
"""Gets a revision, what was wrong, and up to which revision flows were confirmed at which time."""
REMEMBERED: Final = 64
"""Models that are not confirmed yet."""
TOLD: Final = 20
"""Troubles that are written down with a revision; a large lab that is down has one for each port."""


class Historian:
    """`settle` is `Store.settle` or something like it: it blocks."""

    def __init__(self, settle: Settle, clock: Callable[[], float] = time.time) -> None:
        self._settle = settle
        self._clock = clock
        self._settled = 0
        self._flows: deque[tuple[int, float]] = deque(maxlen=REVISIONS_KEPT)
        """Up to which revision they were confirmed at which time, since the one that was settled last."""
        self._models: deque[Model] = deque(maxlen=REMEMBERED)

    async def run(self, updates: asyncio.Queue[Update]) -> None:
        """Follow the store until cancelled."""
        while True:
            update = await updates.get()
            if not self._models or self._models[-1].revision != update.model.revision:
                self._models.append(update.model)
            self._note_flows(update.model, update.facts)
            revision = confirmed_revision(update.model, update.facts)
            if revision > self._settled:
                await self._write(revision, troubles_at(revision, update.model, update.facts, self._models))
                self._settled = revision
                self._forget()

    def _note_flows(self, model: Model, facts: Facts) -> None:
        revision = flows_confirmed(model, facts)
        if revision > (self._flows[-1][0] if self._flows else self._settled):
            self._flows.append((revision, self._clock()))

    async def _write(self, revision: int, errors: Sequence[str]) -> None:
        """What the store will never take is left to the next revision, which settles this one too."""
        while True:
            try:
                return await asyncio.to_thread(self._settle, revision, errors, tuple(self._flows))
            except SdnError as error:
                LOG.warning("revision %d is not settled: %s", revision, error)
                if not error.retry:
                    return None
                await asyncio.sleep(RETRY)

    def _forget(self) -> None:
        while len(self._models) > 1 and self._models[1].revision <= self._settled:
            self._models.popleft()
        while self._flows and self._flows[0][0] <= self._settled:
            self._flows.popleft()


def flows_confirmed(model: Model, facts: Facts) -> int:
    """The newest revision whose flows every switch has; where there are no flow tables, none waits for them."""
    switches = (name for name in managed(model) if model.chassis[name].has_tables)
    return min((facts.flows.get(name, FlowFacts()).revision for name in switches), default=model.revision)


def troubles_at(revision: int, model: Model, facts: Facts, known: Sequence[Model]) -> list[str]:
    """What is wrong in the lab, without what came after `revision`: that may be on its way. `known` are Models that
    were in the store, the oldest first; where none is old enough only the chassis are spoken of."""
    if revision < model.revision:
        then = next((each for each in reversed(known) if each.revision <= revision), None)
        model = _since(then, model).with_revision(revision)
    found = chassis_troubles(model, facts)
    more = [f"and {len(found) - TOLD} more"] if len(found) > TOLD else []
    return [*found[:TOLD], *more]


def _since(then: Model | None, model: Model) -> Model:
    """`model` with those ports and guests only that are as they were."""
    if then is None:
        return replace(model, guests={}, ports={})
    guests = {name: guest for name, guest in model.guests.items() if then.guests.get(name) == guest}
    ports = {
        name: port
        for name, port in model.ports.items()
        if then.ports.get(name) == port and (port.node in guests or port.node not in model.guests)
    }
    return replace(model, guests=guests, ports=ports)
