"""A guest's own disk: a copy-on-write layer over its image, or a small disk that has room for snapshots of memory.

Enters: the lab and a Guest of a HostSpec. Leaves: paths of disks that are there. Never: a base written; a disk changed
that somebody has open; a disk over another image than the guest's given to it.

It stays when the guest is started again, and goes with the guest or the lab. The data of the built-in guest, which
runs from memory, is none of it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath.errors import FileError, RefusedError
from datapath.guest.pool import disks, qcow2, qemu_img, use
from datapath.guest.pool.disks import find_image
from datapath.guest.pool.qcow2 import Image
from datapath.pool import images, of_lab, pool
from datapath.spec import Guest, Machine

__all__ = ["find_image", "own_disk", "own_disk_path", "remove_own_disk", "remove_own_disks", "volume_path"]

EMPTY_SIZE: Final = 64 << 20
"""Bytes of a disk without an image and without `disk:`. Snapshots with memory are beside what the guest sees of it."""

_BASE: Final = "user.sdn.base"
"""Extended attribute of an own disk: size and time of the image that it was made over. An image that is written later,
even by the script that built it, is no longer what the layer was taken from."""


def own_disk(lab: str, guest: Guest) -> Path:
    """The guest's own disk; made where it is not there, grown where `machine.disk` is larger. Blocks for 10 ms where
    something is to be done, else 0.1 ms.

    Raises FileError (the image cannot be read or used), RefusedError (the disk is over another image), MachineError.
    """
    path, machine = own_disk_path(lab, guest.name), guest.machine
    base = base_image(Path(machine.image)) if machine.image else None
    if not path.exists():
        _make(path, machine, base)
        return path
    found = qcow2.read(path)
    _check_base(found, base, f"{lab}/{guest.name}")
    if found.size < machine.disk and not use.is_locked(path):  # locked: it is at its source, about to arrive here
        qemu_img.run("resize", "-q", "-f", "qcow2", path, str(machine.disk))
    return path


def own_disk_path(lab: str, guest: str) -> Path:
    return disks.own(lab, guest)


def volume_path(name: str) -> Path:
    """A named volume that a guest may write. Raises FileError where there is none, RefusedError where others are layers
    over it: they would change with it."""
    disks.volume(name)  # not another guest's own disk
    path = disks.disk(name)
    layers = [disks.name_of(each) for each in disks.dependants(path)]
    if layers:
        raise RefusedError(
            f"volume {name} is the base of {', '.join(layers)}, so nobody may write it",
            remedy="give the guest a copy of it: sdn volume clone",
        )
    return path


def remove_own_disk(lab: str, guest: str) -> None:
    own_disk_path(lab, guest).unlink(missing_ok=True)
    with suppress(OSError):  # others are in it, or it never was
        of_lab(lab).rmdir()


def remove_own_disks(lab: str) -> None:
    """Of all guests of the lab, none of which runs."""
    if of_lab(lab).exists():
        shutil.rmtree(of_lab(lab))


def base_image(path: Path) -> Image:
    """An image that may be a base. In the pool it is made read-only, should it not be yet.

    A stranger's image may name any file of this machine as what is below it, and the guest would read that: so only
    what is in the image's own directory or in the pool may be. Raises FileError.
    """
    found = qcow2.read(path.resolve())
    if found.format not in ("qcow2", "raw"):
        raise FileError(f"{path} is a {found.format} image", remedy=f"sdn image import --convert {path}")
    if found.encrypted or found.data_elsewhere:
        what = "is encrypted" if found.encrypted else "has its data in another file"
        raise FileError(f"the image {path} {what}, which is not supported", remedy="qemu-img convert makes one of it")
    if found.backing:
        _check_chain(found)
    if found.path.parent == images().resolve() and os.stat(found.path).st_mode & 0o222:
        found.path.chmod(0o444)
    return found


def _check_chain(image: Image) -> None:
    below = (image.path.parent / image.backing).resolve()
    if image.path.parent not in below.parents and pool().resolve() not in below.parents:
        raise FileError(
            f"the image {image.path} is a layer over {image.backing}, outside its directory: a guest would read that",
            remedy=f"if you trust it: sdn image import --convert {image.path}",
        )
    if not image.backing_format:
        raise FileError(
            f"the image {image.path} does not say of what format {image.backing} below it is",
            remedy=f"qemu-img rebase -u -F FORMAT -b {image.backing} {image.path}",
        )
    base_image(below)


def make_layer(path: Path, base: Image, size: int = 0) -> None:
    """A new copy-on-write layer over an image, `size` bytes large or as the image."""
    larger = [str(size)] if size > base.size else []
    with disks.fresh(path) as partial:
        below = ("-F", base.format, "-b", base.path)
        qemu_img.run("create", "-q", "-f", "qcow2", *below, partial, *larger)


def _make(path: Path, machine: Machine, base: Image | None) -> None:
    if base is None:
        _make_empty(path, machine.disk or EMPTY_SIZE)
        return
    make_layer(path, base, machine.disk)
    with suppress(OSError):  # this file system keeps no such attributes
        os.setxattr(path, _BASE, _state(base.path))


def make_empty(path: Path, size: int) -> None:
    with disks.fresh(path) as partial:
        qemu_img.run("create", "-q", "-f", "qcow2", partial, str(size))


def _make_empty(path: Path, size: int) -> None:
    """Of the usual size a copy of one that is made once: half a millisecond, and no process."""
    if size != EMPTY_SIZE:
        make_empty(path, size)
        return
    template = pool() / "labs" / f".empty-{size}{qcow2.SUFFIX}"
    if not template.exists():
        with suppress(FileError):  # another thread was faster
            make_empty(template, size)
    with disks.fresh(path) as partial:
        shutil.copyfile(template, partial)


def _check_base(found: Image, base: Image | None, name: str) -> None:
    below = str(base.path) if base else ""
    changed = base is not None and _differs(found.path, base.path)
    if found.backing == below and not changed:
        return
    why = f"{below} has changed since" if changed and found.backing == below else f"not over {below or 'nothing'}"
    raise RefusedError(
        f"the disk {name} is a layer over {found.backing or 'nothing'}, {why}",
        remedy=f"sdn volume delete {name} throws away what the guest has written; then sdn guest start",
    )


def _state(path: Path) -> bytes:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}".encode()


def _differs(layer: Path, base: Path) -> bool:
    try:
        return os.getxattr(layer, _BASE) != _state(base)
    except OSError:
        return False
