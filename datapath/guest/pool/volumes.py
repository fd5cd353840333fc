"""Named volumes of the pool, and guests' own disks as LAB/GUEST: made, copied, resized, kept as they were, deleted.

Enters: names. Leaves: qcow2 files that qemu-img has made. Never: a disk written that a guest has open, or that others
are layers over: the layers hold only what differs from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.errors import FileError, RefusedError
from datapath.guest.pool import disks, qcow2, qemu_img, storage, use
from datapath.guest.pool import snapshots as kept
from datapath.guest.pool.qemu_img import Progress
from datapath.guest.pool.snapshots import Snapshot
from datapath.pool import pool, volumes

_SNAPSHOT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""It begins with a letter: qemu-img also takes the number of a snapshot for its name."""


@dataclass(frozen=True, slots=True)
class Volume:
    """`size` in bytes is the guest's view, `occupied` the host's. `base` is what it is a layer over, `layers` are those
    over it, `users` have it open, in words."""

    name: str
    path: Path
    size: int
    occupied: int
    base: str
    snapshots: int
    layers: tuple[str, ...]
    users: tuple[str, ...]


def every(own_disks: bool = False) -> list[Volume]:
    """Volumes, and the guests' own disks too if asked for. No process is started for it."""
    return [_look(path) for path in (*disks.every_volume(), *(disks.own_disks() if own_disks else ()))]


def look(name: str) -> Volume:
    """Raises FileError where it is not there."""
    return _look(disks.disk(name))


def _look(path: Path) -> Volume:
    found = qcow2.read(path)
    return Volume(
        name=disks.name_of(path),
        path=path,
        size=found.size,
        occupied=found.occupied,
        base=disks.name_of(_in_pool(Path(found.backing))) if found.backing else "",
        snapshots=found.snapshots,
        layers=tuple(map(disks.name_of, disks.dependants(path))),
        users=use.users(path) if use.is_locked(path) else (),
    )


def _in_pool(path: Path) -> Path:
    """A path without links in it, by the name of the pool that one of them may lead to."""
    resolved = pool().resolve()
    return pool() / path.relative_to(resolved) if resolved in path.parents else path


# ── made and deleted ─────────────────────────────────────────────────────────────────────────────────────────────────


def create(name: str, size: int) -> None:
    """Empty. Raises FileError where there is one of the name."""
    storage.make_empty(_fresh(name), size)


def copy(name: str, source: Path, size: int, progress: Progress) -> None:
    """A whole copy of an image or disk, without its snapshots; `size` bytes large if that is more."""
    found = storage.base_image(source) if _is_foreign(source) else qcow2.read(source)
    with disks.fresh(_fresh(name)) as partial:
        try:
            arguments = ("-f", found.format, "-O", "qcow2", source, partial)
            qemu_img.convert(*arguments, size=found.size, progress=progress)
        except qemu_img.LockedError as error:
            raise _in_use(source) from error
        if size > found.size:
            qemu_img.run("resize", "-q", "-f", "qcow2", partial, str(size))


def layer(name: str, source: Path, size: int) -> None:
    """A copy-on-write layer over an image, or over a volume that nobody writes from now on."""
    path = _fresh(name)
    if _is_foreign(source):
        storage.make_layer(path, storage.base_image(source), size)
        return
    if source.parent != volumes():
        raise RefusedError(
            f"the disk {disks.name_of(source)} goes with its lab: what is over it would be lost", remedy="copy it"
        )
    _check_idle(source)
    storage.make_layer(path, qcow2.read(source.resolve()), size)


def delete(name: str) -> None:
    """With its snapshots. Raises RefusedError where it is in use, others are layers over it, or a guest could not go
    back to a snapshot without it."""
    path = disks.disk(name)
    _check_writable(path)
    _check_no_part(path)
    path.unlink()


def _fresh(name: str) -> Path:
    path = disks.volume(name)
    if path.exists():
        raise FileError(f"there is a volume {name} already", remedy=f"another name, or: sdn volume delete {name}")
    return path


def _is_foreign(source: Path) -> bool:
    """Whether it is no disk that we have made: its header is somebody else's word."""
    return source not in (*disks.every_volume(), *disks.own_disks())


# ── changed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def resize(name: str, size: int, shrink: bool) -> None:
    """`shrink` allows that what is behind `size` bytes is lost."""
    path = disks.disk(name)
    found = qcow2.read(path)
    _check_writable(path)
    if size < found.size and not shrink:
        raise RefusedError(
            f"{name} has {found.size:,} bytes, more than {size:,}: what is behind them would be lost",
            remedy="make its file system smaller first, then: --shrink",
        )
    if size < found.size and found.snapshots:
        raise RefusedError(f"{name} has snapshots, which are as large as it was", remedy="delete them first")
    _change(path, "resize", "-q", *(["--shrink"] if size < found.size else []), "-f", "qcow2", path, str(size))


def snapshots(name: str) -> list[Snapshot]:
    """The oldest first."""
    return kept.of(disks.disk(name))


def take_snapshot(name: str, snapshot: str) -> None:
    path = disks.disk(name)
    if not _SNAPSHOT.fullmatch(snapshot):
        raise FileError(
            f"'{snapshot}' cannot be the name of a snapshot", remedy="a letter, then letters, digits, _ . -"
        )
    _check_writable(path)
    if snapshot in (each.tag for each in kept.of(path)):
        raise FileError(f"{name} has a snapshot {snapshot} already")
    _change(path, "snapshot", "-q", "-c", snapshot, path)


def revert(name: str, snapshot: str) -> None:
    """What was written since is lost."""
    path, tag = _with_snapshot(name, snapshot)
    _change(path, "snapshot", "-q", "-a", tag, path)


def delete_snapshot(name: str, snapshot: str) -> None:
    path, tag = _with_snapshot(name, snapshot)
    _change(path, "snapshot", "-q", "-d", tag, path)


def _with_snapshot(name: str, snapshot: str) -> tuple[Path, str]:
    """The disk, and QEMU's word for the snapshot."""
    path = disks.disk(name)
    found = kept.called(path, snapshot)
    _check_writable(path)
    return path, found.tag


def _change(path: Path, *arguments: str | Path) -> None:
    try:
        qemu_img.run(*arguments)
    except qemu_img.LockedError as error:  # since we looked
        raise _in_use(path) from error


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_writable(path: Path) -> None:
    _check_idle(path)
    layers = [disks.name_of(each) for each in disks.dependants(path)]
    if layers:
        raise RefusedError(
            f"{disks.name_of(path)} is the base of {', '.join(layers)}",
            remedy="delete what is over it first",
        )


def _check_no_part(path: Path) -> None:
    """A guest's own disk is what its snapshots are kept by: they go with it."""
    found = kept.guests(path) if path.parent == volumes() else {}
    for tag, own in found.items():
        name, snapshot, (lab, _, guest) = disks.name_of(path), tag.partition(" ")[0], own.partition("/")
        raise RefusedError(
            f"{name} is in snapshot {snapshot} of guest {guest} of lab {lab}, which could not be reverted without it",
            remedy=f"sdn guest snapshot delete --lab {lab} {guest} {snapshot}; "
            f"or give up its part of it: sdn volume snapshot delete {name} {snapshot}",
        )


def _check_idle(path: Path) -> None:
    if use.is_locked(path):
        raise _in_use(path)


def _in_use(path: Path) -> RefusedError:
    name, users = disks.name_of(path), use.users(path)
    remedy = f"sdn volume detach GUEST {name}, or switch the guest off" if path.parent == volumes() else "switch it off"
    return RefusedError(f"{name} is in use by {', '.join(users) or 'another process'}", remedy=remedy)
