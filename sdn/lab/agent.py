"""The agent as a process of a lab: store → HostSpec → `datapath.agent` → kernel and Open vSwitch, and facts back.

One process drives every emulated chassis of the lab.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import defaultdict
from functools import partial
from typing import Any

from datapath.agent import Agent
from datapath.events import ChassisState, Event, PortState
from sdn.compile import host_specs
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, HostFacts, PortFacts
from sdn.store import Store, Update

LOG = logging.getLogger(__name__)


def main(run: RunDir) -> None:
    """Runs until killed; the supervisor starts it again, and it adopts what it finds."""
    asyncio.run(_run(run))


async def _run(run: RunDir) -> None:
    store = Store.open(run.store_socket)
    loop = asyncio.get_running_loop()
    work = LabAgent(run, store, loop)
    gc.freeze()
    try:
        await work.follow(store.watch(loop))
    finally:
        work.close()
        store.close()


class LabAgent:
    """Keeps the host true to the store. Facts gather and are written in one transaction at a time."""

    def __init__(self, run: RunDir, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._agent = Agent(run.lab, run.path, self._on_event)
        self._model: Model | None = None
        self._ports: dict[tuple[str, str], list[str]] = {}
        self._seen: dict[str, PortFacts] = {}
        self._hosts: dict[str, HostFacts] = {}
        self._fresh_ports: dict[str, PortFacts] = {}
        self._fresh_hosts: dict[str, HostFacts] = {}
        self._to_report = asyncio.Event()

    async def follow(self, updates: asyncio.Queue[Update]) -> None:
        reporter = asyncio.create_task(self._keep_reporting())
        supervision = asyncio.create_task(self._agent.run())
        try:
            while True:
                update = await updates.get()
                while not updates.empty():
                    update = updates.get_nowait()
                await self._make_true(update.model, update.facts)
        finally:
            reporter.cancel()
            supervision.cancel()

    def close(self) -> None:
        self._agent.close()

    async def _make_true(self, model: Model, facts: Facts) -> None:
        if self._model is None or self._model.ports != model.ports:
            self._ports = _ports_by_interface(model)
        self._model = model
        specs = host_specs(model, facts)
        await self._agent.apply(specs)
        for name, spec in specs.items():
            if all(interface.ready for interface in spec.interfaces):
                self._dealt_with(name, model.revision)

    def _dealt_with(self, chassis: str, revision: int) -> None:
        seen = self._hosts.get(chassis, HostFacts())
        self._tell_host(chassis, HostFacts(revision, seen.datapath_type, seen.errors))

    # Facts

    def _on_event(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._fold, event)

    def _fold(self, event: Event) -> None:
        if isinstance(event, PortState):
            for name in self._ports.get((event.node, event.interface), ()):
                self._fresh_ports[name] = PortFacts(event.up, event.ofport)
        elif isinstance(event, ChassisState):
            revision = self._hosts.get(event.chassis, HostFacts()).revision
            self._tell_host(event.chassis, HostFacts(revision, event.datapath_type, event.errors))
        self._to_report.set()

    def _tell_host(self, chassis: str, facts: HostFacts) -> None:
        if self._hosts.get(chassis) != facts:
            self._hosts[chassis] = self._fresh_hosts[chassis] = facts
            self._to_report.set()

    async def _keep_reporting(self) -> None:
        while True:
            await self._to_report.wait()
            self._to_report.clear()
            await self._loop.run_in_executor(None, partial(self._store.report, **self._fresh()))

    def _fresh(self) -> dict[str, Any]:
        """What has to be reported; after this it is not any more."""
        fresh = {"hosts": self._fresh_hosts, "ports": self._fresh_ports}
        self._fresh_hosts, self._fresh_ports = {}, {}
        return fresh


def _ports_by_interface(model: Model) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for port in model.ports.values():
        found[port.node, port.interface].append(port.name)
    return found
