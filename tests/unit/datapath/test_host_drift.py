"""Drifts of a host: what is found together is told together, until it is put right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from datapath.drift import AGAIN, FIGHT, Difference, Drifts, changed, instead, patience
from datapath.errors import TransientError
from datapath.events import Drift
from datapath.restore import Restorer
from datapath.several import several

ADDRESS = Difference("address 10.9.0.3/24 of b:eth0", "removed")
LINK = Difference("interface b:eth0", "changed", "down instead of up")


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told() -> list[Drift]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drifts(told: list[Drift], clock: Clock) -> Drifts:
    return Drifts(told.append, clock)


def look(drifts: Drifts, *errors: str) -> None:
    """What is found is announced, looked at and put right, unless there are errors of hv1."""
    drifts.announce()
    drifts.look()
    drifts.conclude({"hv1": errors})


def test_it_is_told_when_found_and_when_put_right(drifts: Drifts, told: list[Drift], clock: Clock) -> None:
    assert drifts.find("hv1", [ADDRESS])
    drifts.announce()
    clock.now = 2.0
    drifts.look()
    drifts.conclude({"hv1": ()})
    found = Drift(1, "hv1", "address 10.9.0.3/24 of b:eth0", "removed", 1.0)
    assert told == [found, replace(found, repaired=2.0, repairs=1, took=(1.0,))]
    assert not drifts


def test_what_is_found_together_is_one_of_its_kind(drifts: Drifts, told: list[Drift]) -> None:
    many = [ADDRESS._replace(what=f"address {n}") for n in range(4)]
    drifts.find("hv1", [*many, LINK])
    drifts.find("hv2", [LINK])
    drifts.announce()
    assert [(each.number, each.chassis, each.how, each.what) for each in told] == [
        (1, "hv1", "removed", "4 things, such as address 0, address 1 and address 2"),
        (2, "hv1", "changed", "interface b:eth0: down instead of up"),
        (3, "hv2", "changed", "interface b:eth0: down instead of up"),
    ]


def test_other_values_are_the_same_thing_again(drifts: Drifts, told: list[Drift]) -> None:
    for mtu in (1300, 1301):
        drifts.find("hv1", changed("interface b:eth0", [instead("mtu", mtu, 1450)]))
        look(drifts)
    assert [(each.number, each.times, each.what[-22:]) for each in told if not each.repaired] == [
        (1, 1, "mtu 1300 instead of 1450"[-22:]),
        (1, 2, "mtu 1301 instead of 1450"[-22:]),
    ]


def test_what_is_changed_has_both_values() -> None:
    assert list(changed("port p", [])) == []
    values = [instead("tag", 7, 10), instead("bridge", "", "br-int"), instead("tag", 7, 10)]
    assert [str(each) for each in changed("port p", values)] == [
        "port p: tag 7 instead of 10 and bridge none instead of br-int"
    ]


def test_it_is_told_once_until_it_is_looked_at(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK])
    drifts.announce()
    assert not drifts.find("hv1", [LINK])
    look(drifts)
    assert [(each.number, each.repaired > 0, each.times) for each in told] == [(1, False, 1), (1, True, 1)]


def test_what_is_found_again_while_it_is_put_right_is_not_put_right(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [ADDRESS, LINK])
    drifts.announce()
    drifts.look()
    assert drifts.find("hv1", [ADDRESS]), "it has happened once more"
    drifts.conclude({"hv1": ()})
    assert [(each.how, each.times) for each in told if each.repaired] == [("changed", 1)]
    assert drifts, "there is still something to do"
    assert not drifts.is_stuck, "and nothing is in its way"
    look(drifts)
    assert (told[-1].how, told[-1].times, told[-1].repaired > 0) == ("removed", 2, True)
    assert not drifts


def test_the_same_soon_afterwards_is_the_same_once_more(drifts: Drifts, told: list[Drift], clock: Clock) -> None:
    drifts.find("hv1", [ADDRESS])
    look(drifts)
    clock.now += AGAIN - 1
    drifts.find("hv1", [ADDRESS, ADDRESS._replace(what="route")])
    look(drifts)
    assert [(each.number, each.times, each.found, each.repaired) for each in told] == [
        (1, 1, 1.0, 0.0),
        (1, 1, 1.0, 1.0),
        (1, 2, 10.0, 0.0),
        (1, 2, 10.0, 10.0),
    ]
    assert told[-1].what == "address 10.9.0.3/24 of b:eth0 and route"
    clock.now += AGAIN
    drifts.find("hv1", [ADDRESS])
    look(drifts)
    assert (told[-1].number, told[-1].times) == (2, 1)


def test_a_fight_is_slowed_down_and_said_until_it_is_over(drifts: Drifts, clock: Clock) -> None:
    pauses = []
    for _ in range(12):
        drifts.find("hv1", [ADDRESS])
        pauses.append(round(max(0.0, drifts.due() - clock.now), 1))
        clock.now += pauses[-1]
        look(drifts)
    assert pauses == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1, 1]
    (fight,) = drifts.fights()
    assert fight.times == 12
    drifts.find("hv1", [ADDRESS])
    drifts.find("hv1", [LINK])
    assert drifts.due() == 0, "something else does not wait"
    look(drifts)
    assert drifts.until == clock.now + AGAIN
    clock.now += AGAIN
    assert drifts.fights() == []
    assert [patience(times) for times in (1, 10**9)] == [0, 1]


def test_an_error_is_told_unless_it_was_there_before(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK], ("guest g: no image",))
    look(drifts, "guest g: no image", "b:eth0: refused")
    assert (told[-1].error, told[-1].repaired) == ("b:eth0: refused", 0.0)
    assert drifts.is_stuck
    look(drifts, "guest g: no image")
    assert (told[-1].error, told[-1].repaired > 0) == ("", True)


def test_what_is_of_no_chassis_any_more_is_over(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK])
    drifts.announce()
    drifts.look()
    drifts.conclude({})
    assert told[-1].repaired > 0


def test_many_things_in_a_few_words() -> None:
    assert several(["a"], "things") == "a"
    assert several(["a", "b"], "things") == "a and b"
    assert several(["a", "b", "c"], "things") == "a, b and c"
    assert several(["a", "b", "c", "d"], "flows") == "4 flows, such as a, b and c"
    assert several(["a", "b", "c"], "flows", 412) == "412 flows, such as a, b and c"


class Repair:
    """Fails as often as it is told to: because the kernel will not even say, or with an error. `meanwhile` happens
    while it looks."""

    def __init__(self, failures: int = 0, *, raises: type[Exception] | None = None) -> None:
        self.failures = failures
        self.raises = raises
        self.calls = 0
        self.called = asyncio.Event()
        self.told: asyncio.Queue[Drift] = asyncio.Queue()
        self.meanwhile: list[Callable[[], object]] = []
        self.restorer = Restorer(self.told.put_nowait, self.again)

    async def again(self) -> dict[str, tuple[str, ...]]:
        self.calls += 1
        self.called.set()
        self.failures -= 1
        if self.raises and self.failures >= 0:
            raise self.raises("no buffer space")
        self.restorer.look()
        await asyncio.sleep(0)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return {"hv1": ("refused",) if self.failures >= 0 else ()}

    async def until(self, how_many: int) -> list[Drift]:
        async with asyncio.timeout(5):
            return [await self.told.get() for _ in range(how_many)]

    async def until_repaired(self) -> Drift:
        async with asyncio.timeout(5):
            while not (drift := await self.told.get()).repaired:
                pass
        return drift


@asynccontextmanager
async def repairing(failures: int = 0, raises: type[Exception] | None = None) -> AsyncIterator[Repair]:
    repair = Repair(failures, raises=raises)
    task = asyncio.create_task(repair.restorer.run())
    try:
        yield repair
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_repair_for_what_is_found_at_once() -> None:
    async with repairing() as repair:
        repair.restorer.find("hv1", [ADDRESS])
        repair.restorer.find("hv1", [LINK])
        assert [each.number for each in await repair.until(4)] == [1, 2, 1, 2]
        assert repair.calls == 1


async def test_what_fails_is_tried_again_and_something_new_at_once() -> None:
    async with repairing(failures=2) as repair:
        repair.restorer.find("hv1", [ADDRESS])
        assert [each.error for each in await repair.until(2)] == ["", "refused"]
        repair.restorer.find("hv1", [LINK])
        assert [(each.number, each.error, each.repaired > 0) for each in await repair.until(4)] == [
            (2, "", False),
            (2, "refused", False),
            (1, "", True),
            (2, "", True),
        ]
        assert repair.calls == 3


async def test_what_happens_again_while_it_is_put_right_is_put_right_again() -> None:
    async with repairing() as repair:
        repair.meanwhile = [lambda: repair.restorer.find("hv1", [ADDRESS])] * 2
        repair.restorer.find("hv1", [ADDRESS])
        assert (await repair.until_repaired()).times == 3
        assert repair.calls == 3


async def test_what_is_found_when_a_repair_ends_is_not_left_lying() -> None:
    async with repairing() as repair:
        loop = asyncio.get_running_loop()
        repair.meanwhile = [partial(loop.call_soon, repair.restorer.find, "hv1", [LINK])]
        repair.restorer.find("hv1", [ADDRESS])
        assert {(await repair.until_repaired()).number, (await repair.until_repaired()).number} == {1, 2}


@pytest.mark.parametrize("raises", [OSError, TransientError])
async def test_a_look_that_fails_is_said_and_made_once_more(raises: type[Exception]) -> None:
    async with repairing(failures=1, raises=raises) as repair:
        repair.restorer.find("hv1", [ADDRESS])
        assert [each.error for each in await repair.until(2)] == ["", "no buffer space"]
        assert repair.restorer.notes("hv1") == ("what others have changed could not be put right: no buffer space",)
        assert not (await repair.until_repaired()).error
        await asyncio.sleep(0)
        assert repair.restorer.notes("hv1") == ()


async def test_what_nobody_foresaw_ends_it() -> None:
    repair = Repair(failures=1, raises=ZeroDivisionError)
    repair.restorer.find("hv1", [ADDRESS])
    with pytest.raises(ZeroDivisionError):
        await repair.restorer.run()


async def test_a_look_may_be_asked_for() -> None:
    async with repairing(failures=1, raises=OSError) as repair:
        repair.restorer.ask()
        async with asyncio.timeout(5):
            while repair.calls < 2:
                repair.called.clear()
                await repair.called.wait()
        await asyncio.sleep(0.1)  # nothing tells that it does not look a third time
        assert repair.calls == 2


async def test_a_fight_is_noted() -> None:
    async with repairing() as repair:
        for _ in range(FIGHT):
            repair.restorer.find("hv1", [ADDRESS])
            await repair.until_repaired()
        await asyncio.sleep(0)
        (note,) = repair.restorer.notes("hv1")
        assert "10.9.0.3/24 of b:eth0, removed again and again" in note
        assert repair.restorer.notes("hv2") == ()
        assert 0 < repair.restorer.hold("hv1") <= 1
