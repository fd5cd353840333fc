"""The controller: the store's model and facts in, flows of every switch out, confirmed by barriers.

Enters: updates of the store, sessions of switches that come and go. Leaves: what each switch is owed, to its Target,
which programs it. It keeps no state of its own: killed and started again it reads the store and the switches, and
changes only what differs. Never: anything sent to a switch before the desired state has been read completely once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from sdn.drift_log import DriftLog
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.model.moves import located
from sdn.pipeline import without_nd
from sdn.pipeline.program import FlowChange, Program
from sdn.store import Update
from sdn.store.reporter import Reporter
from sdn.target import Switch, Target

LOG = logging.getLogger(__name__)
TOGETHER: Final = 0.05
"""Seconds for which a switch's facts wait for those of others that are programmed just now."""


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
        self._due: set[str] = set()
        """Chassis that have not told anything since they were owed something."""
        self._told: dict[str, FlowFacts] = {}
        self._telling: asyncio.TimerHandle | None = None
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
            target.attach(switch)
        else:
            LOG.info("%s is no chassis of this lab yet; it is left alone", self.name_of(switch.dpid or 0))

    def switch_down(self, switch: Switch) -> None:
        """The session ended; the switch keeps its flows."""
        if self._switches.get(switch.dpid) is switch:
            del self._switches[switch.dpid]
        if target := self._target_of(switch.dpid):
            target.detach(switch)

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
        self._follow_chassis(model, self._program)
        for target in self._targets.values():
            if target.owe(model.revision, changes.get(target.chassis), again):
                self._due.add(target.chassis)
        sent = sum(map(len, changes.values()))
        spent = (time.perf_counter() - started) * 1000
        LOG.info("revision %d: %d flow changes on %d switches, %.1f ms", model.revision, sent, len(changes), spent)

    def _follow_chassis(self, model: Model, program: Program) -> None:
        ours = {chassis.name: chassis for chassis in model.chassis.values() if chassis.has_tables}
        for name in self._targets.keys() - ours.keys():
            self._targets.pop(name).stop()
            self._due.discard(name)
            self._drifts.forget(name)
        for name in ours.keys() - self._targets.keys():
            target = self._targets[name] = Target(name, program, self._drifts, partial(self._tell, name))
            target.start(self._tasks)
            if switch := self._switches.get(ours[name].id):
                target.attach(switch)
            else:
                target.tell()  # what the store says is from before we were here

    # From the switches to the store

    def _tell(self, chassis: str, facts: FlowFacts) -> None:
        """What switches tell that are programmed together goes out together: each transaction wakes all of the lab's
        processes."""
        self._told[chassis] = facts
        self._due.discard(chassis)
        if not self._due:
            self._tell_all()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOGETHER, self._tell_all)

    def _tell_all(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        told, self._told, self._telling = self._told, {}, None
        for chassis, facts in told.items():
            self._reporter.tell("flows", chassis, facts)
