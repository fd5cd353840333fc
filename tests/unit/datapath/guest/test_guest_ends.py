"""Guests that end though nobody wished it, and agents that do: who is started again, and who is found again."""

from __future__ import annotations

import pytest

from datapath.errors import TransientError
from datapath.guest.means import BOOT
from datapath.guest.run import STEADY
from tests.unit.datapath.guest.conftest import Worlds
from tests.unit.datapath.guest.fakes import World, calm, guest, nic, spec


@pytest.mark.parametrize(
    ("restart", "died", "starts"),
    [
        ("never", True, 0),
        ("never", False, 0),
        ("on-failure", True, 1),
        ("on-failure", False, 0),
        ("always", True, 1),
        ("always", False, 1),
    ],
)
async def test_restart_policies(world: World, restart: str, died: bool, starts: int) -> None:
    await world.settle(spec("c1", guest("web", restart=restart)))
    instance = world.driver.instances["web"]
    world.log.clear()
    if died:
        instance.end("signal 9\nKernel panic - not syncing")
    else:
        instance.switch_off()
    await calm()
    assert world.guests.settled("c1") is (died or not starts), "who comes back of itself is awaited"
    assert not world.guests.attached("web", "eth0")
    seen = world.last("web")
    assert seen.phase == ("failed" if died else "off" if not starts else "starting")
    assert ("Kernel panic" in seen.error) is died
    assert (seen.note == "it switched itself off") is not died
    await world.clock.advance(1000)
    assert world.log == starts * ["launch web@c1", "start web@c1"]
    assert world.last("web").restarts == starts
    if starts:
        assert world.last("web").phase == "running"
        assert world.last("web").error == ""


async def test_what_it_died_of_stays_known_when_it_runs_again(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    world.driver.instances["web"].end("signal 9\nlast words")
    await world.clock.advance(1)
    assert world.last("web").note == "started again: it died: signal 9"


async def test_back_off(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    waited = []
    for _ in range(8):
        world.driver.instances["web"].end("died")
        begin = world.clock.now()
        while "web" not in world.driver.instances:
            await world.clock.advance(0.5)
        waited.append(world.clock.now() - begin)
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]
    assert world.last("web").restarts == 8

    await world.clock.advance(STEADY)
    world.driver.instances["web"].end("died")
    await world.clock.advance(1)
    assert "web" in world.driver.instances, "after a steady while it is as at first"


async def test_what_rests_stays_at_rest_until_something_else_is_wished(world: World) -> None:
    await world.settle(spec("c1", guest("web", restart="never")))
    world.driver.instances["web"].end("died")
    await calm()
    world.log.clear()
    await world.settle(spec("c1", guest("web", nic("web", ready=False), restart="never")))
    await world.settle(spec("c1", guest("web", restart="never")))
    assert world.log == []
    await world.settle(spec("c1", guest("web", restart="never", power="off")))
    assert (world.last("web").phase, world.last("web").error) == ("off", "")
    await world.settle(spec("c1", guest("web", restart="never")))
    assert world.log == ["launch web@c1", "start web@c1"]


async def test_what_is_wished_otherwise_does_not_wait_for_the_next_start(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    for _ in range(5):
        world.driver.instances["web"].end("no root file system")
        while not world.driver.instances:
            await world.clock.advance(1)
    world.driver.instances["web"].end("no root file system")
    await calm()
    world.log.clear()
    await world.settle(spec("c1", guest("web", image="/var/images/better.qcow2")))
    assert world.log == ["launch web@c1", "start web@c1"]
    assert (world.last("web").error, world.last("web").restarts) == ("", 0)


async def test_a_guest_whose_start_is_refused_can_still_be_switched_off(world: World) -> None:
    world.driver.refusals["start"] = TransientError("busy")
    await world.settle(spec("c1", guest("web")))
    assert "busy" in world.last("web").error
    await world.settle(spec("c1", guest("web", power="off")))
    assert world.log[-1] == "kill web@c1"
    assert (world.last("web").phase, world.last("web").error) == ("off", "")


async def test_a_process_that_stands_still_when_its_guest_is_off_is_ended_at_once(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    world.log.clear()
    instance.state = "off"
    instance.on_happening("shutdown", "guest")
    await calm()
    assert world.log == ["kill web@c1"]
    assert (world.last("web").phase, world.last("web").note) == ("off", "it switched itself off")


# Another agent


async def test_guests_are_found_again(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web"), guest("db", power="paused")), spec("c2", guest("dns")))
    pids = {name: instance.pid for name, instance in first.driver.instances.items()}
    first.guests.close()
    await calm()

    second = worlds(first.driver)
    second.log.clear()
    await second.settle(spec("c1", guest("web"), guest("db", power="paused")), spec("c2", guest("dns")))
    assert second.log == []
    assert {state.guest: (state.pid, state.at, state.phase) for state in second.states} == {
        "web": (pids["web"], "c1", "running"),
        "db": (pids["db"], "c1", "paused"),
        "dns": (pids["dns"], "c2", "running"),
    }
    assert second.guests.settled("c1")
    second.driver.instances["web"].end("signal 9")
    await second.clock.advance(1)
    assert second.log == ["launch web@c1", "start web@c1"], "it is looked after as before"


async def test_a_guest_is_found_on_another_chassis_than_it_is_wished_on(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web")), spec("c2"))
    first.guests.close()
    await calm()
    second = worlds(first.driver)
    second.log.clear()
    await second.settle(spec("c1"), spec("c2", guest("web")))
    assert second.log == []
    assert second.last("web").at == "c1"
    assert not second.guests.settled("c2"), "whoever wishes moves it now, knowing where it is"


async def test_what_was_not_found_for_an_error_is_not_started_twice(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web")))
    first.guests.close()
    await calm()
    second = worlds(first.driver)
    second.log.clear()
    second.driver.refusals["find"] = TransientError("busy")
    await second.settle(spec("c1", guest("web")))
    assert second.log == []
    assert second.guests.errors("c1") == ("guest web: find: busy",)
    second.driver.refusals.clear()
    await second.clock.advance(1)
    assert second.last("web").phase == "running"
    assert second.log == []


async def test_a_guest_that_went_off_while_nobody_watched(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web"), guest("db", restart="always")))
    first.guests.close()
    await calm()
    for instance in first.driver.instances.values():
        instance.state = "off"
    second = worlds(first.driver)
    second.log.clear()
    await second.settle(spec("c1", guest("web"), guest("db", restart="always")))
    await second.clock.advance(1)
    assert second.log == ["kill web@c1", "kill db@c1", "launch db@c1", "start db@c1"]
    assert second.last("web").note == "it switched itself off"


async def test_a_prepared_guest_is_found_and_started(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web", nic("web", ready=False))))
    first.guests.close()
    await calm()
    second = worlds(first.driver)
    await second.settle(spec("c1", guest("web")))
    assert second.log[-1] == "start web@c1"


async def _dies_with_its_guests(world: World, *names: str) -> None:
    """QEMU's pidfiles are there still, so that they were killed."""
    world.guests.close()
    for name in names:
        world.driver.instances.pop(name)
        (world.run_dir / "guests" / name).mkdir(parents=True, exist_ok=True)
        (world.run_dir / "guests" / name / "pid").write_text("4194304")
    await calm()


async def test_one_that_died_with_the_agent_is_treated_as_its_restart_says(worlds: Worlds) -> None:
    first = worlds()
    wishes = spec("c1", guest("once", restart="never"), guest("again"))
    await first.settle(wishes)
    await _dies_with_its_guests(first, "once", "again")

    second = worlds(first.driver)
    second.log.clear()
    await second.settle(wishes)
    assert second.last("once").phase == "failed"
    assert "while nobody watched" in second.last("once").error
    assert second.log == ["launch again@c1", "start again@c1"], "at once: whoever brings the lab up waits for it"
    assert second.last("again").restarts == 1
    assert second.last("again").note == "started again: it died: while nobody watched"
    await second.clock.advance(60)
    assert second.log == []


async def test_one_that_died_with_the_agent_is_waited_for_and_no_error_when_it_runs(worlds: Worlds) -> None:
    first = worlds()
    wishes = spec("c1", guest("web"), guest("db"))
    await first.settle(wishes)
    await _dies_with_its_guests(first, "web", "db")

    second = worlds(first.driver)
    told: list[tuple[bool, tuple[str, ...]]] = []
    second.guests._on_change = lambda chassis: told.append(
        (second.guests.settled(chassis), second.guests.errors(chassis))
    )
    await second.settle(wishes)
    assert any(errors for _, errors in told), "why they start is told meanwhile"
    await second.clock.advance(BOOT)
    assert [errors for settled, errors in told if settled] == [()] * sum(settled for settled, _ in told)
    assert told[-1] == (True, ())
    second.driver.instances["web"].end("signal 9")
    await calm()
    assert second.guests.settled("c1"), "one that dies again waits, and nobody waits for it"
    await second.clock.advance(1)
    assert "web" in second.driver.instances


@pytest.mark.parametrize("died", [True, False])
async def test_what_was_at_rest_stays_so(worlds: Worlds, died: bool) -> None:
    first = worlds()
    wish = spec("c1", guest("web", restart="never"))
    await first.settle(wish)
    instance = first.driver.instances["web"]
    if died:
        instance.end("panic")
    else:
        instance.switch_off()
    await calm()
    first.guests.close()
    await calm()

    second = worlds(first.driver)
    second.log.clear()
    await second.settle(wish)
    assert second.log == []
    assert second.last("web") == first.last("web")
    assert bool(second.guests.errors("c1")) is died
    await second.settle(spec("c1", guest("web", restart="on-failure")))
    assert second.log == ["launch web@c1", "start web@c1"]
    assert second.last("web").error == ""


async def test_an_interrupted_move_is_cleared_up_first(worlds: Worlds) -> None:
    first = worlds()
    await first.settle(spec("c1", guest("web")))
    first.guests.close()
    await calm()
    (first.run_dir / "guests" / "web.arriving").mkdir()
    second = worlds(first.driver)
    await second.settle(spec("c1", guest("web")))
    assert [path.name for path in (first.run_dir / "guests").iterdir()] == ["web"]
    assert second.last("web").phase == "running"


async def test_what_an_earlier_agent_left_and_nobody_wants_is_removed(world: World) -> None:
    for left in ("gone", "moved.arriving"):
        (world.run_dir / "guests" / left).mkdir(parents=True)
    world.guests.settle({"c1": spec("c1", guest("web", power="off"))}, lambda _: True)
    assert not world.guests.settled("c1")
    await calm()
    assert world.guests.settled("c1")
    assert world.changes[-1] == "c1"
    await world.settle(spec("c1", guest("web")))
    assert {line for line in world.log if line.startswith("remove")} == {"remove gone", "remove moved"}
    assert [path.name for path in (world.run_dir / "guests").iterdir()] == ["web"]
