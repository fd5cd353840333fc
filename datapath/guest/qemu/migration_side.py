"""One of the two QEMUs of a move, as far as its events tell.

Enters: events of QMP; the end of the process. Leaves: how far it is, awaited. Never: a question asked again and again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from datapath.errors import SdnError, TransientError
from datapath.guest.instance import Instance, Place

Event = Mapping[str, Any]


class Emulator(Instance, Protocol):
    """An Instance whose QEMU does what it is told by QMP."""

    @property
    def place(self) -> Place: ...

    async def execute(self, name: str, arguments: Mapping[str, object] | None = None) -> Any:
        """A command of QMP. Raises SdnError with what QEMU said; TransientError where it has gone."""
        ...

    def subscribe(self, on_event: Callable[[Event], None]) -> Callable[[], None]:
        """`on_event` gets each event as QMP has it. What is returned ends that."""
        ...

    async def end(self) -> None:
        """At once, by SIGKILL: ending by itself, QEMU removes the sockets of whoever has its directory's name now."""
        ...

    def relocate(self, directory: Path) -> None:
        """Its directory has another name now."""
        ...


_GIVEN_UP: Final = frozenset({"failed", "cancelled", "postcopy-paused"})
ENDS: Final = _GIVEN_UP | {"completed"}
"""The last states of a migration: nothing of it is left to do, or nothing goes on of itself."""


class Side:
    """`status` is that of the migration, `past` all that it was; `stopped` and `resumed` are when its CPUs last were,
    in seconds since the epoch; None: never since it is watched. `ended`: why its process has."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.status = ""
        self.past: set[str] = set()
        self.stopped: float | None = None
        self.resumed: float | None = None
        self.ended: str | None = None
        self._changed = asyncio.Event()
        self._unsubscribe = emulator.subscribe(self._on_event)

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    def close(self) -> None:
        self._unsubscribe()

    def end(self, why: str) -> None:
        """Its process has."""
        self.ended = why
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Raises SdnError where it has ended or given up, and so never gets there."""
        while not reached():
            if self.ended is not None:
                raise TransientError(f"QEMU on {self.emulator.chassis} ended: {self.ended or 'for no known reason'}")
            if self.status in _GIVEN_UP:
                raise SdnError(await self._reason())
            await self._change()

    async def rest(self) -> None:
        """Returns when no migration goes on in it."""
        while self.ended is None and self.status and self.status not in ENDS:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _reason(self) -> str:
        said = await self.emulator.execute("query-migrate")
        return f"QEMU on {self.emulator.chassis}: {said.get('error-desc') or 'the migration has ' + self.status}"

    def _on_event(self, event: Event) -> None:
        match event["event"]:
            case "MIGRATION":
                self.status = event["data"]["status"]
                self.past.add(self.status)
            case "STOP":
                self.stopped = _moment(event)
            case "RESUME":
                self.resumed = _moment(event)
        self._changed.set()


def _moment(event: Event) -> float:
    stamp = event["timestamp"]
    return float(stamp["seconds"] + stamp["microseconds"] / 1e6)


@contextmanager
def watched(pid: int, on_end: Callable[[], None]) -> Iterator[None]:
    """`on_end` is called when the process has ended."""
    loop, descriptor = asyncio.get_running_loop(), os.pidfd_open(pid)

    def end() -> None:
        loop.remove_reader(descriptor)
        on_end()

    loop.add_reader(descriptor, end)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
