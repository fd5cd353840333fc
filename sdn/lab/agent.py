"""The agent as a process of a lab: store → HostSpec → `datapath.agent` → kernel and Open vSwitch, and facts back.

One process drives every emulated chassis of the lab.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import fields, replace
from functools import partial

from datapath.agent import Agent
from datapath.events import ChassisState, Event, GuestState, PortState
from datapath.events import Drift as Drifted
from datapath.spec import HostSpec
from sdn.compile import Specs
from sdn.drift_log import to_store
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts, HostFacts, PortFacts
from sdn.model.moves import located
from sdn.store import Store, Update
from sdn.store.reporter import Reporter

LOG = logging.getLogger(__name__)
FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds


def main(run: RunDir) -> None:
    """Runs until killed; the supervisor starts it again, and it adopts what it finds."""
    asyncio.run(_run(run))


async def _run(run: RunDir) -> None:
    store = Store.open(run.store_socket)
    loop = asyncio.get_running_loop()
    work = LabAgent(run, store, loop)
    gc.freeze()
    gc.set_threshold(10_000)  # the model and what is known of devices are many small values that stay
    try:
        await work.run(store.watch(loop))
    finally:
        work.close()
        store.close()


class LabAgent:
    """Keeps the host true to the store. What could not be done is tried again with back-off, and reported meanwhile."""

    def __init__(self, run: RunDir, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._agent = Agent(run.lab, run.path, self._on_event)
        self._reporter = Reporter(store.report)
        self._tell_drift = to_store("agent", partial(self._reporter.tell, "drifts"))
        self._specs = Specs()
        self._model: Model | None = None
        self._hosts: dict[str, HostFacts] = {}
        self._since: dict[str, int] = {}
        """The revision in which a port came or changed: it is set up when that revision's flows are confirmed."""
        self._ready: set[str] = set()
        self._guests: dict[str, GuestFacts] = {}
        self._where: dict[str, tuple[str, str, str]] = {}
        """Of guests, as they were when the model was last made true."""
        self._unsettled: set[str] = set()
        """Chassis with a switch that has not answered yet, or with guests that are not yet as they shall be."""
        self._broken: set[str] = set()
        """Chassis with errors that are not those of guests: nobody waits for what is on them."""
        self._built: tuple[int, dict[str, HostSpec]] | None = None
        """What has been made true, and in which revision; None while that is under way."""
        self._interfaces: dict[tuple[str, str], PortFacts] = {}

    async def run(self, updates: asyncio.Queue[Update]) -> None:
        """Until cancelled, or until one of the three fails in a way that nobody foresaw: then this process ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reporter.run())
            group.create_task(self._agent.run())
            group.create_task(self._follow(updates))

    async def _follow(self, updates: asyncio.Queue[Update]) -> None:
        update = await updates.get()
        retry = FIRST_RETRY
        while True:
            await self._make_true(update.model, update.facts)
            retry = min(retry * 2, LONGEST_RETRY) if self._failed() else FIRST_RETRY
            try:
                async with asyncio.timeout(retry if self._failed() else None):
                    update = await self._next(updates)
            except TimeoutError:
                LOG.info("trying again: %s", "; ".join(self._failed()))

    async def _next(self, updates: asyncio.Queue[Update]) -> Update:
        while True:
            update = await updates.get()
            if self._calls_for_work(update):
                return update

    def _calls_for_work(self, update: Update) -> bool:
        """Most updates tell of facts that we wrote ourselves: they do so only where a port that shall be up is not."""
        changed = update.changed
        if changed is None or self._model is None or update.model.revision != self._model.revision or changed.intent:
            return True
        if self._places_of_guests() != self._where:
            return True
        ready = self._confirmed(update.facts)
        return ready != self._ready or any(not self._is_up(name) for name in changed.port_facts & ready)

    def close(self) -> None:
        self._agent.close()

    def _failed(self) -> list[str]:
        return [error for facts in self._hosts.values() for error in facts.errors]

    async def _make_true(self, model: Model, facts: Facts) -> None:
        self._note_changes(model)
        if self._model is None:  # an earlier agent's guests: where they were last seen
            self._guests = {name: seen for name, seen in facts.guests.items() if name in model.guests}
        is_wished_anew = self._model is not None and self._model.revision != model.revision
        self._built = None
        self._model = model
        self._where = self._places_of_guests()
        self._ready = self._confirmed(facts)
        specs = self._specs.update(*self._as_they_are(model, facts))
        for gone in self._hosts.keys() - specs.keys():
            del self._hosts[gone]
        for gone in self._guests.keys() - model.guests.keys():
            del self._guests[gone]
        await self._agent.apply(specs, anew=is_wished_anew)
        await asyncio.sleep(0)  # events that are on their way are folded first
        self._built = model.revision, specs
        for name in specs:
            self._conclude(name)

    def _as_they_are(self, model: Model, facts: Facts) -> tuple[Model, set[str], set[str]]:
        """The model with guests where they run, the ports that are ready, and those that are where their guest
        arrives. What a guest that moves has where it runs was ready before."""
        placed = located(model, replace(facts, guests=self._guests))
        awaited = {name for name, port in placed.ports.items() if port.arrives} if placed is not model else set()
        return placed, self._ready | awaited, self._ready & awaited

    def _places_of_guests(self) -> dict[str, tuple[str, str, str]]:
        return {name: (seen.at, seen.goes, seen.leaves) for name, seen in self._guests.items()}

    def _conclude(self, chassis: str) -> None:
        """A revision is dealt with when everything of it is there, with its guests as they shall be."""
        revision, specs = self._built or (0, {})
        spec, known = specs.get(chassis), self._hosts.get(chassis, HostFacts())
        if spec is None:
            return
        ready = all(interface.ready for interface in spec.interfaces)
        if chassis in self._broken or (chassis not in self._unsettled and (ready or known.errors)):
            self._tell_host(chassis, replace(known, revision=revision))

    def _note_changes(self, model: Model) -> None:
        before = self._model.ports if self._model else {}
        for name in self._since.keys() - model.ports.keys():
            del self._since[name]
        for name, port in model.ports.items():
            old = before.get(name)
            if old is not port and (old is None or replace(old, source=port.source) != port):
                self._since[name] = model.revision
                if seen := self._interfaces.get((port.node, port.interface)):
                    self._reporter.tell("ports", name, seen)  # another port on an interface that stays as it is

    def _confirmed(self, facts: Facts) -> set[str]:
        assert self._model is not None
        confirmed = {name: flows.revision for name, flows in facts.flows.items()}
        for chassis in self._model.chassis.values():
            if not chassis.has_tables:  # nothing to wait for: its host part is all there is
                confirmed[chassis.name] = self._model.revision
        ports = self._model.ports
        return {name for name, since in self._since.items() if confirmed.get(ports[name].chassis, 0) >= since}

    # Facts

    def _on_event(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._fold, event)

    def _fold(self, event: Event) -> None:
        if isinstance(event, PortState):
            seen = self._interfaces[event.node, event.interface] = PortFacts(event.up, event.ofport)
            for name in self._ports_of(event.node, event.interface):
                self._reporter.tell("ports", name, seen)
        elif isinstance(event, GuestState):
            facts = self._guests[event.guest] = _guest_facts(event)
            self._reporter.tell("guests", event.guest, facts)
        elif isinstance(event, Drifted):
            self._tell_drift(event)
        else:
            self._fold_chassis(event)

    def _fold_chassis(self, event: ChassisState) -> None:
        (self._unsettled.discard if event.settled else self._unsettled.add)(event.chassis)
        (self._broken.add if event.broken else self._broken.discard)(event.chassis)
        revision = self._hosts.get(event.chassis, HostFacts()).revision
        self._tell_host(event.chassis, HostFacts(revision, event.datapath_type, event.errors, event.notes))
        self._conclude(event.chassis)

    def _ports_of(self, node: str, interface: str) -> list[str]:
        together = self._model.interfaces_of.get(node, ()) if self._model else ()
        return [port.name for ports in together for port in ports if port.interface == interface]

    def _is_up(self, name: str) -> bool:
        """By what we have seen last, which the store may not know yet."""
        port = self._model.ports.get(name) if self._model else None
        seen = self._interfaces.get((port.node, port.interface)) if port else None
        if self._model is None or port is None or seen is None:
            return False
        return seen.up and (seen.ofport is not None or not self._model.chassis[port.chassis].has_tables)

    def _tell_host(self, chassis: str, facts: HostFacts) -> None:
        if self._hosts.get(chassis) != facts:
            self._hosts[chassis] = facts
            self._reporter.tell("hosts", chassis, facts)


def _guest_facts(event: GuestState) -> GuestFacts:
    return GuestFacts(**{field.name: getattr(event, field.name) for field in fields(GuestFacts)})
