"""What keepers do of themselves: starts in turn, hot-plug, power, removal, and who is told."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from datapath.errors import RefusedError, TransientError
from datapath.guest.means import ANSWER, BOOT, BUTTON, LINGER
from datapath.spec import HostSpec
from tests.unit.datapath.guest.conftest import Worlds
from tests.unit.datapath.guest.fakes import MIB, FakeInstance, World, calm, guest, nic, spec


async def test_a_guest_starts_when_every_interface_is_ready(world: World) -> None:
    waits = guest("web", nic("web", "eth0"), nic("web", "eth1", ready=False))
    await world.settle(spec("c1", waits))
    assert world.log == ["launch web@c1"]
    assert not world.guests.settled("c1")
    assert not world.guests.attached("web", "eth0")
    assert world.last("web").phase == "starting"
    assert world.last("web").at == "c1"

    await world.settle(spec("c1", guest("web", nic("web", "eth0"), nic("web", "eth1"))))
    assert world.log == ["start web@c1"]
    assert world.guests.attached("web", "eth1")
    assert world.guests.at("web") == "c1"
    await world.clock.advance(BOOT)
    assert world.guests.settled("c1")
    assert world.phases("web")[-1] == "running"
    assert world.guests.errors("c1") == ()
    assert "c1" in world.changes


async def test_what_may_pass_is_waited_for_and_what_may_not_is_told(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    more = spec("c1", guest("web", nic("web", "eth0"), nic("web", "eth1")))
    world.driver.refusals["adapt"] = TransientError("another process has the disk")
    await world.settle(more)
    assert world.guests.errors("c1") == ("guest web: plug: another process has the disk",)
    assert not world.guests.settled("c1")
    world.driver.refusals["adapt"] = RefusedError("no slot is free")
    await world.clock.advance(1)
    assert world.guests.settled("c1")
    del world.driver.refusals["adapt"]
    await world.clock.advance(5)
    assert (world.guests.settled("c1"), world.guests.errors("c1")) == (True, ())


@pytest.mark.parametrize("what", ["launch", "adapt"])
async def test_a_wish_that_is_made_anew_does_not_wait(world: World, what: str) -> None:
    """What has failed is tried at once, and until then nobody hears the old reason."""
    world.driver.refusals[what] = RefusedError("there is no volume data1")
    await world.settle(spec("c1", guest("web")))
    assert world.guests.settled("c1")
    await world.settle(spec("c1", guest("web")))
    assert world.guests.settled("c1"), "it is the same wish, and nobody makes it anew"
    del world.driver.refusals[what]
    world.guests.settle({"c1": spec("c1", guest("web"))}, lambda _: True, anew=True)
    assert not world.guests.settled("c1")
    await calm()
    assert world.guests.errors("c1") == ()
    await world.clock.advance(BOOT)
    assert world.guests.settled("c1")


async def test_a_guest_that_has_died_and_is_wished_anew_starts_at_once(world: World) -> None:
    await world.settle(spec("c1", guest("web", restart="on-failure")))
    world.driver.instances["web"].end("panic")
    await world.clock.advance(1)
    world.driver.instances["web"].end("panic")
    await calm()
    assert world.guests.settled("c1"), "it is not its first death: it starts again after a while, which nobody awaits"
    world.log.clear()
    await world.settle(spec("c1", guest("web", restart="on-failure")), anew=True)
    assert world.log == ["launch web@c1", "start web@c1"]
    assert world.guests.errors("c1") == ()


async def test_a_tap_that_is_removed_takes_the_interface_away_until_another_is_plugged(world: World) -> None:
    def wish(ready: bool, tap: int) -> HostSpec:
        return spec("c1", guest("web", replace(nic("web", "eth0", ready=ready), tap=tap), nic("web", "eth1")))

    await world.settle(wish(True, 5))
    await world.clock.advance(BOOT)
    assert world.guests.settled("c1")
    for removed in (wish(False, 0), wish(False, 6)):  # it is gone; another has its name, but no flows yet
        await world.settle(removed)
        assert not world.guests.attached("web", "eth0")
        assert not world.guests.settled("c1")
        assert world.guests.attached("web", "eth1")
    world.changes.clear()
    await world.settle(wish(True, 6))
    assert world.guests.attached("web", "eth0")
    assert world.guests.settled("c1")
    assert world.changes == ["c1"]
    assert world.log == ["launch web@c1", "start web@c1"]


async def test_a_wish_that_is_the_same_does_nothing(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    told = list(world.states), list(world.changes)
    world.driver.log.clear()
    await world.settle(spec("c1", guest("web")))
    assert (world.driver.log, (world.states, world.changes)) == ([], told)
    assert world.clock.due == float("inf"), "nothing is awaited but events"


async def test_no_more_boot_at_once_than_there_are_slots(world: World) -> None:
    await world.settle(spec("c1", *(guest(f"g{number}", builtin=True) for number in range(5))))
    assert [line for line in world.log if "launch" in line] == ["launch g0@c1", "launch g1@c1"]
    assert world.last("g4").phase == "starting"
    assert world.last("g4").at == ""

    await world.clock.advance(ANSWER / 2)
    assert world.log == [], "a slot is kept until the guest's agent answers"
    world.driver.instances["g1"].answer()
    await calm()
    assert world.log == ["launch g2@c1", "start g2@c1"]
    await world.clock.advance(ANSWER / 2)
    assert [line for line in world.log if "launch" in line] == ["launch g3@c1"], "g0 never answered"
    assert "has not answered" in world.last("g0").error
    assert "has not answered" in world.guests.errors("c1")[0]


async def test_what_never_answered_and_then_does(world: World) -> None:
    await world.settle(spec("c1", guest("web", builtin=True)))
    assert not world.guests.settled("c1")
    await world.clock.advance(ANSWER)
    assert world.guests.settled("c1")
    assert world.guests.errors("c1")
    world.driver.instances["web"].answer()
    await calm()
    assert world.guests.errors("c1") == ()
    assert world.last("web").answers


async def test_an_agent_that_falls_silent_has_time_to_come_back(world: World) -> None:
    """A guest that boots again, or whose agent does, is no trouble; one that stays silent is."""
    await world.settle(spec("c1", guest("web", builtin=True)))
    instance = world.driver.instances["web"]
    instance.answer()
    await calm()
    await world.clock.advance(ANSWER)
    instance.fall_silent()
    await calm()
    assert (world.guests.settled("c1"), world.guests.errors("c1")) == (True, ())
    await world.clock.advance(ANSWER)
    assert "has not answered" in world.guests.errors("c1")[0]


async def test_guests_without_an_agent_hand_their_slot_on_after_a_while(world: World) -> None:
    await world.settle(spec("c1", guest("a"), guest("b"), guest("c")))
    assert "launch c@c1" not in world.log
    await world.clock.advance(BOOT)
    assert "launch c@c1" in world.log


async def test_a_guest_without_flows_does_not_hold_the_others_up(world: World) -> None:
    blocked = [guest(name, nic(name, ready=False)) for name in ("a", "b")]
    await world.settle(spec("c1", *blocked), spec("c2", guest("c")))
    assert world.log == ["launch a@c1", "launch b@c1"]
    await world.clock.advance(BOOT)
    assert world.log == ["launch c@c2", "start c@c2"]
    await world.settle(spec("c1", guest("a"), guest("b")), spec("c2", guest("c")))
    assert world.log == ["start a@c1"], "they take turns again"


async def test_a_guest_that_dies_while_it_boots_hands_its_slot_on(world: World) -> None:
    names = ("a", "b", "c")
    await world.settle(spec("c1", *(guest(name, restart="never", builtin=True) for name in names)))
    world.log.clear()
    world.driver.instances["a"].end("panic")
    await calm()
    assert "launch c@c1" in world.log


async def test_interfaces_are_plugged_and_unplugged_while_it_runs(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    more = nic("web", "eth1", ready=False)
    await world.settle(spec("c1", guest("web", nic("web"), more)))
    assert not world.guests.settled("c1")
    assert not world.guests.attached("web", "eth1")
    await world.settle(spec("c1", guest("web", nic("web"), replace(more, ready=True))))
    assert world.guests.settled("c1")
    assert world.guests.attached("web", "eth1")
    await world.settle(spec("c1", guest("web")))
    assert not world.guests.attached("web", "eth1")
    assert [line for line in world.log if "launch" in line] == ["launch web@c1"]


async def test_what_needs_a_start_is_said(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.settle(spec("c1", guest("web", memory=256 * MIB)))
    await world.clock.advance(BOOT)
    assert world.last("web").note == "memory 256M comes with the next start"
    assert world.guests.settled("c1")
    await world.settle(spec("c1", guest("web", memory=256 * MIB, power="off")))
    await world.settle(spec("c1", guest("web", memory=256 * MIB)))
    assert world.last("web").note == ""
    assert world.driver.instances["web"].guest.machine.memory == 256 * MIB


async def test_a_plug_that_is_refused_is_told_and_repeated_now_and_then(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    world.driver.refusals["adapt"] = RefusedError("no slot is free")
    more = guest("web", nic("web"), nic("web", "eth1"))
    await world.settle(spec("c1", more))
    assert world.guests.errors("c1") == ("guest web: plug: no slot is free",)
    assert world.guests.settled("c1")
    world.driver.log.clear()
    world.driver.instances["web"].answer()
    await world.clock.advance(60)
    assert world.driver.log == 3 * ["adapt web@c1"], "after 5, 15 and 35 s"
    del world.driver.refusals["adapt"]
    await world.clock.advance(60)
    assert world.guests.errors("c1") == ()
    assert world.guests.attached("web", "eth1")


async def test_a_refused_plug_is_no_error_of_another_wish(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    world.driver.refusals["adapt"] = RefusedError("no slot is free")
    await world.settle(spec("c1", guest("web", nic("web"), nic("web", "eth1"))))
    assert world.guests.errors("c1")
    del world.driver.refusals["adapt"]
    await world.settle(spec("c1", guest("web")))
    assert world.guests.errors("c1") == ()


async def test_power(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.settle(spec("c1", guest("web", power="paused")))
    assert world.log[-1] == "pause web@c1"
    assert world.last("web").phase == "paused"
    assert world.guests.attached("web", "eth0")
    await world.settle(spec("c1", guest("web")))
    assert world.log == ["resume web@c1"]
    await world.settle(spec("c1", guest("web", power="off")))
    assert world.log == ["button web@c1"]
    assert world.last("web").phase == "off"
    assert world.last("web").at == ""
    assert (world.last("web").note, world.last("web").error) == ("", "")
    assert world.guests.settled("c1")
    await world.settle(spec("c1", guest("web")))
    assert world.log == ["launch web@c1", "start web@c1"]
    assert world.last("web").restarts == 0


async def test_a_guest_that_is_wished_paused_from_the_first_does_not_start(world: World) -> None:
    await world.settle(spec("c1", guest("web", power="paused")))
    assert world.log == ["launch web@c1"]
    assert world.last("web").phase == "paused"
    assert world.guests.settled("c1")
    await world.settle(spec("c1", guest("web")))
    assert world.log == ["start web@c1"]


async def test_one_that_has_died_and_shall_be_paused_is_as_wished_when_it_is_prepared_again(world: World) -> None:
    paused = spec("c1", guest("web", power="paused", restart="always"))
    await world.settle(paused)
    world.driver.instances["web"].end("killed")
    await calm()
    await world.clock.advance(1)
    assert world.log == ["launch web@c1", "launch web@c1"]
    assert (world.guests.errors("c1"), world.guests.settled("c1")) == ((), True)
    assert world.last("web").note == "started again: it died: killed"


async def test_a_guest_that_does_not_hear_its_power_button_is_killed(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    world.driver.instances["web"].is_deaf = True
    await world.settle(spec("c1", guest("web", power="off")))
    await world.clock.advance(BUTTON - 0.1)
    assert world.log[-1] == "button web@c1"
    assert not world.guests.settled("c1")
    await world.clock.advance(0.1)
    assert world.log == ["kill web@c1"]
    assert world.last("web").phase == "off"
    assert world.guests.settled("c1")


async def test_switched_on_again_while_it_switches_off(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    instance.is_deaf = True
    await world.settle(spec("c1", guest("web", power="off")))
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(2 * BUTTON)
    assert "kill web@c1" not in world.log
    assert world.guests.settled("c1")


async def test_switched_on_again_just_before_it_is_off(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    instance.is_deaf = True
    await world.settle(spec("c1", guest("web", power="off")))
    await world.settle(spec("c1", guest("web")))
    world.log.clear()
    await world.clock.advance(3)
    instance.switch_off()
    await calm()
    assert world.log == ["launch web@c1", "start web@c1"], "that it went off was asked of it"


async def test_a_paused_guest_is_woken_to_hear_its_power_button(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.settle(spec("c1", guest("web", power="paused")))
    world.log.clear()
    await world.settle(spec("c1", guest("web", power="off")))
    assert world.log == ["resume web@c1", "button web@c1"]


async def test_who_was_paused_by_somebody_else_goes_on_but_not_in_a_whirl(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    world.log.clear()
    for _ in range(5):  # a full disk stops it at once
        instance.state = "paused"
        instance.on_happening("paused", "")
        await calm()
    assert world.log == ["resume web@c1"]
    await world.clock.advance(1)
    assert world.log == ["resume web@c1"]
    assert instance.state == "running"


async def test_a_process_that_stays_after_its_guest_has_gone_is_ended(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    world.log.clear()
    instance.on_happening("shutdown", "guest")
    await world.clock.advance(LINGER - 0.1)
    assert world.log == []
    await world.clock.advance(0.2)
    assert world.log == ["kill web@c1"]
    assert world.last("web").note == "it switched itself off"


async def test_what_nobody_wants_is_ended_and_removed(world: World) -> None:
    await world.settle(spec("c1", guest("web"), guest("db")))
    world.log.clear()
    world.changes.clear()
    await world.settle(spec("c1", guest("db")))
    assert world.log == ["kill web@c1", "remove web"]
    assert not (world.run_dir / "guests" / "web").exists()
    assert world.changes
    assert world.guests.at("web") == ""
    await world.clock.advance(BOOT)
    assert world.guests.settled("c1")


async def test_a_chassis_is_not_settled_while_a_guest_of_it_is_removed(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    world.guests.settle({"c1": spec("c1")}, lambda _: True)
    assert not world.guests.settled("c1")
    await calm()
    assert world.guests.settled("c1")


async def test_wanted_again_while_it_is_removed(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    world.log.clear()
    world.guests.settle({"c1": spec("c1")}, lambda _: True)
    await world.settle(spec("c1", guest("web")))
    await calm()
    assert world.last("web").phase == "running"
    assert "web" in world.driver.instances


async def test_a_refused_launch_is_told_and_another_wish_is_tried_at_once(world: World) -> None:
    world.driver.refusals["launch"] = RefusedError("no such image")
    await world.settle(spec("c1", guest("web"), guest("db"), guest("dns")))
    assert world.last("web").phase == "failed"
    assert world.last("web").error == "launch: no such image"
    assert len(world.guests.errors("c1")) == 3, "no slot is kept by a guest that cannot start"
    assert world.guests.settled("c1")
    world.log.clear()
    await world.settle(spec("c1", guest("web", nic("web", ready=False)), guest("db"), guest("dns")))
    assert world.log == [], "that its flows have changed helps nobody"
    world.driver.refusals.clear()
    await world.settle(spec("c1", guest("web", image="/var/images/other.qcow2"), guest("db"), guest("dns")))
    assert world.log == ["launch web@c1", "start web@c1"]
    assert world.last("web").error == ""


async def test_a_refused_launch_is_tried_again_for_its_cause_may_be_gone(world: World) -> None:
    """Nobody tells that a volume was missing and has been made since."""
    world.driver.refusals["launch"] = RefusedError("there is no volume data1")
    await world.settle(spec("c1", guest("web")))
    moments = []
    for _ in range(200):
        moments += [world.clock.now()] * world.log.count("launch web@c1")
        await world.clock.advance(1)
    assert moments == [0, 5, 15, 35, 75, 135, 195]
    assert (world.last("web").phase, world.last("web").error) == ("failed", "launch: there is no volume data1")
    world.driver.refusals.clear()
    await world.clock.advance(60)
    assert (world.last("web").phase, world.last("web").error) == ("running", "")


async def test_a_launch_that_may_help_is_tried_again_ever_more_slowly(world: World) -> None:
    world.driver.refusals["launch"] = TransientError("no tap yet")
    await world.settle(spec("c1", guest("web")))
    moments = []
    for _ in range(70):
        moments += [world.clock.now()] * world.log.count("launch web@c1")
        await world.clock.advance(1)
    assert moments == [0, 1, 3, 7, 15, 31, 61]
    world.driver.refusals.clear()
    await world.clock.advance(30)
    assert world.last("web").phase == "running"
    assert world.last("web").error == ""


async def test_a_keeper_that_breaks_is_told_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.settle(spec("c1", guest("web"), guest("db")))
    with caplog.at_level(logging.CRITICAL):
        world.driver.refusals["pause"] = ValueError("a mistake of ours")
        await world.settle(spec("c1", guest("web", power="paused"), guest("db")))
    assert "a mistake of ours" in world.guests.errors("c1")[0]
    await world.clock.advance(BOOT)
    assert world.guests.settled("c1")


async def test_the_console_follows_the_process(world: World) -> None:
    await world.settle(spec("c1", guest("web", restart="always")))
    world.driver.instances["web"].end("killed")
    await world.clock.advance(1)
    home = world.run_dir / "guests" / "web"
    attached = [path for path in world.consoles[0].attached if path.name]
    assert attached == [home, home]


async def test_close_lets_guests_go_on(world: World) -> None:
    await world.settle(spec("c1", guest("web")))
    instance = world.driver.instances["web"]
    world.log.clear()
    world.guests.close()
    await calm()
    assert (world.log, instance.is_closed, instance.is_gone) == ([], True, False)


async def test_one_that_is_wished_again_in_the_moment_when_it_is_removed(world: World) -> None:
    """Its keeper has ended, and nobody has been told yet."""
    await world.settle(spec("c1", guest("web")))
    await world.clock.advance(BOOT)
    ended = world.guests._keepers["web"]
    task = world.guests._tasks["web"]
    world.guests.settle({"c1": spec("c1")}, lambda _: True)
    while not ended.done:
        await asyncio.sleep(0)
    assert world.guests._tasks.get("web") is task, "else this is no test of that moment"
    world.log.clear()
    await world.settle(spec("c1", guest("web")))
    assert world.log == ["launch web@c1", "start web@c1"]
    assert world.guests.attached("web", "eth0")
    await world.settle(spec("c1"))
    assert world.guests._keepers == {}


async def test_an_agent_that_dies_after_a_launch_and_before_it_tells_of_it(worlds: Worlds) -> None:
    """The next one finds the process by its directory; `at` of the guest was never told."""
    first = worlds()
    launch = first.driver.launch

    async def hang(*arguments: Any) -> FakeInstance:
        await launch(*arguments)
        await asyncio.Event().wait()
        raise AssertionError

    first.driver.launch = hang  # type: ignore[method-assign]
    await first.settle(spec("c1", guest("web")))
    assert first.last("web").at == ""
    assert first.log == ["launch web@c1"]
    first.guests.close()
    await calm()

    second = worlds(first.driver)
    await second.settle(spec("c1", guest("web")))
    assert second.log == ["start web@c1"], "not launched again"
    assert (second.last("web").at, second.last("web").phase) == ("c1", "running")
