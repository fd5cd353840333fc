"""Snapshots of a guest, whether it runs or not.

Enters: a guest and whether it runs. Leaves: snapshots in its own disk and its volumes, all of one moment, with its
memory where it runs. Never: the memory of a guest that is off: its disks go back, and it boots from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datapath.errors import FileError, RefusedError, TransientError
from datapath.guest.pool import disks
from datapath.guest.qemu.command import MONITOR
from datapath.spec import GuestPhase, Machine


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`taken` is in seconds since the epoch, `memory` in bytes: 0 where only disks were kept. `tag` is what QEMU calls
    it: the name, and the hardware of that moment where memory was kept."""

    name: str
    taken: float
    memory: int
    tag: str


@dataclass(frozen=True, slots=True)
class States:
    """Of one guest."""

    lab: str
    guest: str
    machine: Machine
    directory: Path
    phase: GuestPhase

    @property
    def runs(self) -> bool:
        """Raises TransientError where that is about to change."""
        if self.phase in ("starting", "moving"):
            raise TransientError(f"{self.guest} is {self.phase}", remedy="try again when it runs")
        return self.phase in ("running", "paused")

    def listed(self) -> list[Snapshot]:
        """Oldest first."""
        if self.runs:
            from datapath.guest.qemu import monitor

            found = monitor.snapshots(self.directory / MONITOR)
            return [Snapshot(each.name, each.taken, each.size, each.tag) for each in found]
        return self.on_disk()

    def on_disk(self) -> list[Snapshot]:
        """The same, without asking QEMU."""
        return _of(self._own) if disks.own(self.lab, self.guest).exists() else []

    def create(self, name: str) -> None:
        if self.runs:
            from datapath.guest.qemu import monitor

            monitor.snapshot_save(self.directory / MONITOR, name)
            return
        from datapath.guest.pool import volumes

        if any(each.name == name for each in self.listed()):
            raise RefusedError(
                f"there is a snapshot '{name}' already", remedy="delete it first, or choose another name"
            )
        if not disks.own(self.lab, self.guest).exists():
            raise RefusedError(f"{self.guest} has not run yet: it has no disk", remedy=f"sdn guest start {self.guest}")
        for disk in self._disks():
            volumes.take_snapshot(disk, name)

    def revert(self, name: str) -> Snapshot:
        found = self._called(name)
        if not self.runs:
            self._change_disks(found, "revert")
        elif found.memory:
            from datapath.guest.qemu import monitor

            monitor.snapshot_load(self.directory / MONITOR, name)
        else:
            raise RefusedError(
                f"snapshot '{name}' has no memory of {self.guest}: it was taken while it was off",
                remedy=f"sdn guest stop {self.guest}, and then revert",
            )
        return found

    def delete(self, name: str) -> None:
        found = self._called(name)
        if self.runs:
            from datapath.guest.qemu import monitor

            monitor.snapshot_delete(self.directory / MONITOR, name)
        else:
            self._change_disks(found, "delete")

    def _called(self, name: str) -> Snapshot:
        every = {each.name: each for each in self.listed()}
        if name not in every:
            there = f"there are: {', '.join(every)}" if every else f"sdn guest snapshot create {self.guest} {name}"
            raise FileError(f"{self.guest} has no snapshot '{name}'", remedy=there)
        return every[name]

    # Of a guest that is off

    @property
    def _own(self) -> str:
        return f"{self.lab}/{self.guest}"

    def _disks(self) -> Iterator[str]:
        """By the names that they have in the pool."""
        yield self._own
        yield from self.machine.volumes

    def _change_disks(self, snapshot: Snapshot, what: str) -> None:
        """A volume that was not plugged then does not have it."""
        from datapath.guest.pool import volumes

        act = {"revert": volumes.revert, "delete": volumes.delete_snapshot}[what]
        for disk in self._disks():
            if any(each.tag == snapshot.tag for each in _of(disk)):
                act(disk, snapshot.tag)


def _of(disk: str) -> list[Snapshot]:
    from datapath.guest.pool import volumes

    found = volumes.snapshots(disk)
    return [Snapshot(each.name, each.taken, each.memory, each.tag) for each in found]
