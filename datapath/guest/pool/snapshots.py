"""Snapshots that a disk has, by the names that people gave them, and the guests whose snapshots they are a part of.

Enters: a disk. Leaves: its snapshots, the oldest first. Never: a disk changed.

A guest keeps its own disk and its volumes at the same moment, under one tag; with its memory, the tag is the name and
the hardware of that moment (`datapath.guest.qemu.monitor`), which is nothing that one would type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.errors import FileError, SdnError
from datapath.guest.pool import disks, qcow2, qemu_img

_TOGETHER: Final = 60
"""Seconds between the first and the last disk of a guest that is kept while it is off: one after the other."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`taken` in seconds since the epoch; `memory` in bytes, 0 where only the disk was kept. `tag` is what QEMU calls
    it."""

    name: str
    taken: int
    memory: int
    tag: str

    @property
    def is_of_running(self) -> bool:
        """Whether a guest's memory was kept at the same moment, here or in that guest's own disk."""
        return self.tag != self.name


def of(path: Path) -> list[Snapshot]:
    if not qcow2.read(path).snapshots:
        return []
    said = json.loads(qemu_img.run("info", "-U", "--output=json", "-f", "qcow2", path))
    return [
        Snapshot(each["name"].partition(" ")[0], each["date-sec"], each["vm-state-size"], each["name"])
        for each in said["snapshots"]
    ]


def called(path: Path, text: str) -> Snapshot:
    """By its tag, or by its name where only one has that. Raises FileError with what is there."""
    there, disk = of(path), disks.name_of(path)
    found = [each for each in there if each.tag == text] or [each for each in there if each.name == text]
    if not found:
        names = ", ".join(dict.fromkeys(each.name for each in there))
        raise FileError(f"{disk} has no snapshot {text}", remedy=f"it has: {names}" if names else "it has none")
    if len(found) > 1:
        raise FileError(
            f"{disk} has {len(found)} snapshots {text}, of guests: {' · '.join(each.tag for each in found)}",
            remedy="say which by all of that, in quotes",
        )
    return found[0]


def guests(path: Path) -> dict[str, str]:
    """By tag, the guests as LAB/GUEST that cannot go back to a snapshot of theirs without this disk."""
    parts = {each.tag: each for each in of(path)}
    return {
        each.tag: disks.name_of(own)
        for own in (disks.own_disks() if parts else ())
        if own != path
        for each in _of_another(own)
        if each.tag in parts and abs(each.taken - parts[each.tag].taken) <= _TOGETHER
    }


def _of_another(path: Path) -> list[Snapshot]:
    """A disk that is just being deleted, or is damaged, keeps nobody's."""
    try:
        return of(path)
    except SdnError:
        return []
