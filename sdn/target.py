"""A chassis' switch as the controller sees it.

Enters: what the controller owes a switch, what others have changed there. Leaves: FlowFacts. Never: a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from datapath.openflow.codec import FlowEvent, FlowUpdate
from datapath.openflow.flow import Flow, FlowKey
from sdn.drift import Found
from sdn.model.facts import NO_ANSWER, FlowFacts
from sdn.pipeline.fields import is_ours
from sdn.pipeline.program import FlowChange
from sdn.southbound.changes import Changes
from sdn.southbound.requests import Watch

TOLD = 3
"""Missing flows of a chassis that are told one by one."""


class Switch(Protocol):
    """What the controller needs of a session."""

    dpid: int | None
    on_silence: Callable[[bool], None] | None

    async def monitor(self, tables: Mapping[int, Watch], on_updates: Callable[[list[FlowUpdate]], None]) -> None: ...

    async def barrier(self) -> None: ...

    async def reconcile(self, desired: Mapping[FlowKey, Flow]) -> Changes: ...

    async def program(
        self, add: Iterable[Flow] = (), change: Iterable[Flow] = (), remove: Iterable[Flow] = ()
    ) -> int: ...


@dataclass
class Target:
    """A chassis' switch as the controller sees it. `owed` is what it has not been sent yet; None means all of it.

    `troubles` are flows that it does not have as it should: the switch refused them, or somebody else has their place.
    As long as there are any, everything is compared at each change, so that nobody else's flow is overwritten.
    """

    chassis: str
    switch: Switch | None = None
    revision: int = 0
    confirmed: int = 0
    error: str = ""
    is_silent: bool = False
    """It does not answer, or did not when its session was given up."""
    foreign: set[int] = field(default_factory=set)
    """Hashes of the keys of flows that are not the lab's: of a user's 100,000 these are 6 MB."""
    troubles: dict[FlowKey, str] = field(default_factory=dict)
    owed: list[FlowChange] | None = None
    under_way: list[FlowChange] | None = None
    """What is being sent just now; None: everything is compared."""
    watched: Switch | None = None
    """The session that tells what others change."""
    found: dict[FlowKey, Found] = field(default_factory=dict)
    """What others have changed, and is not put right yet."""
    found_at: float = 0.0
    paused: bool = False
    """The switch has more to tell than we have read."""
    unsure: bool = False
    """The switch could not tell everything that others have changed."""
    had: frozenset[FlowKey] = frozenset()
    """Flows that the last session had confirmed when it ended."""
    had_foreign: frozenset[int] = frozenset()
    """As `foreign`, when it ended."""
    fights: list[str] = field(default_factory=list)
    """What somebody undoes as often as it is put right."""
    held: asyncio.TimerHandle | None = None
    """Until it is put right once more."""
    asked: asyncio.TimerHandle | None = None
    """Until it is looked whether the fights go on."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    worker: asyncio.Task[None] | None = None

    @property
    def unsent(self) -> set[FlowKey] | None:
        """Flows of which the switch has not been told yet; None: nobody knows which."""
        return None if self.owed is None else _keys(self.owed)

    @property
    def unconfirmed(self) -> set[FlowKey] | None:
        if self.owed is None or self.under_way is None:
            return None
        return _keys(self.owed) | _keys(self.under_way)

    @property
    def is_stirred(self) -> bool:
        return bool(self.found) or self.unsure

    def count_foreign(self, update: FlowUpdate) -> None:
        """Somebody has added, changed or removed a flow."""
        if update.flow is None:
            return
        number = hash(update.flow.key)
        if update.event is FlowEvent.REMOVED or is_ours(update.flow.cookie):
            self.foreign.discard(number)
        else:
            self.foreign.add(number)

    def forget_stirs(self) -> None:
        """They were another session's."""
        self.found, self.found_at, self.paused, self.unsure = {}, 0.0, False, False

    def release(self) -> None:
        self.held = None
        self.wake.set()

    def stop(self) -> None:
        for each in (self.worker, self.held, self.asked):
            if each is not None:
                each.cancel()

    def facts(self, count: int) -> FlowFacts:
        """`count` is what it should have."""
        missing = list(self.troubles.values())
        more = [f"{len(missing) - TOLD} more flows are missing"] if len(missing) > TOLD else []
        told = "; ".join(filter(None, (NO_ANSWER if self.is_silent else self.error, *missing[:TOLD], *more)))
        note = "; ".join((*self.fights[:TOLD], *self._told_of_foreign()))
        connected = self.switch is not None and not self.is_silent
        return FlowFacts(connected, self.confirmed, count - len(missing), told, note)

    def _told_of_foreign(self) -> Iterable[str]:
        if count := len(self.foreign):
            flows = "1 flow is" if count == 1 else f"{count:,} flows are"
            yield f"{flows} not the lab's, and may decide what becomes of packets (sdn flows --foreign)"


def _keys(changes: Iterable[FlowChange]) -> set[FlowKey]:
    return {flow.key for change in changes for flow in (*change.add, *change.change, *change.remove)}
