"""Puts right what others have changed on a host, and tells of it.

Enters: differences, as the kernel and the switches tell of them. Leaves: Drift events; calls of `again`, which makes
everything so once more. Never: two of them at a time; one without a pause after one that failed, or for somebody who
undoes each; a difference that nobody attends to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from datapath.drift import Difference, Drifts, words_of
from datapath.errors import SdnError
from datapath.events import Drift

LOG = logging.getLogger(__name__)
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0  # seconds
LATER: Final = 1.0
"""Seconds from what broke on the way until it is tried once more."""

Errors = Mapping[str, tuple[str, ...]]
"""By chassis."""


class Restorer:
    """`again` looks at whatever has changed and puts it right; it calls `look` before it does, and returns what is
    wrong then. `on_notes` is called when `notes` are other ones. `run` does the work."""

    def __init__(
        self,
        tell: Callable[[Drift], None],
        again: Callable[[], Awaitable[Errors]],
        on_notes: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._drifts = Drifts(tell, clock)
        self._clock = clock
        self._again = again
        self._more = asyncio.Event()
        self._is_asked = False
        self._later: asyncio.TimerHandle | None = None
        self._failure = ""
        self._on_notes = on_notes
        self._notes: dict[str, tuple[str, ...]] = {}

    def find(
        self, chassis: str, differences: Iterable[Difference], errors: tuple[str, ...] = (), when: float = 0.0
    ) -> None:
        """`errors` are those that the chassis has anyway; `when` 0 is now. Call it in the loop."""
        if self._drifts.find(chassis, differences, errors, when):
            self._more.set()

    def ask(self) -> None:
        """Nobody knows what has changed: everything is to be looked at."""
        self._is_asked = True
        self._more.set()

    def ask_later(self) -> None:
        """Something broke on the way: it is to be looked at once more, and may break again."""
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(LATER, self._ask_now)

    def _ask_now(self) -> None:
        self._later = None
        self.ask()

    def look(self) -> None:
        """Everything is going to be looked at now: what is found afterwards has happened since."""
        self._drifts.look()

    def hold(self, chassis: str) -> float:
        """Seconds until something of a chassis should be put right for which somebody fights."""
        return max(0.0, self._drifts.hold(chassis) - self._clock())

    def is_fought(self, chassis: str) -> bool:
        """Whether somebody fights for something of a chassis, or has just done so."""
        return self._drifts.hold(chassis) > 0

    def notes(self, chassis: str) -> tuple[str, ...]:
        """What one should know of a chassis: fights, and why nothing is put right."""
        return self._notes.get("", ()) + (self._notes.get(chassis, ()) if chassis else ())

    async def run(self) -> None:
        """Until cancelled, or until `again` fails in a way that nobody foresaw."""
        pause = FIRST_PAUSE
        while True:
            await self._until_due()
            self._more.clear()
            is_well = await self._restore()
            self._note()
            pause = FIRST_PAUSE if is_well else await self._pause(pause)

    async def _until_due(self) -> None:
        while (left := self._seconds_left()) != 0:
            self._more.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._more.wait()
            self._note()

    def _seconds_left(self) -> float | None:
        """Until there is something to do; None: until somebody says so."""
        if self._is_asked:
            return 0.0
        until = self._drifts.due() if self._drifts else self._drifts.until
        return None if until is None else max(0.0 if self._drifts else 0.01, until - self._clock())

    async def _restore(self) -> bool:
        """Whether all is as it shall be, as far as can be told."""
        self._drifts.announce()
        self._is_asked = False
        try:
            errors = await self._again()
        except (OSError, SdnError) as error:
            LOG.warning("what others have changed could not be put right: %s", error)
            self._failure = str(error)
            self._drifts.fail(str(error))
            self._is_asked = True
            return False
        self._failure = ""
        self._drifts.conclude(errors)
        return not self._drifts.is_stuck

    async def _pause(self, pause: float) -> float:
        """The next one, if this one has not been cut short by something new."""
        try:
            async with asyncio.timeout(pause):
                await self._more.wait()
        except TimeoutError:
            return min(2 * pause, LONGEST_PAUSE)
        return FIRST_PAUSE

    def _note(self) -> None:
        notes: dict[str, tuple[str, ...]] = {}
        if self._failure:
            notes[""] = (f"what others have changed could not be put right: {self._failure}",)
        for fight in self._drifts.fights():
            notes[fight.chassis] = (*notes.get(fight.chassis, ()), words_of(fight))
        if notes != self._notes:
            self._notes = notes
            self._on_notes()
