"""Images and disks by what one calls them: an image's name, a volume's name, LAB/GUEST for a guest's own disk.

    images/<name>               bases: read-only, never written
    volumes/<name>.qcow2        named volumes: they stay after `sdn down`
    labs/<lab>/<guest>.qcow2    a guest's own disk and snapshots: they go with its lab

Enters: names. Leaves: paths in the pool. Never: a name that leads out of it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from datapath.errors import FileError
from datapath.guest.pool import qcow2
from datapath.guest.pool.qcow2 import SUFFIX
from datapath.pool import images, of_lab, pool, volumes

_VOLUME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,19}")
"""20 characters are what a virtio disk's serial number has room for: a guest knows its volumes by it
(/dev/disk/by-id/virtio-<name>)."""

_RESERVED: Final = frozenset({"root", "seed", "state"})
"""What the other disks of a guest are called (`datapath.guest.qemu.command`)."""

_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}")
_OWN: Final = re.compile(r"([a-z][a-z0-9_]*)/([A-Za-z0-9][A-Za-z0-9_.-]*)")

PARTIAL: Final = ".partial-"
"""Beginning of the name of what is not complete yet."""


def volume(name: str) -> Path:
    """Where the volume is or would be. Raises FileError where the name is none."""
    if not _VOLUME.fullmatch(name):
        raise FileError(
            f"'{name}' cannot be the name of a volume",
            remedy="at most 20 letters, digits and _ . -, not first a sign, such as: data1",
        )
    if name in _RESERVED:
        raise FileError(f"'{name}' is what a guest calls a disk of another kind", remedy="choose another name")
    return volumes() / f"{name}{SUFFIX}"


def own(lab: str, guest: str) -> Path:
    """Where the guest's own disk is or would be."""
    return of_lab(lab) / f"{guest}{SUFFIX}"


def image(name: str) -> Path:
    """Where the image of the pool is or would be. Raises FileError where the name is none."""
    if not _IMAGE.fullmatch(name):
        raise FileError(f"'{name}' cannot be the name of an image", remedy="letters, digits and . _ + -")
    return images() / name


def disk(text: str) -> Path:
    """A volume or a guest's own disk, which is there. Raises FileError."""
    lab_and_guest = _OWN.fullmatch(text)
    path = own(*lab_and_guest.groups()) if lab_and_guest else volume(text)
    if not path.is_file():
        there = [name_of(each) for each in (own_disks() if lab_and_guest else every_volume())]
        kind, remedy = ("disk", "") if lab_and_guest else ("volume", f"; or: sdn volume create {text} --size 10G")
        raise FileError(f"there is no {kind} {text}", remedy=_what_is_there(text, there) + remedy)
    return path


def find_image(text: str, relative_to: Path) -> Path:
    """What `image:` in a file in the directory `relative_to` means: a path as the file sees it, or the name of an image
    in the pool. An absolute path without links in it. Raises FileError with what is there."""
    places = [relative_to / Path(text).expanduser(), *([] if "/" in text else [images() / text])]
    found = next((path for path in places if path.is_file() or path.is_block_device()), None)
    if found is None:
        there = [path.name for path in every_image()]
        remedy = f"images of the pool: {_what_is_there(text, there)}" if "/" not in text else ""
        raise FileError(f"there is no image {' or '.join(map(str, places))}", remedy=remedy)
    return found.resolve()


def every_image() -> list[Path]:
    return _files(images(), "*")


def every_volume() -> list[Path]:
    return _files(volumes(), f"*{SUFFIX}")


def own_disks() -> list[Path]:
    """Of all labs."""
    return _files(pool() / "labs", f"*/*{SUFFIX}")


def dependants(path: Path) -> list[Path]:
    """Volumes and own disks that are copy-on-write layers over the file."""
    below = str(path.resolve())
    return [each for each in (*every_volume(), *own_disks()) if _backing(each) == below]


def _backing(path: Path) -> str:
    """Of a disk that is being deleted, or is damaged, none."""
    try:
        return qcow2.read(path).backing
    except FileError:
        return ""


def name_of(path: Path) -> str:
    """As one would type it; the path of what is not in the pool."""
    if path.parent == volumes():
        return path.name.removesuffix(SUFFIX)
    if path.parent.parent == pool() / "labs":
        return f"{path.parent.name}/{path.name.removesuffix(SUFFIX)}"
    return path.name if path.parent == images() else str(path)


def ready(directory: Path) -> Path:
    """The directory of the pool, made where it is not there; nobody but its owner sees into the pool."""
    for each in (pool(), *_below(directory)):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextmanager
def fresh(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """A path to write to, in the same directory; at the end it becomes `path`, where all went well. Raises FileError
    where `path` is there by then."""
    ready(path.parent)
    _sweep(path)
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield partial
        partial.chmod(mode)
        os.link(partial, path)
    except FileExistsError as error:
        raise FileError(f"{name_of(path)} is there already") from error
    finally:
        partial.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """What was left by those who were killed while they made it."""
    for each in path.parent.glob(f"{PARTIAL}*-{path.name}"):
        if not Path("/proc", each.name.removeprefix(PARTIAL).split("-")[0]).exists():
            each.unlink(missing_ok=True)


def _below(directory: Path) -> Iterator[Path]:
    for depth in range(1, len(parts := directory.relative_to(pool()).parts) + 1):
        yield pool().joinpath(*parts[:depth])


def _what_is_there(text: str, there: list[str]) -> str:
    close = get_close_matches(text, there, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(there)}" if there else "there is none yet"


def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.is_file() and not path.name.startswith("."))
