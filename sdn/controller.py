"""The controller: the store's model and facts in, flows of every switch out, confirmed by barriers.

Enters: updates of the store. Leaves: flow changes to switches, and FlowFacts back to the store. It keeps no state of
its own: killed and started again it reads the store and the switches, and changes only what differs.

One task per chassis programs its switch; while it waits for a barrier, further changes gather and go out as one.
Nothing is sent to any switch before the desired state has been read completely once.
What somebody else changes of our flows the switch tells at once: it is put right by the same task, and reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from datapath.errors import RefusedError, SdnError
from datapath.events import Drift
from datapath.openflow.codec import FlowEvent, FlowUpdate
from datapath.openflow.flow import Flow, FlowKey
from datapath.openflow.text import Names
from sdn import drift
from sdn.drift import Found
from sdn.drift_log import DriftLog
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.model.moves import located
from sdn.names import names
from sdn.pipeline import without_nd
from sdn.pipeline.program import FlowChange, Program
from sdn.southbound.changes import Changes
from sdn.store import Update
from sdn.store.reporter import Reporter
from sdn.target import Switch, Target

LOG = logging.getLogger(__name__)
FIRST_RETRY, LONGEST_RETRY = 0.2, 10.0  # seconds between attempts at a switch that refuses its flows
ONE_BY_ONE = 256
"""Flows that are put right without looking at all others of their switch."""
GATHERED: Final = 0.2
"""Seconds in which users may change flows of theirs before their number is told."""


class Controller:
    """Facts go to `reporter`."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._program: Program | None = None
        self._model: Model | None = None
        """As the store has it; the program's has guests where they are."""
        self._targets: dict[str, Target] = {}
        self._switches: dict[int | None, Switch] = {}
        self._drifts = DriftLog("controller", partial(reporter.tell, "drifts"))
        self._tasks: asyncio.TaskGroup

    async def run(self, updates: asyncio.Queue[Update]) -> None:
        """Follow the store until cancelled, or until a task fails in a way that nobody foresaw."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._reporter.run())
            while True:
                update = await updates.get()
                if self._matters(update):
                    self._take_over(update.model, update.facts)

    def _matters(self, update: Update) -> bool:
        """Most updates only tell of facts that we wrote ourselves."""
        if self._program is None or self._model is None or update.changed is None:
            return True
        if update.changed.host_facts and without_nd(update.facts) != self._program.without_nd:
            return True
        if update.changed.guest_facts and located(update.model, update.facts) != self._program.model:
            return True
        return bool(update.changed.port_facts) or update.model.revision != self._model.revision

    def name_of(self, dpid: int) -> str:
        """What a switch is called in logs and errors."""
        target = self._target_of(dpid)
        return target.chassis if target else f"{dpid:016x}"

    def switch_up(self, switch: Switch) -> None:
        """A session is ready: its switch's flows are compared with what it should have before anything is sent."""
        self._switches[switch.dpid] = switch
        if target := self._target_of(switch.dpid):
            self._attach(target, switch)
        else:
            LOG.info("%s is no chassis of this lab yet; it is left alone", self.name_of(switch.dpid or 0))

    def switch_down(self, switch: Switch) -> None:
        """The session ended; the switch keeps its flows."""
        if self._switches.get(switch.dpid) is switch:
            del self._switches[switch.dpid]
        target = self._target_of(switch.dpid)
        if target and target.switch is switch:
            self._remember(target)
            target.switch = None
            target.owed = None
            self._tell(target)

    def _target_of(self, dpid: int | None) -> Target | None:
        if self._program is None:
            return None
        names = (chassis.name for chassis in self._program.model.chassis.values() if chassis.id == dpid)
        return self._targets.get(next(names, ""))

    # From the store to the switches

    def _take_over(self, model: Model, facts: Facts) -> None:
        started = time.perf_counter()
        before, self._model = self._model, model
        again = (
            before is not None and before.revision != model.revision and before.with_revision(model.revision) == model
        )
        if self._program is None:
            self._program = Program(model, facts)
            changes: Mapping[str, FlowChange] = {}
        else:
            changes = self._program.update(model, facts)
        self._follow_chassis(model)
        for target in self._targets.values():
            self._owe(target, model.revision, changes.get(target.chassis), again)
        sent = sum(map(len, changes.values()))
        spent = (time.perf_counter() - started) * 1000
        LOG.info("revision %d: %d flow changes on %d switches, %.1f ms", model.revision, sent, len(changes), spent)

    def _follow_chassis(self, model: Model) -> None:
        ours = {chassis.name: chassis for chassis in model.chassis.values() if chassis.has_tables}
        for name in self._targets.keys() - ours.keys():
            self._targets.pop(name).stop()
            self._drifts.forget(name)
        for name in ours.keys() - self._targets.keys():
            target = self._targets[name] = Target(name)
            target.worker = self._tasks.create_task(self._work(target), name=f"program {name}")
            if switch := self._switches.get(ours[name].id):
                self._attach(target, switch)
            else:
                self._tell(target)  # what the store says is from before we were here

    def _attach(self, target: Target, switch: Switch) -> None:
        target.switch = switch
        target.is_silent = False
        switch.on_silence = partial(self._note_silence, target)
        target.owed = None
        target.wake.set()

    def _note_silence(self, target: Target, is_silent: bool) -> None:
        target.is_silent = is_silent
        self._tell(target)

    def _owe(self, target: Target, revision: int, change: FlowChange | None, again: bool) -> None:
        """The same model with a new revision (`again`) asks for a look at what the switches really have."""
        if change is None and target.revision == revision:
            return
        target.revision = revision
        if again or target.troubles:
            target.owed = None
        elif change and target.owed is not None:
            target.owed.append(change)
        target.wake.set()

    async def _work(self, target: Target) -> None:
        retry = FIRST_RETRY
        while True:
            await target.wake.wait()
            target.wake.clear()
            if target.switch is None:
                continue
            try:
                await self._bring_up_to_date(target, target.switch)
                retry = FIRST_RETRY
            except (SdnError, OSError) as error:
                LOG.warning("%s: %s", target.chassis, error)
                target.owed, target.error = None, str(error)
                self._drifts.failed(target.chassis, str(error))
                asyncio.get_running_loop().call_later(retry, target.wake.set)
                retry = min(retry * 2, LONGEST_RETRY)
            self._tell(target)

    async def _bring_up_to_date(self, target: Target, switch: Switch) -> None:
        """Send what is owed. A new session, or one that failed, is owed everything: dump, compare, change."""
        if target.watched is not switch:
            await self._watch(target, switch)
        revision, owed = target.revision, target.owed
        target.owed, target.under_way = [], owed
        if owed is None or target.troubles:  # what came meanwhile may be just what helps
            await self._compare(target, switch)
        else:
            for change in owed:
                await switch.program(change.add, change.change, change.remove)
        target.under_way = []
        if target.is_stirred and not self._holds_back(target):
            await self._put_right(target, switch)
        target.confirmed, target.error = revision, ""
        self._drifts.settle(target.chassis, target.troubles)

    async def _compare(self, target: Target, switch: Switch) -> Changes:
        """Dump, compare, change what differs; a flow that the switch refuses does not hold up the others.

        What is missing then is in `troubles`, with the reason.
        """
        assert self._program is not None
        desired = self._program.flows(target.chassis)
        refused: dict[FlowKey, str] = {}
        while True:
            try:
                changes = await switch.reconcile({key: flow for key, flow in desired.items() if key not in refused})
            except RefusedError as error:
                if not isinstance(error.about, Flow) or error.about.key in refused:
                    raise
                refused[error.about.key] = str(error)
                continue
            LOG.info("%s: compared, %d flow changes", target.chassis, changes.count)
            target.troubles = refused | {conflict.desired.key: str(conflict) for conflict in changes.conflicts}
            target.foreign = set(map(hash, changes.foreign))
            self._miss(target, changes)
            return changes

    # What others change

    async def _watch(self, target: Target, switch: Switch) -> None:
        """Before the first comparison, so that nothing escapes between the two."""
        target.watched = switch
        target.forget_stirs()

        def heard(updates: list[FlowUpdate]) -> None:
            if target.switch is switch:
                self._hear(target, updates)

        try:
            await switch.monitor(drift.WATCHED, heard)
        except RefusedError as error:
            LOG.info(
                "%s: what others change of its flows is found only when all are compared: %s", target.chassis, error
            )

    def _hear(self, target: Target, updates: list[FlowUpdate]) -> None:
        """While a switch that has too much to tell pauses, it tells of what we do too: nothing of that is taken."""
        assert self._program is not None
        self._count_foreign(target, updates)
        about_us = [update for update in updates if drift.is_about_us(update, target.troubles)]
        if not about_us or not target.confirmed:
            return  # nothing yet that could have been changed
        desired = partial(self._program.flow, target.chassis)
        for update in about_us:
            target.unsure |= update.event is FlowEvent.RESUMED
            if update.flow is None:
                target.paused = update.event is FlowEvent.PAUSED
            elif not target.paused and (found := drift.judge(update, desired)):
                target.found_at = target.found_at or time.time()
                target.found[found.flow.key] = found
        if target.troubles or (target.is_stirred and not self._holds_back(target)):
            target.wake.set()

    def _count_foreign(self, target: Target, updates: list[FlowUpdate]) -> None:
        before = len(target.foreign)
        for update in updates:
            target.count_foreign(update)
        if len(target.foreign) != before and target.asked is None:
            target.asked = asyncio.get_running_loop().call_later(GATHERED, self._tell_again, target)

    def _holds_back(self, target: Target) -> bool:
        """Somebody undoes what is put right, as often as that is: it is done once more a little later."""
        is_known = not target.unsure and len(target.found) <= ONE_BY_ONE
        left = self._drifts.hold(target.chassis, target.found if is_known else None)
        if left and target.held is None:
            target.held = asyncio.get_running_loop().call_later(left, target.release)
        return left > 0

    async def _put_right(self, target: Target, switch: Switch) -> None:
        """Exactly what others have changed, or, where that is much, whatever differs."""
        assert self._program is not None
        await switch.barrier()  # what belongs together has been told by then
        found, target.found = target.found, {}
        unsure, target.unsure = target.unsure, False
        if unsure or len(found) > ONE_BY_ONE or any(each.theirs for each in found.values()):
            await self._put_all_right(target, switch, found)
            return
        self._say_found(target, found)
        wanted = {key: self._program.flow(target.chassis, key) for key in found}
        missing = [flow for flow in wanted.values() if flow is not None]
        await switch.program(missing, (), [each.flow for key, each in found.items() if wanted[key] is None])

    async def _put_all_right(self, target: Target, switch: Switch, found: dict[FlowKey, Found]) -> None:
        """What is still to be sent of a newer model differs too, and is nobody's doing."""
        unsent = target.unsent
        try:
            changes = await self._compare(target, switch)
        except SdnError:
            self._say_found(target, found)
            raise
        if unsent is not None:
            more = {each.flow.key: each for each in drift.of_changes(changes)}
            found = found | {key: each for key, each in more.items() if key not in unsent}
        self._say_found(target, found)

    def _remember(self, target: Target) -> None:
        """What the switch had when its session ended."""
        assert self._program is not None
        if (unsure := target.unconfirmed) is not None:
            target.had = frozenset(self._program.flows(target.chassis).keys() - unsure - target.troubles.keys())
            target.had_foreign = frozenset(target.foreign)

    def _miss(self, target: Target, changes: Changes) -> None:
        """What a switch has lost while it was away."""
        lost = [flow for flow in changes.add if flow.key in target.had] if target.had else []
        target.had = frozenset()
        if lost:
            what = drift.words(lost, self._names(target)) + drift.gone(len(target.had_foreign - target.foreign))
            self._drifts.found({Drift(0, target.chassis, what, "lost", time.time()): frozenset(f.key for f in lost)})

    def _say_found(self, target: Target, found: Mapping[FlowKey, Found]) -> None:
        when = target.found_at if target.found_at else time.time()
        target.found_at = 0.0
        self._drifts.found(drift.drifts(target.chassis, found.values(), self._names(target), when))

    def _names(self, target: Target) -> Names:
        assert self._program is not None
        return names(self._program.model, target.chassis)

    def _tell(self, target: Target) -> None:
        assert self._program is not None
        target.fights = self._drifts.fights(target.chassis)
        if target.fights and target.asked is None:
            target.asked = asyncio.get_running_loop().call_later(1.0, self._tell_again, target)
        self._reporter.tell("flows", target.chassis, target.facts(self._program.flow_count(target.chassis)))

    def _tell_again(self, target: Target) -> None:
        target.asked = None
        self._tell(target)
