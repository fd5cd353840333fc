"""Work of switches: one that hangs is late, and nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datapath.turns import Turns, patience


class Switched:
    """What Turns knows of a chassis."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.late = False


@pytest.fixture
def ended() -> list[Any]:
    return []


@pytest.fixture
def turns(ended: list[Any]) -> Turns:
    return Turns(ended.append, shortest=0.01)


async def nothing() -> None:
    """What a switch does that has it all."""


async def test_a_late_one_goes_on_and_says_when_it_has_ended(turns: Turns, ended: list[Any]) -> None:
    hung, well = chassis = [Switched("hv1"), Switched("hv2")]
    answer = asyncio.Event()

    async def answered() -> None:
        await answer.wait()

    turns.begin(hung, answered())  # type: ignore[arg-type]
    turns.begin(well, nothing())  # type: ignore[arg-type]
    await turns.wait(chassis)  # type: ignore[arg-type]
    assert [each.late for each in chassis] == [True, False]
    assert turns.free(chassis) == [well]  # type: ignore[arg-type,comparison-overlap]
    answer.set()
    while not ended:
        await asyncio.sleep(0)
    assert ended == [hung]
    turns.collect()
    assert turns.free([hung]) == [hung]  # type: ignore[list-item,comparison-overlap]
    turns.begin(hung, nothing())  # type: ignore[arg-type]
    await turns.wait([hung])  # type: ignore[list-item]
    assert not hung.late


async def test_a_successor_waits_for_the_late_work_of_its_name(turns: Turns, ended: list[Any]) -> None:
    former, well = chassis = [Switched("hv1"), Switched("hv2")]
    answer = asyncio.Event()

    async def answered() -> None:
        await answer.wait()

    turns.begin(former, answered())  # type: ignore[arg-type]
    turns.begin(well, nothing())  # type: ignore[arg-type]
    await turns.wait(chassis)  # type: ignore[arg-type]
    successor = Switched("hv1")
    assert turns.free([successor, well]) == [well]  # type: ignore[list-item]
    assert (successor.late, well.late) == (True, False)
    answer.set()
    while not ended:
        await asyncio.sleep(0)
    turns.collect()
    assert turns.free([successor]) == [successor]  # type: ignore[comparison-overlap,list-item]
    turns.begin(successor, nothing())  # type: ignore[arg-type]
    await turns.wait([successor])  # type: ignore[list-item]
    assert not successor.late


async def test_one_that_holds_up_nobody_has_its_time(turns: Turns, ended: list[Any]) -> None:
    slow = Switched("hv1")
    turns.begin(slow, asyncio.sleep(0.05))  # type: ignore[arg-type]
    await turns.wait([slow], alone=True)  # type: ignore[list-item]
    assert (slow.late, ended) == (False, [])


def test_where_the_others_took_long_so_may_the_rest() -> None:
    assert patience(2.0, 0.1) == 2.0
    assert patience(2.0, 3.0) == 6.0


@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_foresaw_is_raised(late: bool, turns: Turns, ended: list[Any]) -> None:
    failing = Switched("hv1")

    async def fail() -> None:
        if late:
            await asyncio.sleep(0.05)
        raise KeyError("hv1")

    async def look() -> None:
        await turns.wait([failing])  # type: ignore[list-item]
        while not ended:
            await asyncio.sleep(0)
        turns.collect()

    turns.begin(failing, fail())  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        await look()
