"""What an agent that was killed in the middle of a move has left becomes one guest again.

Enters: the directory of a guest and the one beside it, the QEMUs that run in them. Leaves: one directory, at most one
process, which runs if the guest shall. Never: a process killed that has the only memory of a guest: what both QEMUs say
decides, and an answer that does not come decides nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from datapath import pidfd
from datapath.errors import SdnError, TransientError
from datapath.guest import remove
from datapath.guest.qemu import arrival, migration_modes
from datapath.guest.qemu.command import PID, QMP
from datapath.guest.qemu.migration_side import ENDS

ANSWER: Final = 5.0
"""Seconds for QEMU's monitor to answer."""
REST: Final = 120.0
"""Seconds for the rest of the memory to follow."""

Verdict = Literal["source", "destination", "later"]


@dataclass(frozen=True, slots=True)
class Seen:
    """Of a QEMU: `status` of query-status, `migration` of query-migrate ('' where it took part in none)."""

    status: str
    migration: str = ""


_NOT_YET: Final = frozenset({"inmigrate", "prelaunch", "paused"})
"""A destination in these has not run: nobody but the move that was interrupted could have stopped it."""


def verdict(source: Seen | None, destination: Seen | None) -> Verdict:
    """Whose the guest is; None: there is no such process. `later`: it runs at the destination, and a part of its memory
    is still at the source."""
    if destination is None:
        return "source"
    if source is None:
        return "source" if destination.status in ("inmigrate", "prelaunch") else "destination"
    if source.migration == "postcopy-active":
        return "later"
    return "source" if destination.status in _NOT_YET else "destination"


async def recover(home: Path, *, runs: bool) -> None:
    """`runs`: the guest's CPUs shall. Returns at once where no move was interrupted. Raises TransientError where a QEMU
    does not answer."""
    arriving = arrival.beside(home)
    if not arriving.exists():
        return
    source, destination = _processes(home, arriving)
    try:
        decided = await _decided(source, destination)
        if decided == "source":
            await _go_back(source, destination, arriving, runs)
        else:
            await _go_on(source, home, arriving)
    finally:
        for each in (source, destination):
            each.close()


class _Left:
    """What runs in a directory: pidfds by pid, which may be none or, of a launch that was interrupted, one without a
    monitor."""

    def __init__(self, directory: Path, processes: Mapping[int, int]) -> None:
        self.directory = directory
        self._processes = processes

    def close(self) -> None:
        for descriptor in self._processes.values():
            os.close(descriptor)

    async def seen(self) -> Seen | None:
        """Raises TransientError."""
        if _pid_in(self.directory) not in self._processes:
            return Seen("prelaunch") if self._processes else None
        status = await self.issue("query-status")
        migration = await self.issue("query-migrate")
        return Seen(status["status"], migration.get("status", ""))

    async def issue(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """On a connection of its own: the agent that had one is gone."""
        from datapath.guest.qemu.qmp import Qmp

        try:
            async with asyncio.timeout(ANSWER):
                qmp = await Qmp.connect(self.directory / QMP, _deaf)
                try:
                    return await qmp.issue(command, arguments or {})
                finally:
                    await qmp.close()
        except TimeoutError:
            raise TransientError(f"QEMU does not answer at {self.directory / QMP}") from None

    async def sent(self) -> None:
        """Returns when nothing of its migration is left to do."""
        from datapath.guest.qemu.qmp import Qmp

        qmp = await Qmp.connect(self.directory / QMP, _deaf)
        try:
            with qmp.expecting(lambda name, data: name == "MIGRATION" and data["status"] in ENDS) as ended:
                if (await qmp.issue("query-migrate", {})).get("status") not in ENDS:
                    async with asyncio.timeout(REST):
                        await ended
        except TimeoutError:
            raise TransientError(f"memory has not followed within {REST:.0f} s") from None
        finally:
            await qmp.close()

    async def end(self) -> None:
        """By the kernel's means: QEMU, ending by itself, would remove the sockets of a namesake."""
        for descriptor in self._processes.values():
            await pidfd.killed(descriptor)


def _deaf(_: Mapping[str, Any]) -> None:
    """Who asks one thing needs no events."""


def _processes(home: Path, arriving: Path) -> tuple[_Left, _Left]:
    """That of the source is the one in its pidfile; a guest that has moved before was launched under the other name."""
    found = {_pid_of(descriptor): descriptor for descriptor in remove.running(home, arriving)}
    there = _pid_in(home)
    source = {pid: descriptor for pid, descriptor in found.items() if pid == there}
    others = {pid: descriptor for pid, descriptor in found.items() if pid != there}
    return _Left(home, source), _Left(arriving, others)


def _pid_of(descriptor: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def _pid_in(directory: Path) -> int:
    """0 where it has no pidfile."""
    try:
        return int((directory / PID).read_text())
    except (OSError, ValueError):
        return 0


async def _decided(source: _Left, destination: _Left) -> Verdict:
    decided = verdict(await source.seen(), await destination.seen())
    if decided == "later":
        await source.sent()
        return "destination"
    return decided


async def _go_back(source: _Left, destination: _Left, arriving: Path, runs: bool) -> None:
    await destination.end()
    shutil.rmtree(arriving, ignore_errors=True)
    seen = await source.seen()
    if seen is None or seen.status == "prelaunch":
        return
    if seen.migration and (seen.migration not in ENDS or seen.migration == "postcopy-paused"):
        await source.issue("migrate_cancel")
        await source.sent()
    await source.issue("migrate-set-capabilities", {"capabilities": migration_modes.NONE})
    if runs and (await source.issue("query-status"))["status"] != "running":
        await source.issue("cont")


async def _go_on(source: _Left, home: Path, arriving: Path) -> None:
    await source.end()
    arrival.take_over(home, arriving)
    with suppress(SdnError):  # whoever adopts it sees whether it lives
        await _Left(home, {}).issue("migrate-set-capabilities", {"capabilities": migration_modes.NONE})
