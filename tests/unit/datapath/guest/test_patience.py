"""What was refused, and when it is asked for again."""

from __future__ import annotations

import pytest

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.patience import NEVER, Attempts
from tests.unit.datapath.guest.fakes import FakeClock


class Round:
    """Rounds of one keeper, at which one thing is tried."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.attempts = Attempts(self.clock)
        self.error: SdnError | OSError | None = None

    async def attempt(self) -> None:
        if self.error is not None:
            raise self.error

    async def at(self, moment: float, *, patient: bool = True) -> float:
        """When the next is due."""
        await self.clock.advance(moment - self.clock.now())
        self.attempts.begin()
        await self.attempts.make("launch", "a wish", self.attempt, patient=patient)
        return self.attempts.finish()


@pytest.mark.parametrize(
    ("error", "due"),
    [
        (TransientError("busy"), [1, 3, 7, 15, 31, 61, 91]),
        (RefusedError("no volume"), [5, 15, 35, 75, 135]),
        (OSError("no file"), [5, 15, 35, 75, 135]),
    ],
)
async def test_ever_more_slowly(error: SdnError | OSError, due: list[float]) -> None:
    rounds = Round()
    rounds.error = error
    assert [await rounds.at(moment) for moment in [0, *due[:-1]]] == due


async def test_a_round_in_between_changes_nothing() -> None:
    rounds = Round()
    rounds.error = RefusedError("no volume")
    assert await rounds.at(0) == 5
    assert await rounds.at(4) == 5
    rounds.error = None
    assert await rounds.at(5) == NEVER
    assert rounds.attempts.errors == ()


async def test_who_hears_another_reason_waits_accordingly() -> None:
    rounds = Round()
    rounds.error = TransientError("busy")
    assert await rounds.at(0) == 1
    rounds.error = RefusedError("no volume")
    assert await rounds.at(1) == 6
    rounds.error = TransientError("busy")
    assert await rounds.at(6) == 7


async def test_without_patience_once_for_a_wish() -> None:
    rounds = Round()
    rounds.error = TransientError("busy")
    assert await rounds.at(0, patient=False) == NEVER
    rounds.error = None
    assert await rounds.at(1000, patient=False) == NEVER
    assert rounds.attempts.errors == ("launch: busy",)
    assert rounds.attempts.may("launch", "another wish")


async def test_what_is_overdue_and_held_back_by_others_is_no_reason_for_another_round() -> None:
    """A keeper that waits for a slot would go round without end."""
    rounds = Round()
    rounds.error = RefusedError("no volume")
    await rounds.at(0)
    await rounds.clock.advance(6)
    rounds.attempts.begin()
    assert rounds.attempts.may("launch", "a wish")
    assert rounds.attempts.finish() == NEVER
    assert rounds.attempts.errors, "it is still what is wrong"


async def test_who_hastens_waits_no_longer_and_hears_nothing_of_before() -> None:
    rounds = Round()
    rounds.error = RefusedError("no volume")
    await rounds.at(0)
    assert await rounds.at(5) == 15
    rounds.attempts.hasten()
    rounds.attempts.begin()
    assert rounds.attempts.errors == ()
    assert await rounds.at(6) == 11, "as if it were the first time"
    rounds.error = None
    rounds.attempts.hasten()
    assert await rounds.at(7) == NEVER
    assert not rounds.attempts.waits


async def test_what_is_made_once_for_a_wish_is_not_hastened() -> None:
    rounds = Round()
    rounds.error = TransientError("busy")
    await rounds.at(0, patient=False)
    rounds.attempts.hasten()
    rounds.error = None
    assert await rounds.at(1, patient=False) == NEVER
    assert (rounds.attempts.errors, rounds.attempts.is_final) == (("launch: busy",), True)


@pytest.mark.parametrize(
    ("error", "final"), [(TransientError("busy"), False), (RefusedError("no volume"), True), (OSError("no file"), True)]
)
async def test_what_may_pass_is_not_final(error: SdnError | OSError, final: bool) -> None:
    rounds = Round()
    rounds.error = error
    await rounds.at(0)
    assert rounds.attempts.is_final == final


async def test_what_has_not_passed_for_long_is_final() -> None:
    """Or each change of something else would wait for a disk that somebody keeps locked."""
    rounds = Round()
    rounds.error = TransientError("busy")
    for moment, final in ((0, False), (1, False), (3, False), (7, False), (15, True)):
        await rounds.at(moment)
        assert rounds.attempts.is_final == final
    rounds.attempts.hasten()
    await rounds.at(16)
    assert not rounds.attempts.is_final, "somebody has done something about it"
