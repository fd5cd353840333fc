"""What keepers wait with: a clock, back-off, slots for booting, and a memory of what was refused.

Enters: moments of the event loop's clock, in seconds. Leaves: when something may be tried, and by whom. Never: a sleep;
whoever waits is woken by an event, or by its own deadline at the latest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from datapath.errors import SdnError

NEVER: Final = math.inf

Pace = tuple[float, float]
"""Seconds: the first delay, which is doubled each time up to the last."""

BRISK: Final[Pace] = (1.0, 30.0)
"""From an end to the next start, and where trying again may help."""
PASSES: Final = 10.0
"""Seconds in which what may pass has passed: who has asked for something else is not held up for longer."""
SLOW: Final[Pace] = (5.0, 60.0)
"""Where only somebody else can help, who tells nobody: an operator who makes the volume that was missing."""


class Clock(Protocol):
    """Tests turn it by hand."""

    def now(self) -> float: ...

    async def wait(self, event: asyncio.Event, until: float) -> None:
        """Returns when the event is set, or it is `until`."""
        ...


class LoopClock:
    """That of the event loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def wait(self, event: asyncio.Event, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == NEVER else until):
                await event.wait()


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self, pace: Pace = BRISK) -> None:
        self.pace = pace
        self.reset()

    def reset(self) -> None:
        self._delay = self.pace[0]

    def next(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, self.pace[1])
        return delay


class Slots:
    """Guests that boot at once: emulated, each keeps a core busy until it is up. First come, first served."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: set[str] = set()
        self._queue: dict[str, Callable[[], None]] = {}

    def take(self, who: str, wake: Callable[[], None]) -> bool:
        """Whether `who` has a slot now. If not, `wake` is called when it has."""
        if who not in self._held and len(self._held) < self._count:
            self._held.add(who)
        if who not in self._held:
            self._queue[who] = wake
        return who in self._held

    def give_back(self, who: str) -> None:
        """The slot, or the place in the queue; nothing if there is neither."""
        self._queue.pop(who, None)
        if who not in self._held:
            return
        self._held.remove(who)
        if self._queue:
            heir = next(iter(self._queue))
            self._held.add(heir)
            self._queue.pop(heir)()


@dataclass
class _Refusal:
    wish: object
    message: str
    again: float
    backoff: Backoff
    passes_until: float
    """When it will hardly pass by itself any more, if ever."""


class Attempts:
    """What was refused is asked for once more after a while: soon where trying again may help, else more slowly, for
    its cause may go without a word. What nobody asks for any more from one round to the next is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trying = False
        self._is_hastened = False
        self._refused: dict[str, _Refusal] = {}
        self._asked: set[str] = set()
        self._later: set[str] = set()
        """What of this round has to wait. What is overdue does not: whoever holds it back, such as for want of a slot,
        knows when it goes on."""

    def hasten(self) -> None:
        """From the next round on nothing waits: somebody has done something about it. What is made once for a wish is
        not made again."""
        self._is_hastened = True

    def begin(self) -> None:
        """A round."""
        if self._is_hastened:
            self._refused = {what: refusal for what, refusal in self._refused.items() if refusal.again == NEVER}
        self._is_hastened = False
        self._asked.clear()
        self._later.clear()

    def finish(self) -> float:
        """When the next round is due."""
        self._refused = {what: refusal for what, refusal in self._refused.items() if what in self._asked}
        return min((self._refused[what].again for what in self._later & self._refused.keys()), default=NEVER)

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(refusal.message for refusal in self._refused.values())

    @property
    def waits(self) -> bool:
        """Whether something has failed, or may just be about to."""
        return self._trying or bool(self._refused)

    @property
    def is_final(self) -> bool:
        """Whether something has failed for which waiting alone is no help, or has been none."""
        now = self._clock.now()
        return any(now >= refusal.passes_until for refusal in self._refused.values())

    def may(self, what: str, wish: object) -> bool:
        """Whether it is worth an attempt now. What was said of another wish is no error of this one."""
        self._asked.add(what)
        refusal = self._refused.get(what)
        if refusal is not None and refusal.wish != wish:
            del self._refused[what]
            return True
        if refusal is None or self._clock.now() >= refusal.again:
            return True
        self._later.add(what)
        return False

    async def make(
        self, what: str, wish: object, attempt: Callable[[], Awaitable[object]], *, patient: bool = True
    ) -> bool:
        """Whether it was made, and done. Without patience it is made once for a wish: a move that has failed is one's
        own to try again."""
        if not self.may(what, wish):
            return False
        self._trying = True
        try:
            await attempt()
        except (SdnError, OSError) as error:
            self._refuse(what, wish, error, patient)
            return False
        finally:
            self._trying = False
        self._refused.pop(what, None)
        return True

    def _refuse(self, what: str, wish: object, error: SdnError | OSError, patient: bool) -> None:
        before = self._refused.get(what)
        may_pass = isinstance(error, SdnError) and error.retry
        pace = BRISK if may_pass else SLOW
        backoff = before.backoff if before is not None and before.backoff.pace == pace else Backoff(pace)
        now = self._clock.now()
        again = now + backoff.next() if patient else NEVER
        goes_on = before is not None and backoff is before.backoff
        until = now if not (may_pass and patient) else before.passes_until if before and goes_on else now + PASSES
        self._refused[what] = _Refusal(wish, f"{what}: {error}", again, backoff, until)
        self._later.add(what)
