"""The daemons and the database connection of one chassis while they live, and their supervision.

Enters: the namespace of the chassis. Leaves: both daemons running in it, restarted when they die; their deaths and
failures as text. Never: a daemon restarted without pause when it keeps dying; a running one of ours restarted; anything
begun, or kept, after it was closed or removed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, NamedTuple

from datapath.errors import SdnError, TransientError
from datapath.linux.host import Namespace
from datapath.linux.namespaces import inside
from datapath.ovs import daemons
from datapath.ovs.daemons import DAEMONS, DaemonName, Place
from datapath.ovs.database import Switch
from datapath.ovs.replica import Watcher, needed
from datapath.ovs.rows import BridgeRow

STORM: Final = 4
"""Deaths of a daemon within STORM_SECONDS from which on it is restarted with a pause."""

STORM_SECONDS: Final = 30.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
_GRACE: Final = 1.0  # seconds for a start that is under way to see that its daemons were ended


class Beginning(NamedTuple):
    """What a chassis that has nothing begins with: an empty database to copy, and its bridges."""

    database: Path
    bridges: Mapping[str, BridgeRow]


class Pair:
    """`watcher` is called in another thread; `after_restart` and `on_trouble` in the event loop."""

    def __init__(
        self,
        place: Place,
        lab: str,
        executor: Executor,
        watcher: Watcher,
        after_restart: Callable[[DaemonName], Awaitable[None]],
        on_trouble: Callable[[], None],
    ) -> None:
        self.place = place
        self.trouble: dict[DaemonName, str] = {}
        self.switch: Switch | None = None
        self._lab = lab
        self._executor = executor
        self._watcher = watcher
        self._after_restart = after_restart
        self._on_trouble = on_trouble
        self._home: Namespace | None = None
        self._descriptors: dict[DaemonName, int] = {}
        self._deaths: dict[DaemonName, deque[float]] = {daemon: deque(maxlen=16) for daemon in DAEMONS}
        self._turn = asyncio.Lock()
        self._starting = threading.Lock()
        self._is_closed = False
        self._is_removed = False
        self._restarts: set[asyncio.Task[None]] = set()

    @property
    def version(self) -> int:
        """Of the switch's rows: as long as it is the same, they are."""
        return self.switch.idl.version if self.switch else 0

    async def ensure(self, home: Namespace, blank: Path, bridges: Mapping[str, BridgeRow]) -> None:
        """Both daemons run in `home`, and the database answers; a new one begins with `bridges`. Raises SdnError."""
        async with self._turn:
            self._check()
            if self._home is not home:
                if left := self._leave():
                    await asyncio.get_running_loop().run_in_executor(self._executor, _end, left)
                self._home = home
            missing = [daemon for daemon in DAEMONS if daemon not in self._descriptors]
            if missing or self.switch is None:
                await self._start_missing(home, Beginning(blank, bridges))

    async def _start_missing(self, home: Namespace, beginning: Beginning | None) -> None:
        loop = asyncio.get_running_loop()
        missing = [daemon for daemon in DAEMONS if daemon not in self._descriptors]
        started, failure = await loop.run_in_executor(self._executor, self._start, home, beginning, missing)
        if self._is_closed:
            _let_go(started.values())
            self._check()
        for daemon, descriptor in started.items():
            self._descriptors[daemon] = descriptor
            self.trouble.pop(daemon, None)
            loop.add_reader(descriptor, self._died, daemon, descriptor)
        if failure is not None:
            raise failure

    def _start(
        self, home: Namespace, beginning: Beginning | None, missing: list[DaemonName]
    ) -> tuple[dict[DaemonName, int], SdnError | None]:
        """In a worker thread. What was started before something failed is returned with the failure."""
        started: dict[DaemonName, int] = {}
        failure: SdnError | None = None
        with self._starting:
            try:
                self._start_each(home, beginning, missing, started)
            except SdnError as error:
                failure = error
            except OSError as error:
                failure = TransientError(f"{self.place.directory}: {error}")
            if self._is_closed:
                (_end if self._is_removed else _let_go)(list(started.values()))
                started.clear()
        return started, failure

    def _start_each(
        self, home: Namespace, beginning: Beginning | None, missing: list[DaemonName], started: dict[DaemonName, int]
    ) -> None:
        self._check()
        if beginning is not None:
            self.place.furnish(beginning.database)
        with home.descriptor() as descriptor, inside(descriptor):
            for daemon in missing:
                if daemon == "ovs-vswitchd":
                    self._connect(beginning)
                self._check()
                started[daemon] = self._adopted(home, daemon) or daemons.start(self.place, daemon)
        self._connect(beginning)

    def _check(self) -> None:
        """Before each step: its directory may be another's by now. Raises TransientError."""
        if self._is_closed:
            raise TransientError(f"{self.place.directory}: the agent has let go of it meanwhile")

    def _connect(self, beginning: Beginning | None) -> None:
        """vswitchd starts when the database has its bridges: making the first one takes it 0.1 s (it sleeps to measure
        the clock), which pass while the kernel makes the devices. It also would back off for 1 s without a socket.
        """
        if self.switch is None and beginning is not None:
            schema = needed(daemons.schema(beginning.database))
            self.switch = switch = Switch(self.place.socket, self._lab, schema, self._watcher)
            if self._is_closed:  # set by `close` before it takes `switch`: this one or that one disconnects
                self._disconnect()
            self._check()
            switch.begin(beginning.bridges)

    def _adopted(self, home: Namespace, daemon: DaemonName) -> int | None:
        """A running one; but one in a namespace that has lost its name serves nobody, and ends."""
        descriptor = daemons.adopt(self.place, daemon)
        if descriptor is None or daemons.namespace_of(self.place, daemon) == home.inode:
            return descriptor
        daemons.end(descriptor)
        return None

    def _died(self, daemon: DaemonName, descriptor: int) -> None:
        self._forget(daemon, descriptor)
        task = asyncio.get_running_loop().create_task(self._restart(daemon))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    def _forget(self, daemon: DaemonName, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        if self._descriptors.get(daemon) == descriptor:
            del self._descriptors[daemon]

    async def _restart(self, daemon: DaemonName) -> None:
        """Until it runs again. The first deaths cost no pause, a storm of them pauses of 1, 2, 4 … seconds."""
        while self._home is not None and daemon not in self._descriptors:
            await self._pause(daemon)
            async with self._turn:
                if self._home is None:
                    return
                try:
                    await self._start_missing(self._home, None)
                except SdnError as error:
                    self.trouble[daemon] = str(error)
                    self._on_trouble()
                    continue
            await self._resume(daemon)
        self._on_trouble()

    async def _resume(self, daemon: DaemonName) -> None:
        """What a daemon must be told again: until it is, or has died again, with pauses of 1, 2, 4 … seconds."""
        pause = FIRST_PAUSE
        while self._home is not None and daemon in self._descriptors:
            try:
                await self._after_restart(daemon)
            except (OSError, SdnError) as error:
                self.trouble[daemon] = f"{daemon} runs again, but not as it shall: {error}"
                self._on_trouble()
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
            else:
                self.trouble.pop(daemon, None)
                return

    async def _pause(self, daemon: DaemonName) -> None:
        now = time.monotonic()
        deaths = self._deaths[daemon]
        deaths.append(now)
        recent = sum(1 for death in deaths if now - death < STORM_SECONDS)
        if recent >= STORM:
            pause = min(LONGEST_PAUSE, 2.0 ** (recent - STORM))
            self.trouble[daemon] = (
                f"{daemon} died {recent} times within {STORM_SECONDS:.0f} s; the next start is in {pause:.0f} s; "
                f"see {self.place.directory / daemon}.log"
            )
            self._on_trouble()
            await asyncio.sleep(pause)

    def _leave(self) -> list[int]:
        """Stops to watch what runs in a namespace that is no longer the chassis', for somebody to end it."""
        for descriptor in self._descriptors.values():
            asyncio.get_running_loop().remove_reader(descriptor)
        left = list(self._descriptors.values())
        self._descriptors.clear()
        return left

    def _disconnect(self) -> None:
        switch, self.switch = self.switch, None
        if switch is not None:
            switch.close()

    def close(self) -> None:
        """Stops to watch, for good; the daemons go on."""
        self._stop()
        self._disconnect()

    def _stop(self) -> None:
        self._is_closed = True
        self._home = None
        for task in self._restarts:
            task.cancel()
        for daemon, descriptor in list(self._descriptors.items()):
            self._forget(daemon, descriptor)

    async def remove(self) -> None:
        """Ends the daemons, also those that this process has not started, and removes their directory. A start that
        hangs is not waited for: it ends by itself, and keeps nothing."""
        self._is_removed = True
        self._stop()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._clear)

    def _clear(self) -> None:
        """In a worker thread. What hangs in its database goes on when that has ended."""
        self._end_all()
        self._disconnect()
        if self._starting.acquire(timeout=_GRACE):
            self._starting.release()
            self._end_all()
        shutil.rmtree(self.place.directory, ignore_errors=True)

    def _end_all(self) -> None:
        _end(found for daemon in DAEMONS if (found := daemons.adopt(self.place, daemon)) is not None)


def _end(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        daemons.end(descriptor)


def _let_go(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
