"""The controller against switches that only remember: what is sent, when it is confirmed, what a failure leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from datapath.errors import RefusedError
from datapath.openflow.flow import Flow, FlowKey
from sdn.controller import Controller
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.pipeline import flows
from sdn.southbound.changes import Changes, Conflict
from sdn.store.reporter import Reporter
from sdn.store.update import Changed, Update
from sdn.topology import parse

ONE = """\
name: t
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 10}, subnet: 10.1.0.0/24}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
"""
TWO = ONE + "  c: {network: web, chassis: hv1}\n"


@dataclass
class FakeSwitch:
    """A switch that holds what it is sent. `refuse` counts how often it will say no, `never` to which flows always."""

    dpid: int | None
    held: dict[FlowKey, Flow] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refuse: int = 0
    never: set[FlowKey] = field(default_factory=set)
    foreign: dict[FlowKey, Flow] = field(default_factory=dict)

    async def reconcile(self, desired: Mapping[FlowKey, Flow]) -> Changes:
        self._maybe_refuse("reconcile")
        for key in self.never & desired.keys():
            raise RefusedError("no such match", about=desired[key])
        self.held = {key: flow for key, flow in desired.items() if key not in self.foreign}
        conflicts = tuple(Conflict(desired[key], flow) for key, flow in self.foreign.items() if key in desired)
        return Changes(add=tuple(self.held.values()), conflicts=conflicts)

    async def program(self, add: Iterable[Flow] = (), change: Iterable[Flow] = (), remove: Iterable[Flow] = ()) -> int:
        self._maybe_refuse("program")
        self.held.update({flow.key: flow for flow in (*add, *change)})
        for flow in remove:
            del self.held[flow.key]
        return 1

    def _maybe_refuse(self, call: str) -> None:
        self.calls.append(call)
        if self.refuse:
            self.refuse -= 1
            raise RefusedError("table full")


@dataclass
class Store:
    """Remembers facts; `seen` is set whenever some come."""

    facts: dict[str, FlowFacts] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, flows: Mapping[str, FlowFacts]) -> None:
        self.facts.update(flows)
        assert self.loop
        self.loop.call_soon_threadsafe(self.seen.set)

    async def until(self, **wanted: tuple[bool, int]) -> None:
        """Until the facts of the chassis are (connected, revision)."""
        async with asyncio.timeout(5):
            while any((f := self.facts.get(n)) is None or (f.connected, f.revision) != w for n, w in wanted.items()):
                await self.seen.wait()
                self.seen.clear()


@dataclass
class Running:
    controller: Controller
    store: Store
    updates: asyncio.Queue[Update]

    def put(self, model: Model, changed: Changed | None = None) -> None:
        self.updates.put_nowait(Update(model, Facts(), changed))


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    store = Store(loop=asyncio.get_running_loop())
    controller = Controller(Reporter(store.report))
    updates: asyncio.Queue[Update] = asyncio.Queue()
    task = asyncio.create_task(controller.run(updates))
    await asyncio.sleep(0)
    try:
        yield Running(controller, store, updates)
    finally:
        task.cancel()
        await asyncio.wait([task])


def model(text: str, revision: int, previous: Model | None = None) -> Model:
    return parse(text, "t.yaml", previous).with_revision(revision)


def wanted(of: Model, chassis: str) -> dict[Any, Flow]:
    return {flow.key: flow for flow in flows(of, chassis)}


async def test_nothing_is_sent_before_the_first_model() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    async with running() as lab:
        lab.controller.switch_up(switch)
        await asyncio.sleep(0)
        assert switch.calls == []
        lab.put(first)
        await lab.store.until(hv1=(True, 1))
        assert switch.held == wanted(first, "hv1")


async def test_a_change_goes_out_as_a_difference_and_is_confirmed_everywhere() -> None:
    first = model(ONE, 1)
    second = model(TWO, 2, first)
    switches = {name: FakeSwitch(first.chassis[name].id) for name in first.chassis}
    async with running() as lab:
        lab.put(first)
        for switch in switches.values():
            lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1), hv2=(True, 1))
        lab.put(second, Changed(ports=frozenset({"c:eth0"})))
        await lab.store.until(hv1=(True, 2), hv2=(True, 2))
    for name, switch in switches.items():
        assert switch.held == wanted(second, name)
        assert switch.calls == ["reconcile", "program"]


async def test_a_revision_without_flow_changes_is_confirmed_too() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1))
        moved = parse("\n" + ONE, "t.yaml", first)  # every line of the file is another, and nothing else
        lab.put(moved.with_revision(2), Changed())
        await lab.store.until(hv1=(True, 2))
    assert switch.calls == ["reconcile"]


async def test_the_same_model_again_asks_for_a_look_at_the_switches() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1))
        switch.held.clear()
        lab.put(first.with_revision(2), Changed())
        await lab.store.until(hv1=(True, 2))
    assert switch.held == wanted(first, "hv1")


async def test_a_foreign_flow_in_the_way_is_told_until_it_is_gone() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    place = next(iter(wanted(first, "hv1").values()))
    switch.foreign = {place.key: place._replace(cookie=7)}
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1))
        assert "is not ours and stays" in lab.store.facts["hv1"].error
        second = model(TWO, 2, first)
        lab.put(second, Changed())
        await lab.store.until(hv1=(True, 2))
        assert "is not ours and stays" in lab.store.facts["hv1"].error, "a later change does not make it forgotten"
        switch.foreign.clear()
        lab.put(second.with_revision(3), Changed())
        await lab.store.until(hv1=(True, 3))
        assert lab.store.facts["hv1"].error == ""
    assert switch.held == wanted(second, "hv1")


async def test_a_flow_that_the_switch_refuses_does_not_hold_up_the_others() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    bad = list(wanted(first, "hv1").values())[3]
    switch.never = {bad.key}
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1))
        assert lab.store.facts["hv1"].error == "no such match"
    assert switch.held == {key: flow for key, flow in wanted(first, "hv1").items() if key != bad.key}


async def test_a_refusal_is_told_and_everything_compared_anew() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id, refuse=1)
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 0))
        assert lab.store.facts["hv1"].error == "table full"
        await lab.store.until(hv1=(True, 1))
        assert lab.store.facts["hv1"].error == ""
    assert switch.calls == ["reconcile", "reconcile"]


async def test_a_switch_that_comes_back_is_reconciled() -> None:
    first = model(ONE, 1)
    old, new = (FakeSwitch(first.chassis["hv1"].id) for _ in range(2))
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(old)
        await lab.store.until(hv1=(True, 1))
        lab.controller.switch_down(old)
        await lab.store.until(hv1=(False, 1))
        lab.controller.switch_up(new)
        await lab.store.until(hv1=(True, 1))
    assert new.held == wanted(first, "hv1")


async def test_a_switch_that_is_no_chassis_is_left_alone() -> None:
    stranger = FakeSwitch(0xDEAD)
    first = model(ONE, 1)
    known = FakeSwitch(first.chassis["hv1"].id)
    async with running() as lab:
        lab.put(first)
        lab.controller.switch_up(stranger)
        lab.controller.switch_up(known)
        await lab.store.until(hv1=(True, 1))
        lab.controller.switch_down(stranger)
    assert stranger.calls == []


async def test_a_store_that_is_away_loses_no_fact() -> None:
    first = model(ONE, 1)
    switch = FakeSwitch(first.chassis["hv1"].id)
    async with running() as lab:
        real, away = lab.store.report, [True, True]

        def flaky(**facts: Any) -> None:
            if away:
                away.pop()
                raise RefusedError("the store is away")
            real(**facts)

        lab.controller._reporter._report = flaky
        lab.put(first)
        lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1))
    assert not away
