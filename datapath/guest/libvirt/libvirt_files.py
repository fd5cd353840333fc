"""What a guest of libvirt's needs on the host, in the words of its XML.

Enters: a Guest, and its Place or the file that its XML goes to. Leaves: files made, named in a `domain.Files`; how its
interfaces are plugged. Never: an image or a named volume written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datapath.guest.instance import Place
from datapath.guest.libvirt.domain import Files, TapPlug
from datapath.guest.qemu import command, outfit
from datapath.guest.qemu.command import ROOT, SEED, Disk, Outfit
from datapath.spec import Guest, Interface

SETTINGS: Final = "net"
"""File in the guest's directory with what the built-in guest's init reads."""

RUNS: Final = "domain"
"""File in the guest's directory that names the chassis where its domain runs, until an agent has seen that end."""

_FEWEST_QUEUES: Final = 2
"""Our taps can have several queues, and the kernel wants that said whenever one is opened (EINVAL); libvirt says it
from two on. A guest with one CPU uses one of them."""


def make(guest: Guest, place: Place) -> Files:
    """Blocks."""
    made = outfit.make(guest, place)
    return Files(made, _written(place.directory / SETTINGS, made.settings), place.directory)


def elsewhere(guest: Guest, lab: str, directory: Path, file: Path | None) -> Files:
    """For a domain that somebody else runs. What is made for it alone is written beside `file`; without one it is named
    as in `directory`, the guest's own, where it is when the guest has run."""
    settings = outfit.settings(guest)
    named = file.absolute().with_suffix("") if file else None
    found = Outfit(_disks(guest, lab, directory, named), kernel=outfit.kernel(guest), settings=settings)
    if not settings:
        return Files(found)
    if named is None:
        return Files(found, directory / SETTINGS)
    return Files(found, _written(named.with_suffix(f".{SETTINGS}"), settings))


def _disks(guest: Guest, lab: str, directory: Path, named: Path | None) -> tuple[Disk, ...]:
    from datapath.guest.pool import storage

    machine = guest.machine
    own = [Disk(ROOT, storage.own_disk_path(lab, guest.name), "qcow2")] if machine.image else []
    return (*own, *volumes(guest), *_seed(guest, directory, named))


def _seed(guest: Guest, directory: Path, named: Path | None) -> list[Disk]:
    if guest.machine.seed is None:
        return []
    path = directory / outfit.SEED_FILE
    if named is not None:
        from datapath.guest.pool import seed

        path = named.with_suffix(".seed.iso")
        seed.write(path, guest)
    return [Disk(SEED, path, "raw", read_only=True)]


def _written(path: Path, settings: bytes) -> Path | None:
    if not settings:
        return None
    path.touch(mode=0o600)
    path.write_bytes(settings)
    return path


def note_start(place: Place) -> None:
    (place.directory / RUNS).write_text(place.chassis)


def note_end(place: Place) -> None:
    if has_run(place):
        (place.directory / RUNS).unlink(missing_ok=True)


def has_run(place: Place) -> bool:
    """Whether its domain there ran when it was last seen: one that does not now has ended while nobody watched."""
    try:
        return (place.directory / RUNS).read_text() == place.chassis
    except FileNotFoundError:
        return False


def volumes(guest: Guest) -> tuple[Disk, ...]:
    return tuple(outfit.volume(name) for name in guest.machine.volumes)


def tap(guest: Guest, interface: Interface, place: Place) -> TapPlug:
    queues = max(_FEWEST_QUEUES, command.queues(guest.machine.cpus))
    return TapPlug(interface.bridge_port, queues, place.vnet_hdr)
