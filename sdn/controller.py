"""The controller: the store's model and facts in, flows of every switch out, confirmed by barriers.

Enters: updates of the store. Leaves: flow changes to switches, and FlowFacts back to the store. It keeps no state of
its own: killed and started again it reads the store and the switches, and changes only what differs.

One task per chassis programs its switch; while it waits for a barrier, further changes gather and go out as one.
Nothing is sent to any switch before the desired state has been read completely once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from datapath.errors import RefusedError, SdnError
from datapath.openflow.flow import Flow, FlowKey
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.model.moves import located
from sdn.pipeline import without_nd
from sdn.pipeline.program import FlowChange, Program
from sdn.southbound.changes import Changes
from sdn.store import Update
from sdn.store.reporter import Reporter

LOG = logging.getLogger(__name__)
FIRST_RETRY, LONGEST_RETRY = 0.2, 10.0  # seconds between attempts at a switch that refuses its flows
TOLD = 3
"""Missing flows of a chassis that are told one by one."""


class Switch(Protocol):
    """What the controller needs of a session."""

    dpid: int | None

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
    troubles: dict[FlowKey, str] = field(default_factory=dict)
    owed: list[FlowChange] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    worker: asyncio.Task[None] | None = None

    def facts(self, count: int) -> FlowFacts:
        """`count` is what it should have."""
        missing = list(self.troubles.values())
        more = [f"{len(missing) - TOLD} more flows are missing"] if len(missing) > TOLD else []
        told = "; ".join(filter(None, (self.error, *missing[:TOLD], *more)))
        return FlowFacts(self.switch is not None, self.confirmed, count - len(missing), told)


class Controller:
    """Facts go to `reporter`."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._program: Program | None = None
        self._model: Model | None = None
        """As the store has it; the program's has guests where they are."""
        self._targets: dict[str, Target] = {}
        self._switches: dict[int | None, Switch] = {}
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
            self._stop(self._targets.pop(name))
        for name in ours.keys() - self._targets.keys():
            target = self._targets[name] = Target(name)
            target.worker = self._tasks.create_task(self._work(target), name=f"program {name}")
            if switch := self._switches.get(ours[name].id):
                self._attach(target, switch)
            else:
                self._tell(target)  # what the store says is from before we were here

    def _attach(self, target: Target, switch: Switch) -> None:
        target.switch = switch
        target.owed = None
        target.wake.set()

    def _stop(self, target: Target) -> None:
        if target.worker:
            target.worker.cancel()

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
                asyncio.get_running_loop().call_later(retry, target.wake.set)
                retry = min(retry * 2, LONGEST_RETRY)
            self._tell(target)

    async def _bring_up_to_date(self, target: Target, switch: Switch) -> None:
        """Send what is owed. A new session, or one that failed, is owed everything: dump, compare, change."""
        assert self._program is not None
        revision, owed = target.revision, target.owed
        target.owed = []
        if owed is None or target.troubles:  # what came meanwhile may be just what helps
            target.troubles = await self._compare(target, switch)
        else:
            for change in owed:
                await switch.program(change.add, change.change, change.remove)
        target.confirmed, target.error = revision, ""

    async def _compare(self, target: Target, switch: Switch) -> dict[FlowKey, str]:
        """Dump, compare, change what differs; a flow that the switch refuses does not hold up the others.

        Returns what is missing then, with the reason.
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
            return refused | {conflict.desired.key: str(conflict) for conflict in changes.conflicts}

    def _tell(self, target: Target) -> None:
        assert self._program is not None
        self._reporter.tell("flows", target.chassis, target.facts(self._program.flow_count(target.chassis)))
