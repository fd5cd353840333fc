"""One process of a guest, from its launch to its end: what has happened to it, and what its end means.

Enters: happenings, as the driver tells them. Leaves: whether the guest is started again. Never: an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from datapath.guest.instance import Happening, Instance
from datapath.guest.means import ANSWER, BUTTON
from datapath.guest.patience import NEVER
from datapath.spec import Guest, GuestPhase, Restart

STEADY: Final = 60.0
"""Seconds after which a guest that dies is tried again as if it were the first time."""

_GOES_ON: Final[dict[Restart, tuple[bool, bool]]] = {
    "never": (False, False),
    "on-failure": (True, False),
    "always": (True, True),
}
"""Whether it is started again when it has died, and when it has switched itself off."""

_PHASES: Final[dict[str, GuestPhase]] = {
    "prepared": "starting",
    "incoming": "moving",
    "running": "running",
    "paused": "paused",
    "off": "off",
}


@dataclass
class Run:
    """Moments are of the keeper's clock. `later` is what of the wish comes with the next start, in words."""

    begun: float
    now: Callable[[], float]
    stir: Callable[[], None]
    instance: Instance | None = None
    adapted: Guest | None = None
    later: tuple[str, ...] = ()
    boots_until: float = NEVER
    booting: bool = False
    pressed: float | None = None
    """When its power button was, by which it shall end; `last_pressed`: also where the wish is another meanwhile."""
    last_pressed: float | None = None
    went_off: float | None = None
    """When it said that it had switched itself off."""
    resumed: float | None = None
    has_console: bool = False
    ours: bool = False
    """We have killed it."""
    ended: str | None = None
    """Why, once it has."""

    def happen(self, what: Happening, why: str) -> None:
        """What the driver calls. The instance itself knows whether it is paused and whether it answers."""
        if what == "ended":
            self.ended = why
        elif what == "shutdown":
            self.went_off = self.now()
        elif what in ("agent-down", "reset") and not self.booting:  # it boots again, or its agent does
            self.boots_until = self.now() + ANSWER
        self.stir()

    @property
    def phase(self) -> GuestPhase:
        return _PHASES[self.instance.state] if self.instance is not None else "starting"

    @property
    def was_wished(self) -> bool:
        """Whether its end is what was wanted, now or when the button was pressed."""
        heard = self.last_pressed is not None and self.now() <= self.last_pressed + BUTTON
        return self.ours or self.pressed is not None or heard

    def goes_on(self, restart: Restart) -> bool:
        """Whether it is started again after its end, which nobody has wished."""
        died, off = _GOES_ON[restart]
        return died if self.went_off is None else off

    @property
    def was_watched(self) -> bool:
        """Whether its process was still there when an agent looked for it."""
        return self.instance is not None and self.instance.pid != 0

    def was_steady(self, now: float) -> bool:
        return now - self.begun >= STEADY
