"""Wishes about the guests of a running lab: what is written, what is waited for, what is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from datapath.errors import CheckError
from sdn.lab import guests
from sdn.lab.guests import Work
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts
from sdn.store import Store, Written
from tests.unit.cli.sample import guest_facts, machines

Agent = Callable[[Model, Facts], Facts]


@dataclass
class FakeStore:
    """An agent answers whoever watches."""

    current: Model
    seen: Facts
    agent: Agent
    powers: list[dict[str, str]] = field(default_factory=list)

    def model(self) -> Model:
        return self.current

    def facts(self) -> Facts:
        return self.seen

    def change(self, edit: Callable[[Model | None], Model]) -> Written:
        before, model = self.current, edit(self.current)
        if model != self.current:
            self.powers.append({name: guest.machine.power for name, guest in model.guests.items()})
            self.current = model.with_revision(self.current.revision + 1)
        return Written(self.current.revision, self.current, before)

    def watch(self, _: asyncio.AbstractEventLoop) -> asyncio.Queue[Any]:
        updates: asyncio.Queue[Any] = asyncio.Queue()
        self.seen = self.agent(self.current, self.seen)
        updates.put_nowait(Update(self.seen))
        return updates


@dataclass(frozen=True)
class Update:
    facts: Facts


def confirmed(model: Model, facts: Facts) -> Facts:
    hosts = {name: replace(host, revision=model.revision) for name, host in facts.hosts.items()}
    flows = {name: replace(flow, revision=model.revision) for name, flow in facts.flows.items()}
    return replace(facts, hosts=hosts, flows=flows)


def obeys(model: Model, facts: Facts) -> Facts:
    """Does what is wished, and forgets guests that nobody wants."""
    powers = {name: guest.machine.power for name, guest in model.guests.items()}
    seen = {name: GuestFacts(guests.PHASES[power], "hv1", answers=power == "on") for name, power in powers.items()}
    return confirmed(model, replace(facts, guests=seen))


def fails(model: Model, facts: Facts) -> Facts:
    seen = {name: GuestFacts("failed", error="QEMU has no room") for name in model.guests}
    return confirmed(model, replace(facts, guests=seen))


def sleeps(_: Model, facts: Facts) -> Facts:
    return facts


@pytest.fixture(autouse=True)
def _run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))


def work(store: FakeStore, *names: str, seconds: float = 5.0) -> Work:
    return Work(cast(Store, store), names, time.monotonic() + seconds, lambda *_: None)


def running(agent: Agent, **seen: GuestFacts) -> FakeStore:
    model = machines().with_revision(7)
    return FakeStore(model, guest_facts(model, **seen), agent)


def test_only_those_that_are_meant_are_switched() -> None:
    store = running(obeys)
    facts = guests.switch(work(store, "vm1"), "off")
    assert store.powers == [{"vm1": "off", "vm2": "on"}]
    assert facts.guests["vm1"].phase == "off"


def test_what_is_so_already_is_not_waited_for() -> None:
    store = running(sleeps)
    guests.switch(work(store, "vm1", "vm2"), "on")
    assert store.powers == []


def test_a_guest_that_has_ended_by_itself_is_started_by_a_wish_that_changes() -> None:
    """Wished on already, it rests: only another wish wakes it."""
    store = running(obeys, vm1=GuestFacts("failed", error="it died"))
    guests.switch(work(store, "vm1", "vm2"), "on")
    assert store.powers == [{"vm1": "off", "vm2": "on"}, {"vm1": "on", "vm2": "on"}]


def test_what_is_wrong_is_told() -> None:
    store = running(fails, vm1=GuestFacts("off"))
    store.current = guests.powered(store.current, ["vm1"], "off")
    with pytest.raises(CheckError, match="vm1 is failed: QEMU has no room"):
        guests.switch(work(store, "vm1"), "on")


def boots(model: Model, facts: Facts) -> Facts:
    """Nobody in them answers yet."""
    seen = {name: replace(guest, answers=False) for name, guest in obeys(model, facts).guests.items()}
    return confirmed(model, replace(facts, guests=seen))


def hangs(model: Model, facts: Facts) -> Facts:
    seen = {name: replace(guest, error="has not answered") for name, guest in boots(model, facts).guests.items()}
    return confirmed(model, replace(facts, guests=seen))


def off(agent: Agent) -> FakeStore:
    store = running(agent, vm1=GuestFacts("off"), vm2=GuestFacts("off"))
    store.current = guests.powered(store.current, ["vm1", "vm2"], "off")
    return store


def test_the_built_in_guest_is_on_when_it_answers() -> None:
    with pytest.raises(CheckError, match="not done in time: vm1 is running: no guest agent answers in it"):
        guests.switch(work(off(boots), "vm1", seconds=0.1), "on")
    with pytest.raises(CheckError, match="vm1 is running: has not answered"):
        guests.switch(work(off(hangs), "vm1"), "on")


def test_an_image_may_have_no_agent() -> None:
    assert guests.switch(work(off(boots), "vm2"), "on").guests["vm2"].phase == "running"


def test_what_else_a_chassis_does_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "_IN_STEP", 0.1)
    store = off(lambda model, facts: replace(obeys(model, facts), hosts=facts.hosts))
    guests.switch(work(store, "vm1", seconds=60), "on")


def test_one_that_does_not_listen() -> None:
    with pytest.raises(CheckError, match="not done in time: vm1 is running"):
        guests.switch(work(running(sleeps), "vm1", seconds=0.1), "off")


def test_it_is_hastened_once_it_is_wished() -> None:
    store, powers = running(obeys), []
    guests.switch(work(store, "vm1"), "off", lambda: powers.append(store.current.guests["vm1"].machine.power))
    assert powers == ["off"]


def test_a_guest_is_deleted_with_all_that_mentions_it() -> None:
    store = running(obeys)
    guests.delete(work(store, "vm1"))
    model = store.current
    assert set(model.nodes) == {"web1", "vm2"}
    assert set(model.guests) == {"vm2"}
    assert not any(port.node == "vm1" for port in model.ports.values())
    assert (model.tests["mesh"].sources, model.tests["mesh"].targets) == (("web1", "vm2"), ("vm2",))


def test_a_test_without_targets_goes_too() -> None:
    assert guests.without(machines(), ["vm1", "vm2"]).tests == {}


def test_it_answers_in_time_or_not() -> None:
    mute = GuestFacts("running", "hv1", answers=False)
    assert guests.answer(work(running(sleeps), "vm1"))
    assert not guests.answer(work(running(sleeps, vm1=mute), "vm1", seconds=0.1))
