"""What others have changed on one switch and is not put right yet, and how many flows of theirs are there. PURE.

Enters: what the switch's flow monitor tells, what a comparison has seen. Leaves: what is to be put right, and whether
that is known to be all. Never: a message; a judgement about a flow, which is `sdn.drift`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from datapath.openflow.codec import FlowEvent, FlowUpdate
from datapath.openflow.flow import Flow, FlowKey
from sdn import drift
from sdn.drift import Found
from sdn.pipeline.fields import is_ours

ONE_BY_ONE: Final = 256
"""Flows that are put right without looking at all others of their switch."""


@dataclass(slots=True)
class Heard:
    """`unsure`: the switch could not tell everything. `since` is in seconds since the epoch, 0 where nothing is found
    yet."""

    found: dict[FlowKey, Found] = field(default_factory=dict)
    unsure: bool = False
    since: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.found) or self.unsure

    @property
    def is_known(self) -> bool:
        """Whether flows can be put right one by one."""
        return not self.unsure and len(self.found) <= ONE_BY_ONE


class Stirs:
    """Of one session after the other: what one of them told is forgotten with it."""

    def __init__(self) -> None:
        self.heard = Heard()
        """Since it was taken last."""
        self.foreign: set[int] = set()
        """Hashes of the keys of flows that are not the lab's, in tables of which the switch tells what goes: of a
        user's 100,000 these are 6 MB. Nothing gets into another table but by one of them, which is counted."""
        self._paused = False
        """The switch has more to tell than we have read."""

    def forget(self) -> None:
        """It was another session's."""
        self.heard, self._paused = Heard(), False

    def take(self) -> Heard:
        """What is put right now."""
        taken, self.heard = self.heard, Heard()
        return taken

    def hear(self, updates: Iterable[FlowUpdate], desired: Callable[[FlowKey], Flow | None], when: float) -> None:
        """Of updates that are about us.

        While a switch that has too much to tell pauses, it tells of what we do too: nothing of that is taken.
        """
        for update in updates:
            self.heard.unsure |= update.event is FlowEvent.RESUMED
            if update.flow is None:
                self._paused = update.event is FlowEvent.PAUSED
            elif not self._paused and (found := drift.judge(update, desired)):
                self.heard.since = self.heard.since or when
                self.heard.found[found.flow.key] = found

    def have_seen(self, foreign: Iterable[FlowKey]) -> None:
        """In a comparison; those that were added to the table of what is learned are found by nothing else."""
        self.foreign = {hash(key) for key in foreign if key.table in drift.WATCHED}

    def count(self, updates: Iterable[FlowUpdate]) -> bool:
        """Whether there are more or fewer flows by now that are not the lab's."""
        before = len(self.foreign)
        for flow, event in ((update.flow, update.event) for update in updates if update.flow is not None):
            if event is FlowEvent.REMOVED or is_ours(flow.cookie):
                self.foreign.discard(hash(flow.key))
            else:
                self.foreign.add(hash(flow.key))
        return len(self.foreign) != before
