"""All guests of a lab, each with its keeper.

Enters: HostSpecs, the whole desired state each time. Leaves: guests that run where and as they shall; GuestStates.
Never: a wait; what takes time goes on in the keepers' tasks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from datapath.events import GuestState
from datapath.guest.console import Relay
from datapath.guest.instance import Driver, Instance, OnHappening, Place
from datapath.guest.keeper import Keeper
from datapath.guest.means import Console, Means, Migrate, Moved
from datapath.guest.patience import Clock, LoopClock, Slots
from datapath.guest.wishes import ARRIVING, DIRECTORY, Wishes, home, wishes
from datapath.spec import Driver as DriverName
from datapath.spec import Guest, HostSpec


async def _migrate(
    source: Instance,
    arriving: Guest,
    place: Place,
    driver: Driver,
    on_happening: OnHappening,
    on_switch: Callable[[str], None],
) -> Moved:
    """Imported by the first guest that moves."""
    from datapath.guest.qemu.migration import migrate

    return await migrate(source, arriving, place, driver, on_happening, on_switch)


@runtime_checkable
class _Closes(Protocol):
    """A driver that holds on to something, such as a connection."""

    def close(self) -> None: ...


class Guests:
    """Made, used and closed in one event loop. `on_change` is called with each chassis for which `settled`, `errors` or
    `knows` or `attached` may have another answer now."""

    def __init__(
        self,
        lab: str,
        run_dir: Path,
        drivers: Callable[[DriverName], Driver],
        on_event: Callable[[GuestState], None],
        on_change: Callable[[str], None],
        *,
        clock: Clock | None = None,
        boots: int = 0,
        migrate: Migrate = _migrate,
        console: Callable[[], Console] = Relay,
    ) -> None:
        """`boots`: how many may boot at once; 0: one for each core."""
        self.lab = lab
        self.run_dir = run_dir
        self._on_change = on_change
        slots = Slots(boots or os.cpu_count() or 1)
        self._drivers: dict[DriverName, Driver] = {}
        self._driver_of = drivers
        self._means = Means(self._driver, slots, clock or LoopClock(), console, migrate, on_event)
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._has_looked = False
        self._chassis: frozenset[str] = frozenset()

    def settle(self, specs: Mapping[str, HostSpec], vnet_hdr: Callable[[str], bool], *, anew: bool = False) -> None:
        """The whole desired state of the lab, by chassis; what nobody wants, also of an earlier agent's, is removed.
        `vnet_hdr` says whether the taps of a chassis carry that header. `anew`: what has failed is tried at once."""
        self._chassis = frozenset(specs)
        wished = wishes(self.lab, self.run_dir, specs, vnet_hdr)
        left = () if self._has_looked else self._left()
        self._has_looked = True
        for name in dict.fromkeys((*wished, *self._keepers, *left)):
            self._keeper(name).wish(wished.get(name, Wishes()), anew=anew)

    def settled(self, chassis: str) -> bool:
        """Whether every guest of the chassis is as wished, or cannot be, which `errors` tells."""
        return all(keeper.settled for keeper in self._keepers.values() if chassis in self._of(keeper))

    def errors(self, chassis: str) -> tuple[str, ...]:
        return tuple(
            f"guest {name}: {keeper.error}"
            for name, keeper in sorted(self._keepers.items())
            if keeper.error and chassis in ({keeper.home} if keeper.home else self._chassis)
        )

    def knows(self, guest: str) -> bool:
        """Whether it has been looked for, so that `attached` says how it is."""
        keeper = self._keepers.get(guest)
        return keeper is not None and keeper.is_known

    def attached(self, guest: str, interface: str) -> bool:
        """Whether the guest runs, or is paused, with the interface plugged."""
        keeper = self._keepers.get(guest)
        return keeper is not None and interface in keeper.attached

    def at(self, guest: str) -> str:
        """The chassis where it runs; '' if it does not."""
        keeper = self._keepers.get(guest)
        return keeper.at if keeper is not None else ""

    def close(self) -> None:
        """Lets go; the guests go on."""
        for name, task in self._tasks.items():
            self._keepers[name].close()
            task.cancel()
        for driver in self._drivers.values():
            if isinstance(driver, _Closes):
                driver.close()

    def _driver(self, name: DriverName) -> Driver:
        if name not in self._drivers:
            self._drivers[name] = self._driver_of(name)
        return self._drivers[name]

    # Keepers

    def _left(self) -> list[str]:
        """Guests of an earlier agent: they have a directory."""
        directory = self.run_dir / DIRECTORY
        found = os.listdir(directory) if directory.exists() else ()
        return sorted(name.removesuffix(ARRIVING) for name in found)

    def _keeper(self, name: str) -> Keeper:
        """Also of a guest whose keeper has just removed it, and hears no further wish."""
        if name not in self._keepers or self._keepers[name].done:
            nowhere = Place(self.lab, "", home(self.run_dir, name), "", False)
            keeper = self._keepers[name] = Keeper(name, nowhere, self._means, self._tell)
            task = self._tasks[name] = asyncio.get_running_loop().create_task(keeper.run(), name=f"guest {name}")
            task.add_done_callback(partial(self._ended, name))
        return self._keepers[name]

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if self._tasks[name] is not task:
            return  # it has a successor
        error = task.exception()
        keeper = self._keepers[name]
        if error is not None:
            task.get_loop().call_exception_handler({"message": f"keeper of guest {name}", "exception": error})
            keeper.fail(f"its keeper has failed: {error!r}")
            return
        del self._keepers[name], self._tasks[name]
        self._tell(keeper)

    def _of(self, keeper: Keeper) -> frozenset[str]:
        """The chassis that have something to do with it: all, where an earlier agent has left it who knows where."""
        return keeper.chassis or self._chassis

    def _tell(self, keeper: Keeper) -> None:
        for chassis in sorted(self._of(keeper)):
            self._on_change(chassis)
