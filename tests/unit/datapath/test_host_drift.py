"""Drifts of a host: what is found together is told together, until it is put right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from datapath.drift import Difference, Drifts
from datapath.events import Drift
from datapath.restore import Restorer
from datapath.several import several

ADDRESS = Difference("address 10.9.0.3/24 of b:eth0", "removed")
LINK = Difference("interface b:eth0 (set down)", "changed")


@pytest.fixture
def told() -> list[Drift]:
    return []


@pytest.fixture
def clock() -> Iterator[float]:
    return map(float, count(1))


@pytest.fixture
def drifts(told: list[Drift], clock: Iterator[float]) -> Drifts:
    return Drifts(told.append, lambda: next(clock))


def test_it_is_told_when_found_and_when_put_right(drifts: Drifts, told: list[Drift]) -> None:
    assert drifts.find("hv1", [ADDRESS])
    drifts.announce()
    drifts.conclude({"hv1": ()})
    found = Drift(1, "hv1", "address 10.9.0.3/24 of b:eth0", "removed", 1.0)
    assert told == [found, Drift(1, "hv1", found.what, "removed", 1.0, 2.0)]
    assert not drifts


def test_what_is_found_together_is_one_of_its_kind(drifts: Drifts, told: list[Drift]) -> None:
    many = [ADDRESS._replace(what=f"address {n}") for n in range(4)]
    drifts.find("hv1", [*many, LINK])
    drifts.find("hv2", [LINK])
    drifts.announce()
    assert [(each.number, each.chassis, each.how, each.what) for each in told] == [
        (1, "hv1", "removed", "4 things, such as address 0, address 1 and address 2"),
        (2, "hv1", "changed", "interface b:eth0 (set down)"),
        (3, "hv2", "changed", "interface b:eth0 (set down)"),
    ]


def test_it_is_told_once_until_it_is_put_right(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK])
    drifts.announce()
    assert not drifts.find("hv1", [LINK])
    drifts.announce()
    assert len(told) == 1
    drifts.conclude({"hv1": ()})
    assert drifts.find("hv1", [LINK])


def test_an_error_is_told_unless_it_was_there_before(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK], ("guest g: no image",))
    drifts.announce()
    drifts.conclude({"hv1": ("guest g: no image", "b:eth0: refused")})
    assert (told[-1].error, told[-1].repaired) == ("b:eth0: refused", 0.0)
    assert drifts.is_open
    drifts.conclude({"hv1": ("guest g: no image",)})
    assert (told[-1].error, told[-1].repaired > 0) == ("", True)


def test_what_is_of_no_chassis_any_more_is_over(drifts: Drifts, told: list[Drift]) -> None:
    drifts.find("hv1", [LINK])
    drifts.announce()
    drifts.conclude({})
    assert told[-1].repaired > 0


def test_many_things_in_a_few_words() -> None:
    assert several(["a"], "things") == "a"
    assert several(["a", "b"], "things") == "a and b"
    assert several(["a", "b", "c"], "things") == "a, b and c"
    assert several(["a", "b", "c", "d"], "flows") == "4 flows, such as a, b and c"
    assert several(["a", "b", "c"], "flows", 412) == "412 flows, such as a, b and c"


class Repair:
    """Fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.told: asyncio.Queue[Drift] = asyncio.Queue()
        self.restorer = Restorer(self.told.put_nowait, self.again)

    async def again(self) -> dict[str, tuple[str, ...]]:
        self.calls += 1
        self.failures -= 1
        return {"hv1": ("refused",) if self.failures >= 0 else ()}


async def test_one_repair_for_what_is_found_at_once() -> None:
    repair = Repair()
    repair.restorer.find("hv1", [ADDRESS])
    repair.restorer.find("hv1", [LINK])
    async with asyncio.timeout(5):
        told = [await repair.told.get() for _ in range(4)]
    assert [each.number for each in told] == [1, 2, 1, 2]
    assert repair.calls == 1


async def test_what_fails_is_tried_again_and_something_new_at_once() -> None:
    repair = Repair(failures=2)
    repair.restorer.find("hv1", [ADDRESS])
    async with asyncio.timeout(5):
        assert not (await repair.told.get()).error
        assert (await repair.told.get()).error == "refused"
        repair.restorer.find("hv1", [LINK])
        told = [await repair.told.get() for _ in range(4)]
    assert [(each.number, each.error, each.repaired > 0) for each in told] == [
        (2, "", False),
        (2, "refused", False),
        (1, "", True),
        (2, "", True),
    ]
    assert repair.calls == 3


async def test_closed_it_repairs_nothing() -> None:
    repair = Repair()
    repair.restorer.find("hv1", [ADDRESS])
    repair.restorer.close()
    await asyncio.sleep(0)
    assert repair.calls == 0
