"""Images of the pool: bases that guests' disks are layers over. Imported, listed, deleted.

Enters: files of the user's. Leaves: read-only files in the pool. Never: an image overwritten or changed; a file of this
machine read because an image names it, unless the user vouches for the image.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from datapath.errors import FileError, MachineError, RefusedError
from datapath.guest.pool import content, disks, qcow2, qemu_img, storage, use
from datapath.guest.pool.qcow2 import Image
from datapath.guest.pool.qemu_img import Progress

_FICLONE: Final = 0x40049409
"""Makes a file share the blocks of another, on file systems that can (linux/fs.h)."""

_AT_ONCE: Final = 16 << 20
_READ_ONLY: Final = 0o444


@dataclass(frozen=True, slots=True)
class Base:
    """`layers` are the disks over it."""

    name: str
    image: Image
    layers: tuple[str, ...]


def every() -> list[Base]:
    return [
        Base(path.name, qcow2.read(path), tuple(map(disks.name_of, disks.dependants(path))))
        for path in disks.every_image()
    ]


def bring(file: Path, name: str, convert: bool, progress: Progress, *, vouched: bool = False) -> Path:
    """The image of the pool that a file has become: the same bytes, or by `convert` one qcow2 of whatever it is, with
    all that is below it. `vouched`: it is raw, though it does not look like a disk.

    Raises FileError, MachineError (no room)."""
    path = disks.image(name)
    if path.exists():
        raise FileError(f"there is an image {name} already", remedy="another --name, or: sdn image delete")
    found = qcow2.read(file)
    _check_content(file, found, vouched)
    if not convert:
        _check(file, found)
    _check_room(found)
    with disks.fresh(path, _READ_ONLY) as partial:
        if convert:
            arguments = ("-f", found.format, "-O", "qcow2", file.absolute(), partial)
            qemu_img.convert(*arguments, size=found.size, progress=progress)
        else:
            _copy(file, partial, progress)
    return path


def delete(name: str) -> None:
    path = disks.image(name)
    if not path.is_file():
        raise FileError(
            f"there is no image {name}", remedy=f"there are: {', '.join(p.name for p in disks.every_image())}"
        )
    layers = [disks.name_of(each) for each in disks.dependants(path)]
    if layers:
        raise RefusedError(f"image {name} is the base of {', '.join(layers)}", remedy="delete what is over it first")
    if use.is_locked(path):
        raise RefusedError(f"image {name} is in use by {', '.join(use.users(path)) or 'another process'}")
    path.unlink()


def _check_content(file: Path, found: Image, vouched: bool) -> None:
    if vouched and found.format != "raw":
        raise FileError(f"{file} is {found.format} by its first bytes, not raw", remedy="leave --format out")
    if found.format in ("raw", "qcow2") and found.size < content.SECTOR:  # of others it is the file's: a description
        raise FileError(f"{file} is smaller than a sector: {found.size} bytes", remedy="give the image of a disk")
    if found.format == "raw" and not vouched and not content.of(file):
        raise FileError(
            f"{file} is no image of a disk as we know them: no partition table, boot sector or file system",
            remedy="if it is one all the same: --format raw",
        )


def _check(file: Path, found: Image) -> None:
    if found.format not in ("qcow2", "raw") or found.backing or found.data_elsewhere:
        what = f"is a layer over {found.backing}" if found.backing else f"is {found.format}, and may name other files"
        raise FileError(
            f"{file} {what}",
            remedy="--convert makes one image of it, and reads whatever files it names: only where you trust it",
        )
    storage.base_image(file)


def _check_room(found: Image) -> None:
    directory = disks.ready(disks.image("x").parent)
    free = shutil.disk_usage(directory).free
    if found.occupied > free:
        raise MachineError(
            "disk space",
            f"{found.path} needs {found.occupied >> 20:,} MiB, and {directory} has {free >> 20:,} MiB left",
            remedy="SDN_POOL puts the pool elsewhere",
        )


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """Blocks are shared where the file system can; holes stay holes."""
    with source.open("rb") as old, target.open("xb") as new:
        size = old.seek(0, os.SEEK_END)
        with suppress(OSError):
            fcntl.ioctl(new, _FICLONE, old.fileno())
            progress(size, size)
            return
        os.ftruncate(new.fileno(), size)
        for position, length in _pieces(old, size):
            new.seek(position)
            _send(old, new, position, length)
            progress(position + length, size)
        progress(size, size)


def _send(old: BinaryIO, new: BinaryIO, position: int, length: int) -> None:
    while length:
        sent = os.sendfile(new.fileno(), old.fileno(), position, length)
        if not sent:
            raise FileError(f"{old.name} became shorter while it was copied")
        position, length = position + sent, length - sent


def _pieces(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(position, length) of what is no hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            raise
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        for position in range(start, end, _AT_ONCE):
            yield position, min(_AT_ONCE, end - position)
