"""What the supervisor tells others about the processes it looks after: a file that it replaces and they read."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the lab. `started` is in seconds since the epoch, `restarts` counts since the lab came up."""

    name: str
    pid: int
    alive: bool
    started: float
    restarts: int


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
    return tuple(Process(**{**row, "alive": exists(row["pid"])}) for row in rows)


def exists(pid: int) -> bool:
    """Whether the pid runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def end(pid: int, signal_number: int) -> None:
    """Send a signal; that the process has just ended by itself is what was wanted."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal_number)
