"""What the supervisor tells others about the processes it looks after: a file that it replaces and they read."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the lab; `pid` is None for one that does not run.

    `started` is in seconds since the epoch, `restarts` counts since the supervisor came up. One that `waits` does not
    run because nobody has asked it for anything yet.
    """

    name: str
    pid: int | None
    alive: bool
    started: float
    restarts: int
    waits: bool = False

    @property
    def is_missing(self) -> bool:
        return not self.alive and not self.waits


def write(file: Path, processes: list[Process]) -> None:
    """Replace the file in one go: a reader sees the old or the new one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(process) for process in processes]))
    fresh.replace(file)


def read(file: Path) -> tuple[Process, ...]:
    """Empty where no supervisor has written yet. `alive` is as it is now."""
    try:
        rows = json.loads(file.read_text())
    except FileNotFoundError:
        return ()
    return tuple(_as_it_is_now(Process(**row)) for row in rows)


async def ended(pid: int) -> None:
    """Return when the process has, which may be at once."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await readable(descriptor)
    finally:
        os.close(descriptor)


async def readable(descriptor: int) -> None:
    """Return when it is: a pidfd when its process has ended."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)


def _as_it_is_now(told: Process) -> Process:
    alive = told.pid is not None and exists(told.pid)
    return replace(told, alive=alive, pid=told.pid if alive else None)


def exists(pid: int) -> bool:
    """Whether the pid runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
