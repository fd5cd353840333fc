"""What a guest needs on the host before QEMU starts: disks, seed, kernel, and what its init shall read.

Enters: a Guest and its Place. Leaves: files made, named in an Outfit. Never: an image or a named volume written.
"""

from __future__ import annotations

from pathlib import Path

from datapath.errors import RefusedError
from datapath.guest.instance import Place
from datapath.guest.qemu.command import AGENT, ROOT, SEED, Disk, Outfit
from datapath.spec import Guest, Kernel

SEED_FILE = "seed.iso"


def make(guest: Guest, place: Place) -> Outfit:
    """Blocks: images are looked at and made by qemu-img, 10 ms each; the built-in guest's are made once."""
    from datapath.guest.pool import storage

    machine = guest.machine
    own = storage.own_disk(place.lab, guest)
    disks = [Disk(ROOT, own, "qcow2")] if machine.image else []
    disks += [volume(name) for name in machine.volumes]
    disks += _seed(guest, place)
    return Outfit(tuple(disks), None if machine.image else own, kernel(guest), settings(guest))


def volume(name: str) -> Disk:
    from datapath.guest.pool import storage

    return Disk(name, storage.volume_path(name), "qcow2")


def remove(lab: str, guest: str) -> None:
    """Its own disk, with its snapshots."""
    from datapath.guest.pool import storage

    storage.remove_own_disk(lab, guest)


def settings(guest: Guest) -> bytes:
    """What the built-in guest's init reads; nothing for any other."""
    if not guest.machine.builtin:
        return b""
    from datapath.guest import builtin

    return builtin.configuration(guest)


def kernel(guest: Guest) -> Kernel | None:
    if not guest.machine.builtin:
        return guest.machine.kernel
    from datapath.guest import builtin

    files = builtin.files()
    return Kernel(str(files.kernel), str(files.initrd), builtin.kernel_arguments(guest))


async def apply(directory: Path, settings: bytes) -> None:
    """Has the init of the built-in guest, which runs, read other settings."""
    from datapath.guest import qga

    done = await qga.Agent(directory / AGENT).run(["/sbin/sdn-net"], settings)
    if done.code:
        raise RefusedError(f"sdn-net: {done.err.decode(errors='replace').strip() or done.code}")


def _seed(guest: Guest, place: Place) -> list[Disk]:
    if guest.machine.seed is None:
        return []
    from datapath.guest.pool import seed

    path = place.directory / SEED_FILE
    seed.write(path, guest)
    return [Disk(SEED, path, "raw", read_only=True)]
