"""The controller against switches that only remember: what is sent, when it is confirmed, what a failure leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from datapath.errors import RefusedError
from datapath.openflow.codec import FlowEvent, FlowStats, FlowUpdate
from datapath.openflow.flow import Flow, FlowKey, match
from sdn.controller import Controller
from sdn.model import Model
from sdn.model.facts import Drift, Facts, FlowFacts
from sdn.pipeline import flows
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK, Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.southbound.changes import Changes, compare
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
    tell: Callable[[list[FlowUpdate]], None] | None = None
    monitors: bool = True
    on_silence: Callable[[bool], None] | None = None
    gave_up: bool = False
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()

    async def monitor(self, _tables: Mapping[int, Any], on_updates: Callable[[list[FlowUpdate]], None]) -> None:
        if not self.monitors:
            raise RefusedError("no flow monitors here")
        self.tell = on_updates

    async def barrier(self) -> None:
        await asyncio.sleep(0)

    def damage(self, event: FlowEvent, *flows: Flow) -> None:
        """Somebody else changes flows, and the switch tells."""
        for flow in flows:
            if event is FlowEvent.REMOVED:
                self.held.pop(flow.key, None)
                self.foreign.pop(flow.key, None)
            else:
                (self.held if flow.cookie >> 48 == COOKIE_MARK else self.foreign)[flow.key] = flow
        if self.tell:
            self.tell([FlowUpdate(event, flow) for flow in flows])

    async def reconcile(self, desired: Mapping[FlowKey, Flow]) -> Changes:
        self._maybe_refuse("reconcile")
        for key in self.never & desired.keys():
            raise RefusedError("no such match", about=desired[key])
        changes = compare(desired, {key: FlowStats(f, 0, 0, 0) for key, f in {**self.held, **self.foreign}.items()})
        self.held = {key: flow for key, flow in desired.items() if key not in self.foreign}
        return changes

    async def program(self, add: Iterable[Flow] = (), change: Iterable[Flow] = (), remove: Iterable[Flow] = ()) -> int:
        self._maybe_refuse("program")
        await self.goes_on.wait()
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
    drifts: dict[str, Drift] = field(default_factory=dict)
    reports: list[set[str]] = field(default_factory=list)
    """Whose flows each was about."""

    def report(
        self, flows: Mapping[str, FlowFacts] = MappingProxyType({}), drifts: Mapping[str, Drift] = MappingProxyType({})
    ) -> None:
        self.facts.update(flows)
        self.drifts.update(drifts)
        self.reports.append(set(flows))
        assert self.loop
        self.loop.call_soon_threadsafe(self.seen.set)

    async def until(self, **wanted: tuple[bool, int]) -> None:
        """Until the facts of the chassis are (connected, revision)."""
        async with asyncio.timeout(5):
            while any((f := self.facts.get(n)) is None or (f.connected, f.revision) != w for n, w in wanted.items()):
                await self.seen.wait()
                self.seen.clear()

    async def until_note(self, chassis: str, begins: str = "") -> str:
        """The note, when there is one that begins so."""
        async with asyncio.timeout(5):
            while not (note := self.facts[chassis].note) or not note.startswith(begins):
                await self.seen.wait()
                self.seen.clear()
        return note

    async def until_drift(self, told: Callable[[Drift], bool]) -> Drift:
        """The newest one, when it is so."""
        async with asyncio.timeout(5):
            while not self.drifts or not told(list(self.drifts.values())[-1]):
                await self.seen.wait()
                self.seen.clear()
        return list(self.drifts.values())[-1]


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


async def test_switches_that_are_programmed_together_are_told_of_together() -> None:
    """But none waits for one that hangs."""
    first = model(ONE, 1)
    switches = [FakeSwitch(chassis.id) for chassis in first.chassis.values()]
    async with running() as lab:
        lab.put(first)
        for switch in switches:
            lab.controller.switch_up(switch)
        await lab.store.until(hv1=(True, 1), hv2=(True, 1))
        lab.store.reports.clear()
        second = model(TWO, 2, first)
        switches[1].goes_on.clear()
        lab.put(second, Changed())
        asyncio.get_running_loop().call_later(0.005, switches[1].goes_on.set)
        await lab.store.until(hv1=(True, 2), hv2=(True, 2))
        assert lab.store.reports == [{"hv1", "hv2"}]
        switches[1].goes_on.clear()
        lab.put(model(ONE, 3, second), Changed())
        await lab.store.until(hv1=(True, 3), hv2=(True, 2))
        switches[1].goes_on.set()
        await lab.store.until(hv2=(True, 3))


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


# What others change


def repaired(drift: Drift) -> bool:
    return drift.repaired > 0


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[tuple[Running, FakeSwitch, dict[Any, Flow]]]:
    """A switch that has what it should; its flows."""
    first = model(ONE, 1)
    async with running() as run:
        switch = FakeSwitch(first.chassis["hv1"].id, **options)
        run.put(first)
        await asyncio.sleep(0)
        run.controller.switch_up(switch)
        await run.store.until(hv1=(True, 1))
        yield run, switch, wanted(first, "hv1")


DAMAGES: dict[str, Callable[[Flow], tuple[FlowEvent, Flow]]] = {
    "removed": lambda flow: (FlowEvent.REMOVED, flow),
    "changed": lambda flow: (FlowEvent.MODIFIED, flow._replace(actions=(), goto=3)),
    "added": lambda flow: (FlowEvent.ADDED, flow._replace(priority=4711)),
}


@pytest.mark.parametrize("how", DAMAGES)
async def test_what_others_change_is_put_right_and_told(how: str) -> None:
    async with watched() as (run, switch, desired):
        flow = next(flow for flow in desired.values() if flow.match)
        event, damaged = DAMAGES[how](flow)
        switch.damage(event, damaged)
        drift = await run.store.until_drift(repaired)
        assert switch.held == desired
        assert switch.calls == ["reconcile", "program"]
        assert (drift.chassis, drift.how, drift.error) == ("hv1", how, "")
        assert drift.found <= drift.repaired
        assert len(run.store.drifts) == 1


async def test_many_at_once_are_one_drift_and_one_comparison() -> None:
    async with watched() as (run, switch, desired):
        more = [Flow(0, 9, match(eth_dst=n), cookie=next(iter(desired.values())).cookie) for n in range(1, 300)]
        switch.damage(FlowEvent.ADDED, *more[:150])
        switch.damage(FlowEvent.ADDED, *more[150:])
        drift = await run.store.until_drift(repaired)
        assert drift.what.startswith("299 flows, such as classify 9 eth_dst=00:00:00:00:00:01 of ")
        assert switch.held == desired
        assert switch.calls == ["reconcile", "reconcile"]
        assert len(run.store.drifts) == 1


async def test_what_is_not_ours_or_as_it_should_be_is_no_drift() -> None:
    async with watched() as (run, switch, desired):
        flow = next(iter(desired.values()))
        learned = Flow(44, 1, match(eth_dst=1), cookie=Cookie(Kind.LEARNED, 16).pack(), idle_timeout=300)
        user = Flow(0, 7, match(in_port=9), cookie=0x1234)
        switch.damage(FlowEvent.ADDED, learned, user, flow)
        switch.damage(FlowEvent.REMOVED, learned, user, flow._replace(priority=4711))
        switch.damage(FlowEvent.REMOVED, flow)  # what is told after it is
        await run.store.until_drift(repaired)
        assert len(run.store.drifts) == 1
        assert switch.calls == ["reconcile", "program"]


async def test_a_foreign_flow_in_the_place_of_ours_stays_until_it_is_gone() -> None:
    async with watched() as (run, switch, desired):
        flow = next(iter(desired.values()))
        switch.damage(FlowEvent.ADDED, flow._replace(cookie=0x77))
        drift = await run.store.until_drift(lambda drift: bool(drift.error))
        assert (drift.how, drift.repaired) == ("changed", 0)
        assert "is not ours and stays" in drift.error
        assert "is not ours and stays" in run.store.facts["hv1"].error
        switch.damage(FlowEvent.REMOVED, flow._replace(cookie=0x77))
        await run.store.until_drift(repaired)
        assert switch.held == desired
        assert len(run.store.drifts) == 1


async def test_a_switch_that_paused_is_compared() -> None:
    async with watched() as (run, switch, desired):
        assert switch.tell
        switch.tell([FlowUpdate(FlowEvent.PAUSED)])
        switch.damage(FlowEvent.ADDED, next(iter(desired.values()))._replace(goto=3))
        for flow in list(desired.values())[:2]:
            del switch.held[flow.key]
        switch.tell([FlowUpdate(FlowEvent.RESUMED)])
        drift = await run.store.until_drift(repaired)
        assert (drift.how, switch.held) == ("removed", desired)
        assert switch.calls == ["reconcile", "reconcile"]


async def test_what_cannot_be_put_right_says_why_and_is_tried_again() -> None:
    async with watched() as (run, switch, desired):
        switch.refuse = 1
        switch.damage(FlowEvent.REMOVED, next(iter(desired.values())))
        await run.store.until_drift(lambda drift: drift.error == "table full")
        drift = await run.store.until_drift(repaired)
        assert (drift.error, switch.held) == ("", desired)
        assert len(run.store.drifts) == 1


async def test_a_switch_that_comes_back_empty_has_lost_its_flows() -> None:
    async with watched() as (run, switch, desired):
        theirs = [Flow(0, 7, match(in_port=number), cookie=USER_MARK << 48) for number in (1, 2)]
        switch.damage(FlowEvent.ADDED, *theirs)
        run.controller.switch_down(switch)
        await run.store.until(hv1=(False, 1))
        back = FakeSwitch(switch.dpid)
        run.controller.switch_up(back)
        drift = await run.store.until_drift(repaired)
        assert drift.how == "lost"
        assert drift.what.startswith(f"{len(desired)} flows, such as ")
        assert drift.what.endswith("; 2 flows that were not the lab's are gone for good")
        run.controller.switch_down(back)
        again = FakeSwitch(switch.dpid, held=back.held)
        run.controller.switch_up(again)
        await run.store.until(hv1=(True, 1))
        assert len(run.store.drifts) == 1, "nothing was lost the second time"


async def test_a_fight_is_one_drift_and_slowed_down_and_said() -> None:
    async with watched() as (run, switch, desired):
        flow, other = list(desired.values())[:2]
        over = asyncio.get_running_loop().time() + 1.2  # how often it is put right in that time is what is tested
        while asyncio.get_running_loop().time() < over:
            if flow.key in switch.held:
                switch.damage(FlowEvent.REMOVED, flow)
            await asyncio.sleep(0)
        assert switch.calls.count("program") <= 7
        await run.store.until_drift(repaired)
        (fought,) = run.store.drifts.values()
        assert 5 <= fought.times <= 8
        switch.damage(FlowEvent.REMOVED, flow)
        before = len(switch.calls)
        await asyncio.sleep(0.05)  # nothing tells that it waits
        assert len(switch.calls) == before
        switch.damage(FlowEvent.REMOVED, other)
        async with asyncio.timeout(0.5):
            while switch.held != desired:  # something else does not wait, and takes the other along
                await asyncio.sleep(0)
        assert "somebody fights with sdn: flow " in run.store.facts["hv1"].note
        assert run.store.facts["hv1"].error == ""


async def test_flows_of_users_wake_nobody() -> None:
    async with watched() as (run, switch, desired):
        calls = list(switch.calls)
        for n in range(3):
            switch.damage(FlowEvent.ADDED, Flow(0, 7, match(in_port=n), cookie=USER_MARK << 48))
            switch.damage(FlowEvent.REMOVED, Flow(0, 7, match(in_port=n), cookie=USER_MARK << 48))
        for _ in range(20):
            await asyncio.sleep(0)  # whoever is awake has his turn
        assert switch.calls == calls
        assert not run.store.drifts
        assert switch.held == desired


async def test_flows_of_users_are_counted_in_a_note() -> None:
    async with watched() as (run, switch, _):
        theirs = [Flow(0, 7, match(in_port=n), cookie=number) for n, number in enumerate((0, USER_MARK << 48))]
        switch.damage(FlowEvent.ADDED, *theirs)
        assert (await run.store.until_note("hv1")).startswith("2 flows are not the lab's")
        switch.damage(FlowEvent.REMOVED, theirs[0])
        assert (await run.store.until_note("hv1", "1 flow is")).endswith("(sdn flows --foreign)")
        assert run.store.facts["hv1"].error == ""


async def test_flows_of_users_from_before_are_counted() -> None:
    theirs = Flow(0, 7, match(in_port=1), cookie=7)
    async with watched(foreign={theirs.key: theirs}) as (run, _, _):
        assert run.store.facts["hv1"].note.startswith("1 flow is not the lab's")


async def test_flows_of_users_in_tables_that_nothing_leads_to_are_not_counted() -> None:
    """The switch does not tell when they go."""
    reached, other = (Flow(table, 7, match(in_port=1), cookie=7) for table in (Table.LEARNED, 100))
    async with watched(foreign={flow.key: flow for flow in (reached, other)}) as (run, switch, _):
        assert (await run.store.until_note("hv1")).startswith("1 flow is not the lab's")
        switch.damage(FlowEvent.REMOVED, reached)
        async with asyncio.timeout(5):
            while run.store.facts["hv1"].note:
                await run.store.seen.wait()
                run.store.seen.clear()


async def test_a_switch_that_hangs_does_not_pass_for_a_connected_one() -> None:
    """Also when its session has been given up; when it answers again, all is as it was."""
    async with watched() as (run, switch, _):
        assert switch.on_silence
        switch.on_silence(True)
        await run.store.until(hv1=(False, 1))
        assert run.store.facts["hv1"].silent
        switch.on_silence(False)
        await run.store.until(hv1=(True, 1))
        assert run.store.facts["hv1"].error == ""
        switch.on_silence(True)
        switch.gave_up = True
        run.controller.switch_down(switch)
        await run.store.until(hv1=(False, 1))
        assert run.store.facts["hv1"].silent
        run.controller.switch_up(switch)
        await run.store.until(hv1=(True, 1))
        assert run.store.facts["hv1"].error == ""


async def test_a_switch_that_hung_and_is_gone_is_said_to_be_gone() -> None:
    async with watched() as (run, switch, _):
        assert switch.on_silence
        switch.on_silence(True)
        await run.store.until(hv1=(False, 1))
        run.controller.switch_down(switch)
        async with asyncio.timeout(5):
            while run.store.facts["hv1"].silent:
                await run.store.seen.wait()
                run.store.seen.clear()
        assert not run.store.facts["hv1"].connected
        assert run.store.facts["hv1"].error == ""


async def test_a_switch_without_monitors_is_programmed_all_the_same() -> None:
    async with watched(monitors=False) as (run, switch, desired):
        assert switch.held == desired
        assert run.store.facts["hv1"].error == ""
