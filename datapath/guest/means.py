"""What the keepers of a lab's guests share, and the patience that they have.

Enters: nothing. Leaves: protocols and numbers. Never: a guest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from datapath.events import GuestState
from datapath.guest.instance import Driver, Instance, OnHappening, Place
from datapath.guest.patience import Clock, Slots
from datapath.spec import Driver as DriverName
from datapath.spec import Guest

BUTTON: Final = 20.0
"""Seconds that a guest has to switch itself off after its power button was pressed."""

ANSWER: Final = 60.0
"""Seconds after its start in which the built-in guest's agent must answer."""

BOOT: Final = 5.0
"""Seconds that a guest without an agent is taken to need a core for. Also how long a guest that could start but for its
flows keeps its turn: a chassis without its controller must not hold up the others."""

LINGER: Final = 5.0
"""Seconds that a process has to end, and to write its disks, after its guest has switched itself off."""

CALM: Final = 1.0
"""Seconds between resuming a guest and resuming it again: one that a full disk has stopped stops at once."""


class Console(Protocol):
    """Where people read and write the serial console, whether or not the guest runs."""

    async def attach(self, directory: Path) -> None:
        """To the process that runs in the directory. Raises SdnError."""
        ...

    def close(self) -> None: ...


class Moved(Protocol):
    """The guest where it is now, and in words how it got there."""

    @property
    def instance(self) -> Instance: ...

    @property
    def note(self) -> str: ...


class Migrate(Protocol):
    """Live migration. `on_switch` is called with the chassis where its frames go from now on. Raises SdnError where the
    guest goes on at its source."""

    async def __call__(
        self,
        source: Instance,
        arriving: Guest,
        place: Place,
        driver: Driver,
        on_happening: OnHappening,
        on_switch: Callable[[str], None],
    ) -> Moved: ...


@dataclass(frozen=True)
class Means:
    drivers: Callable[[DriverName], Driver]
    slots: Slots
    clock: Clock
    console: Callable[[], Console]
    migrate: Migrate
    on_state: Callable[[GuestState], None]
