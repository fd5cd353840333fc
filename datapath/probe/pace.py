"""How many probes may be under way at once, and for how long one is waited for. PURE, but for what it remembers.

A lab's switches meet every pair for the first time: each first packet goes to the switch's slow path, through buffers
that hold a few hundred. So the window opens with each answer and halves when a probe had to be repeated and *then* was
answered: it was lost for want of room. Probes that are never answered say nothing about room and leave it alone.
"""

from __future__ import annotations

from typing import Final

FIRST_WINDOW: Final = 128
SMALLEST_WINDOW: Final = 64
LARGEST_WINDOW: Final = 1024
_SHORTEST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 1.0


class Pace:
    """Window and timeout, learned as TCP learns them (RFC 6298 section 2)."""

    def __init__(self) -> None:
        self.window = FIRST_WINDOW
        self.wait = 0.3
        """Seconds after which an unanswered probe counts as lost."""
        self._mean = 0.0
        self._spread = 0.0
        self._shrunk = 0.0

    def answered(self, rtt: float, attempt: int, now: float) -> None:
        """An answer came `rtt` seconds after the first sending; `attempt` counts from 1."""
        if attempt > 1:
            self._shrink(now)
            return  # which sending was answered is not certain: no measure of the time (Karn's algorithm)
        self.window = min(self.window + 1, LARGEST_WINDOW)
        if not self._mean:
            self._mean, self._spread = rtt, rtt / 2
        self._spread += (abs(rtt - self._mean) - self._spread) / 4
        self._mean += (rtt - self._mean) / 8
        self.wait = min(max(self._mean + 4 * self._spread, _SHORTEST_WAIT), _LONGEST_WAIT)

    def _shrink(self, now: float) -> None:
        """Once per wait: the losses of one burst are one event."""
        if now - self._shrunk > self.wait:
            self.window = max(self.window // 2, SMALLEST_WINDOW)
            self._shrunk = now
