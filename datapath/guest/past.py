"""What of a guest's past counts: how it ended, when it is started again, or that it is not.

Enters: a Run that has ended, what is wished. Leaves: a moment, a Rest, words. Never: an end that was wished.
"""

from __future__ import annotations

from pathlib import Path

from datapath.guest import rest
from datapath.guest.patience import Backoff, Clock
from datapath.guest.run import Run
from datapath.guest.wishes import Wish
from datapath.spec import GuestPhase


class Past:
    def __init__(self, directory: Path, clock: Clock) -> None:
        self.rest: rest.Rest | None = None
        self.again: float | None = None
        """When it is started again, where it is."""
        self.restarts = 0
        self.note = ""
        self.ending = ""
        """Why it has died, until it has started again."""
        self._wish = ""
        """Digest of what was wished when it ended."""
        self._directory = directory
        self._clock = clock
        self._backoff = Backoff()

    def forget(self) -> None:
        """Nothing of it counts any more."""
        self._backoff.reset()
        rest.wake(self._directory)
        self.rest = self.again = None
        self.restarts = 0
        self.ending = self.note = self._wish = ""

    def hasten(self) -> None:
        """Its next start is due, if there is to be one."""
        self.again = None if self.again is None else self._clock.now()

    @property
    def is_about_to_start(self) -> bool:
        """After an end that is still told."""
        return self.rest is None and (self.again is None or self.again <= self._clock.now())

    def recall(self, wish: Wish) -> None:
        """An earlier agent's guest that is at rest."""
        if found := rest.read(self._directory, wish):
            self.rest, self._wish = found, found.wish
            self.note, self.ending, self.restarts = found.note, found.error, found.restarts

    def compare(self, wish: Wish) -> None:
        """How it ended when something else was wished says nothing of this: it is started at once."""
        if self._wish and self._wish != rest.digest(wish):
            self.forget()

    def launched(self) -> None:
        rest.wake(self._directory)
        self.restarts += self.again is not None
        self.again = None

    def started(self) -> None:
        if self.ending:
            self.note = f"started again: {self.ending.splitlines()[0]}"
        self.ending = ""

    def take(self, run: Run, wish: Wish) -> None:
        """It has ended, and nobody has wished it: it is started again after a while, at once, or never."""
        self._wish = rest.digest(wish)
        now, went_off = self._clock.now(), run.went_off is not None
        if run.was_steady(now):
            self._backoff.reset()
        self.note = "it switched itself off" if went_off else ""
        self.ending = "" if went_off else f"it died: {run.ended or 'for no known reason'}"
        if run.goes_on(wish.guest.machine.restart):
            # whoever brings up a lab of which all was killed waits for it, and nobody has seen it die again and again
            self.again = now + self._backoff.next() if run.was_watched else now
            return
        phase: GuestPhase = "off" if went_off else "failed"
        self.rest = rest.Rest(self._wish, phase, self.note, self.ending, self.restarts)
        self.rest.write(self._directory)
