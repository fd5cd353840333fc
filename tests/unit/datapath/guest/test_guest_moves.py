"""Guests that shall be elsewhere: when they move, what is told meanwhile, and what follows when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import RefusedError, TransientError
from datapath.guest.instance import OnHappening, Place
from datapath.guest.means import BOOT
from datapath.guest.qemu import recovery
from datapath.spec import Guest, HostSpec
from tests.unit.datapath.guest.conftest import Worlds
from tests.unit.datapath.guest.fakes import MIB, FakeDriver, FakeInstance, World, calm, guest, nic, spec


@dataclass(frozen=True)
class Moved:
    instance: FakeInstance
    note: str


class FakeMigration:
    """Does what a migration does, step by step as the test says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.error: Exception | None = None

    async def __call__(
        self,
        source: FakeInstance,
        arriving: Guest,
        place: Place,
        driver: FakeDriver,
        on_happening: OnHappening,
        on_switch: Callable[[str], None],
    ) -> Moved:
        self.calls.append((source.chassis, place.chassis, place.directory.name))
        assert source.state in ("running", "paused")
        assert all(interface.ready for interface in arriving.interfaces)
        await calm()
        on_switch(place.chassis)
        await calm()
        if self.error is not None:
            on_switch(source.chassis)
            raise self.error
        home = replace(place, directory=place.directory.with_name(arriving.name))
        instance = FakeInstance(driver, arriving, home, on_happening)
        instance.state = source.state
        source.is_gone = True
        source.on_happening("ended", "quit")
        driver.instances[arriving.name] = instance
        return Moved(instance, "paused for 80 ms")


def moving(ready: bool = True, **machine: Any) -> tuple[HostSpec, ...]:
    here = replace(guest("web", **machine), moves_to="c2")
    there = replace(guest("web", nic("web", ready=ready), **machine), comes_from="c1")
    return spec("c1", here), spec("c2", there)


@pytest.fixture
async def migration(worlds: Worlds) -> tuple[World, FakeMigration]:
    fake = FakeMigration()
    world = worlds(migrate=fake)
    await world.settle(spec("c1", guest("web")), spec("c2"))
    await world.clock.advance(10)
    world.log.clear()
    world.states.clear()
    return world, fake


async def test_a_move_waits_for_the_flows_there(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    await world.settle(*moving(ready=False))
    assert fake.calls == []
    assert not world.guests.settled("c1")
    assert not world.guests.settled("c2")
    world.guests.settle({each.chassis: each for each in moving()}, lambda _: True)
    await calm()
    await calm()
    await calm()
    assert fake.calls == [("c1", "c2", "web.arriving")]
    assert [(state.phase, state.at, state.leaves) for state in world.states] == [
        ("moving", "c1", ""),
        ("moving", "c2", "c1"),
        ("running", "c2", ""),
    ]
    assert world.last("web").note == "paused for 80 ms"
    assert world.guests.at("web") == "c2"
    assert world.guests.attached("web", "eth0")
    assert world.log == []
    await world.settle(spec("c1"), spec("c2", guest("web")))
    assert world.guests.settled("c1")
    assert world.guests.settled("c2")
    assert world.last("web").restarts == 0
    world.driver.instances["web"].end("died there")
    await world.clock.advance(1)
    assert world.log == ["launch web@c2", "start web@c2"]


async def test_a_move_that_fails_leaves_it_where_it_was(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    fake.error = TransientError("the destination did not answer")
    await world.settle(*moving())
    for _ in range(5):
        await calm()
    last = world.last("web")
    assert (last.phase, last.at, last.leaves) == ("running", "c1", "")
    assert "the destination did not answer" in last.error
    assert [(state.at, state.leaves) for state in world.states] == [("c1", ""), ("c2", "c1"), ("c1", ""), ("c1", "")]
    assert world.guests.settled("c1")
    assert world.guests.settled("c2")
    assert world.guests.errors("c1")
    assert world.guests.errors("c2") == ()
    await world.settle(*moving(ready=False))
    await world.settle(*moving())
    await world.clock.advance(1000)
    assert len(fake.calls) == 1, "it is not tried again for the same wish"

    await world.settle(spec("c1", guest("web")), spec("c2"))
    assert world.last("web").error == ""
    fake.error = None
    await world.settle(*moving())
    for _ in range(5):
        await calm()
    assert world.last("web").at == "c2"


async def test_why_a_move_was_refused_is_no_answer_to_another_wish(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    fake.error = RefusedError("it shall have other memory")
    await world.settle(*moving(memory=256 * MIB))
    for _ in range(5):
        await calm()
    assert world.guests.errors("c1")
    fake.error = None
    await world.settle(*moving(ready=False))
    assert world.guests.errors("c1") == ()
    assert not world.guests.settled("c2")
    await world.settle(*moving())
    for _ in range(5):
        await calm()
    assert world.last("web").at == "c2"


async def test_a_guest_that_does_not_run_starts_at_its_new_place(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    await world.settle(spec("c1", guest("web", power="off")), spec("c2"))
    await world.settle(spec("c1"), spec("c2", guest("web")))
    assert world.log[-2:] == ["launch web@c2", "start web@c2"]
    assert fake.calls == []


async def test_a_guest_that_has_not_started_yet_is_made_anew_there(worlds: Worlds) -> None:
    fake = FakeMigration()
    world = worlds(migrate=fake)
    await world.settle(spec("c1", guest("web", nic("web", ready=False))), spec("c2"))
    await world.settle(*moving())
    assert world.log == ["launch web@c1", "kill web@c1", "launch web@c2", "start web@c2"]
    assert fake.calls == []


async def test_a_guest_whose_chassis_has_gone_starts_elsewhere(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    await world.settle(spec("c2", guest("web")))
    assert world.log == ["kill web@c1", "launch web@c2", "start web@c2"]
    assert fake.calls == []


async def test_a_guest_that_dies_while_it_waits_to_move_starts_there(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    await world.settle(*moving(ready=False))
    world.driver.instances["web"].end("died")
    await world.clock.advance(1)
    assert world.log == ["launch web@c2"]
    assert fake.calls == []


async def test_a_move_that_is_refused_from_the_start(migration: tuple[World, FakeMigration]) -> None:
    world, fake = migration
    fake.error = RefusedError("0000:03:10.2 is passed through")
    await world.settle(*moving())
    for _ in range(5):
        await calm()
    assert "passed through" in world.guests.errors("c1")[0]
    assert world.guests.attached("web", "eth0")


async def test_an_agent_that_ends_while_it_moves_leaves_the_rest_to_the_next(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is let go of first, then the move is called off: nothing is asked of either afterwards."""
    called_off = asyncio.Event()
    recovered: list[Path] = []

    async def hang(*_: Any) -> Moved:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            called_off.set()
            raise
        raise AssertionError

    async def recover(home: Path, *, runs: bool) -> None:
        assert runs
        recovered.append(home)

    monkeypatch.setattr(recovery, "recover", recover)
    first = worlds(migrate=hang)
    await first.settle(spec("c1", guest("web")), spec("c2"))
    await first.clock.advance(BOOT)
    await first.settle(*moving())
    assert first.last("web").phase == "moving"
    first.log.clear()
    home = first.run_dir / "guests" / "web"
    home.with_name("web.arriving").mkdir()
    told = len(first.states)
    first.guests.close()
    await calm()
    assert called_off.is_set()
    assert (first.log, first.states[told:]) == ([], [])
    assert first.driver.instances["web"].is_closed

    second = worlds(first.driver, migrate=hang)
    await second.settle(*moving())
    assert recovered == [home]
    assert second.last("web").at == "c1"
