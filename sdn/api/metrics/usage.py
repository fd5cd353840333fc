"""What processes use: those of the lab, the switches of its chassis, its guests.

Enters: pids as the supervisor, the switches and the agent tell them. Leaves: families, from /proc. Never: a process
that is not the lab's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from sdn.api.metrics.render import Family
from sdn.lab import processes
from sdn.lab.processes import Process
from sdn.lab.rundir import RunDir

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_DAEMONS: Final = ("ovs-vswitchd", "ovsdb-server")
_LABELS: Final = ("process", "chassis")


class Usage(NamedTuple):
    """Processor time in seconds of a core, user and kernel; memory in bytes."""

    seconds: float
    resident: int
    started: float
    """Seconds since the machine came up."""


def usage(pid: int) -> Usage | None:
    """None where it has ended (proc_pid_stat(5): utime, stime, starttime, rss)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    seconds = (int(words[11]) + int(words[12])) / _TICKS
    return Usage(seconds, int(words[21]) * _PAGE, int(words[19]) / _TICKS)


def families(run: RunDir, chassis: Iterable[str], guests: Mapping[str, int], boot: float) -> Iterator[Family]:
    """`guests` are pids; `boot` is when the machine came up, in seconds since the epoch."""
    looked_after = _looked_after(run)
    pids: dict[tuple[str, ...], int | None] = {(each.name, ""): each.pid for each in looked_after if not each.waits}
    pids |= {(daemon, name): _pid(run.chassis(name) / f"{daemon}.pid") for name in chassis for daemon in _DAEMONS}
    used = {labels: usage(pid) if pid else None for labels, pid in pids.items()}
    alive = [(labels, int(each is not None)) for labels, each in used.items() if not labels[1] or pids[labels]]
    yield Family("sdn_process_up", "gauge", "Whether the process runs.", _LABELS, alive)
    yield from _used("process", _LABELS, {labels: each for labels, each in used.items() if each})
    starts = [(labels, boot + each.started) for labels, each in used.items() if each]
    text = "When it came up, in seconds since the epoch."
    yield Family("sdn_process_start_time_seconds", "gauge", text, _LABELS, starts)
    restarts = [((each.name, ""), each.restarts) for each in looked_after]
    text = "Times that the supervisor has started it again."
    yield Family("sdn_process_restarts_total", "counter", text, _LABELS, restarts)
    if guests:
        found = {name: usage(pid) for name, pid in guests.items() if pid}
        yield from _used("guest", ("guest",), {(name,): each for name, each in found.items() if each})


def _used(what: str, labels: tuple[str, ...], used: Mapping[tuple[str, ...], Usage]) -> Iterator[Family]:
    cpu = [(each, found.seconds) for each, found in used.items()]
    yield Family(f"sdn_{what}_cpu_seconds_total", "counter", f"Processor time of the {what}.", labels, cpu)
    memory = [(each, found.resident) for each, found in used.items()]
    yield Family(f"sdn_{what}_resident_memory_bytes", "gauge", f"Memory of the {what} on the host.", labels, memory)


def _looked_after(run: RunDir) -> list[Process]:
    """The supervisor, what it runs, and this process, which may be one that it does not run (`sdn serve`)."""
    supervisor = run.supervisor
    found = [Process("supervisor", supervisor, supervisor is not None, 0.0, 0), *processes.read(run.processes)]
    if os.getpid() not in (each.pid for each in found):
        found = [each for each in found if each.name != "serve"] + [Process("serve", os.getpid(), True, 0.0, 0)]
    return found


def _pid(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def boot_time() -> float:
    """Of the machine, in seconds since the epoch (proc_stat(5): btime)."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
