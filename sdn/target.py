"""One switch and what it is owed: programs it, compares it, and puts right what others change of it.

Enters: what the controller owes the switch, its sessions, what its flow monitor tells. Leaves: flow changes, confirmed
by barriers; FlowFacts and drifts. Never: a decision which flows there shall be, which is the Program's.

One task programs the switch; while it waits for a barrier, further changes gather and go out as one. What somebody else
changes of our flows the switch tells at once: it is put right by the same task, and reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Protocol

from datapath.errors import RefusedError, SdnError
from datapath.events import Drift
from datapath.openflow.codec import FlowUpdate
from datapath.openflow.flow import Flow, FlowKey
from datapath.openflow.text import Names
from sdn import drift
from sdn.drift import Found
from sdn.drift_log import DriftLog
from sdn.model.facts import NO_ANSWER, FlowFacts
from sdn.names import names
from sdn.pipeline.program import FlowChange, Program
from sdn.southbound.changes import Changes
from sdn.southbound.requests import Watch
from sdn.stirs import Heard, Stirs

LOG = logging.getLogger(__name__)
FIRST_RETRY, LONGEST_RETRY = 0.2, 10.0  # seconds between attempts at a switch that refuses its flows
TOLD = 3
"""Missing flows of a chassis that are told one by one."""
GATHERED: Final = 0.2
"""Seconds in which users may change flows of theirs before their number is told."""
FIGHTING: Final = 1.0
"""Seconds after which it is looked whether fights go on."""


class Switch(Protocol):
    """What the controller needs of a session."""

    dpid: int | None
    on_silence: Callable[[bool], None] | None
    gave_up: bool

    async def monitor(self, tables: Mapping[int, Watch], on_updates: Callable[[list[FlowUpdate]], None]) -> None: ...

    async def barrier(self) -> None: ...

    async def reconcile(self, desired: Mapping[FlowKey, Flow]) -> Changes: ...

    async def program(
        self, add: Iterable[Flow] = (), change: Iterable[Flow] = (), remove: Iterable[Flow] = ()
    ) -> int: ...


class Target:
    """A chassis' switch as the controller sees it. Facts go to `tell`."""

    def __init__(self, chassis: str, program: Program, drifts: DriftLog, tell: Callable[[FlowFacts], None]) -> None:
        self.chassis = chassis
        self._program = program
        self._drifts = drifts
        self._tell = tell
        self._switch: Switch | None = None
        self._watched: Switch | None = None
        """The session that tells what others change."""
        self._is_silent = False
        """It does not answer, or did not and its session was given up for that."""
        self._revision = 0
        self._confirmed = 0
        self._error = ""
        self._troubles: dict[FlowKey, str] = {}
        """Flows that it does not have as it should: the switch refused them, or somebody else has their place. As long
        as there are any, everything is compared at each change, so that nobody else's flow is overwritten."""
        self._owed: list[FlowChange] | None = None
        """What it has not been sent yet; None: all of it."""
        self._under_way: list[FlowChange] | None = None
        """What is being sent just now; None: everything is compared."""
        self._stirs = Stirs()
        self._had: frozenset[FlowKey] = frozenset()
        """Flows that the last session had confirmed when it ended."""
        self._had_foreign: frozenset[int] = frozenset()
        """And those that were not the lab's, as in Stirs."""
        self._held: asyncio.TimerHandle | None = None
        """Until what somebody undoes is put right once more."""
        self._asked: asyncio.TimerHandle | None = None
        """Until it is told again."""
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._worker = tasks.create_task(self._work(), name=f"program {self.chassis}")

    def stop(self) -> None:
        for each in (self._worker, self._held, self._asked):
            if each is not None:
                each.cancel()

    def attach(self, switch: Switch) -> None:
        """A session is ready."""
        self._switch = switch
        self._is_silent = False
        switch.on_silence = self._note_silence
        self._owed = None
        self._wake.set()

    def detach(self, switch: Switch) -> None:
        """It has ended."""
        if self._switch is switch:
            self._remember()
            self._switch = None
            self._owed = None
            self._is_silent = switch.gave_up
            self.tell()

    def _note_silence(self, is_silent: bool) -> None:
        self._is_silent = is_silent
        self.tell()

    def owe(self, revision: int, change: FlowChange | None, again: bool) -> bool:
        """Whether it will tell of it soon. The same model with a new revision (`again`) asks for a look at what the
        switch really has."""
        if change is None and self._revision == revision:
            return False
        self._revision = revision
        if again or self._troubles:
            self._owed = None
        elif change and self._owed is not None:
            self._owed.append(change)
        self._wake.set()
        return self._switch is not None

    # Programming

    async def _work(self) -> None:
        retry = FIRST_RETRY
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._switch is None:
                continue
            try:
                await self._bring_up_to_date(self._switch)
                retry = FIRST_RETRY
            except (SdnError, OSError) as error:
                LOG.warning("%s: %s", self.chassis, error)
                self._owed, self._error = None, str(error)
                self._drifts.failed(self.chassis, str(error))
                asyncio.get_running_loop().call_later(retry, self._wake.set)
                retry = min(retry * 2, LONGEST_RETRY)
            self.tell()

    async def _bring_up_to_date(self, switch: Switch) -> None:
        """Send what is owed. A new session, or one that failed, is owed everything: dump, compare, change."""
        if self._watched is not switch:
            await self._watch(switch)
        revision, owed = self._revision, self._owed
        self._owed, self._under_way = [], owed
        if owed is None or self._troubles:  # what came meanwhile may be just what helps
            await self._compare(switch)
        else:
            for change in owed:
                await switch.program(change.add, change.change, change.remove)
        self._under_way = []
        if self._stirs.heard and not self._holds_back():
            await self._put_right(switch)
        self._confirmed, self._error = revision, ""
        self._drifts.settle(self.chassis, self._troubles)

    async def _compare(self, switch: Switch) -> Changes:
        """Dump, compare, change what differs; a flow that the switch refuses does not hold up the others.

        What is missing then is in `_troubles`, with the reason.
        """
        desired = self._program.flows(self.chassis)
        refused: dict[FlowKey, str] = {}
        while True:
            try:
                changes = await switch.reconcile({key: flow for key, flow in desired.items() if key not in refused})
            except RefusedError as error:
                if not isinstance(error.about, Flow) or error.about.key in refused:
                    raise
                refused[error.about.key] = str(error)
                continue
            LOG.info("%s: compared, %d flow changes", self.chassis, changes.count)
            self._troubles = refused | {conflict.desired.key: str(conflict) for conflict in changes.conflicts}
            self._stirs.have_seen(changes.foreign)
            self._miss(changes)
            return changes

    # What others change

    async def _watch(self, switch: Switch) -> None:
        """Before the first comparison, so that nothing escapes between the two."""
        self._watched = switch
        self._stirs.forget()

        def heard(updates: list[FlowUpdate]) -> None:
            if self._switch is switch:
                self._hear(updates)

        try:
            await switch.monitor(drift.WATCHED, heard)
        except RefusedError as error:
            LOG.info("%s: what others change of its flows is found only when all are compared: %s", self.chassis, error)

    def _hear(self, updates: list[FlowUpdate]) -> None:
        if self._stirs.count(updates):
            self._tell_later(GATHERED)
        about_us = [update for update in updates if drift.is_about_us(update, self._troubles)]
        if not about_us or not self._confirmed:
            return  # nothing yet that could have been changed
        self._stirs.hear(about_us, partial(self._program.flow, self.chassis), time.time())
        if self._troubles or (self._stirs.heard and not self._holds_back()):
            self._wake.set()

    def _holds_back(self) -> bool:
        """Somebody undoes what is put right, as often as that is: it is done once more a little later."""
        heard = self._stirs.heard
        left = self._drifts.hold(self.chassis, heard.found if heard.is_known else None)
        if left and self._held is None:
            self._held = asyncio.get_running_loop().call_later(left, self._release)
        return left > 0

    def _release(self) -> None:
        self._held = None
        self._wake.set()

    async def _put_right(self, switch: Switch) -> None:
        """Exactly what others have changed, or, where that is much, whatever differs."""
        await switch.barrier()  # what belongs together has been told by then
        heard = self._stirs.take()
        if not heard.is_known or any(each.theirs for each in heard.found.values()):
            await self._put_all_right(switch, heard)
            return
        self._say_found(heard.found, heard.since)
        wanted = {key: self._program.flow(self.chassis, key) for key in heard.found}
        missing = [flow for flow in wanted.values() if flow is not None]
        await switch.program(missing, (), [each.flow for key, each in heard.found.items() if wanted[key] is None])

    async def _put_all_right(self, switch: Switch, heard: Heard) -> None:
        """What is still to be sent of a newer model differs too, and is nobody's doing."""
        unsent = None if self._owed is None else _keys(self._owed)
        found = heard.found
        try:
            changes = await self._compare(switch)
        except SdnError:
            self._say_found(found, heard.since)
            raise
        if unsent is not None:
            more = {each.flow.key: each for each in drift.of_changes(changes)}
            found = found | {key: each for key, each in more.items() if key not in unsent}
        self._say_found(found, heard.since)

    def _remember(self) -> None:
        """What the switch had when its session ended, if that is known."""
        if self._owed is not None and self._under_way is not None:
            unsure = _keys(self._owed) | _keys(self._under_way)
            self._had = frozenset(self._program.flows(self.chassis).keys() - unsure - self._troubles.keys())
            self._had_foreign = frozenset(self._stirs.foreign)

    def _miss(self, changes: Changes) -> None:
        """What a switch has lost while it was away."""
        lost = [flow for flow in changes.add if flow.key in self._had] if self._had else []
        self._had = frozenset()
        if lost:
            what = drift.words(lost, self._names()) + drift.gone(len(self._had_foreign - self._stirs.foreign))
            self._drifts.found({Drift(0, self.chassis, what, "lost", time.time()): frozenset(f.key for f in lost)})

    # Telling

    def _say_found(self, found: Mapping[FlowKey, Found], since: float) -> None:
        self._drifts.found(drift.drifts(self.chassis, found.values(), self._names(), since or time.time()))

    def _names(self) -> Names:
        return names(self._program.model, self.chassis)

    def tell(self) -> None:
        """What is known of the switch; again as long as somebody fights."""
        fights = self._drifts.fights(self.chassis)
        if fights:
            self._tell_later(FIGHTING)
        self._tell(self._facts(fights))

    def _tell_later(self, seconds: float) -> None:
        if self._asked is None:
            self._asked = asyncio.get_running_loop().call_later(seconds, self._tell_again)

    def _tell_again(self) -> None:
        self._asked = None
        self.tell()

    def _facts(self, fights: list[str]) -> FlowFacts:
        missing = list(self._troubles.values())
        more = [f"{len(missing) - TOLD} more flows are missing"] if len(missing) > TOLD else []
        told = "; ".join(filter(None, (NO_ANSWER if self._is_silent else self._error, *missing[:TOLD], *more)))
        note = "; ".join((*fights[:TOLD], *self._told_of_foreign()))
        connected = self._switch is not None and not self._is_silent
        count = self._program.flow_count(self.chassis) - len(missing)
        return FlowFacts(connected, self._confirmed, count, told, note, self._is_silent)

    def _told_of_foreign(self) -> Iterable[str]:
        if count := len(self._stirs.foreign):
            flows = "1 flow is" if count == 1 else f"{count:,} flows are"
            yield f"{flows} not the lab's, and may decide what becomes of packets (sdn flows --foreign)"


def _keys(changes: Iterable[FlowChange]) -> set[FlowKey]:
    return {flow.key for change in changes for flow in (*change.add, *change.change, *change.remove)}
