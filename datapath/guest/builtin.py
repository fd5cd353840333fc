"""The built-in guest: Debian's cloud kernel, and a root of our own in memory that needs no disk and no download but
Debian's packages.

Enters: Guests. Leaves: the two files that QEMU boots, the kernel's arguments, and what the guest's init is to read.
Never: anything that differs between two guests is in the files; they are made once for all of them.

What runs in it is in `inside/`: busybox's init, a shell on the serial console, `sdn-net`, QEMU's guest agent, iperf3,
and perl for the probes of `sdn test`. The archive is not compressed: under TCG unpacking costs more than reading.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Final

from datapath.errors import MachineError
from datapath.guest import apt, initramfs, kernel, packages, vmlinux
from datapath.guest.initramfs import Entry
from datapath.guest.kernel import Kernel
from datapath.spec import Guest, Interface

CACHE: Final = Path("/var/cache/sdn/guest")
PACKAGES: Final = ("busybox-static", "qemu-guest-agent", "iperf3", "perl-base")
_INSIDE: Final = Path(__file__).parent / "inside"
_KEPT: Final = 3
"""Builds of other kernels or versions that stay."""

_PROGRAMS: Final = ("usr/sbin/qemu-ga", "usr/bin/iperf3", "usr/bin/perl")
_PERL: Final = ("strict.pm", "warnings.pm")
_COMMANDS: Final = ("modprobe", "shutdown")
_SCRIPTS: Final = ("sdn-boot", "sdn-net", "sdn-dhcp", "sdn-disk", "sdn-agent", "sdn-relay", "sdn-memory", *_COMMANDS)
_FILES: Final = {"inittab": "etc/inittab", "profile": "etc/profile", "mdev.conf": "etc/mdev.conf"}
_DIRECTORIES: Final = ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "var", "var/log", "etc/acpi/PWRF")

_PANIC: Final = ("pvpanic_pci", "pvpanic_mmio")
"""By which a kernel tells QEMU that it panics: the device of our own QEMUs, and the one that libvirt 9.0 knows."""

_MODULES: Final = {
    "network": ("virtio_pci", "virtio_net", "qemu_fw_cfg"),
    "devices": ("virtio_console", "button", "evdev", "virtio_blk", "virtio_balloon", "virtio_rng", *_PANIC),
    "rtnl-link-vlan": ("8021q",),
    "fs-iso9660": ("isofs",),
}
"""By what they are for: two are of `sdn-boot`, the others are names by which the kernel asks."""

_ARGUMENTS: Final = (
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "cryptomgr.notests",
    "pcie_ports=compat",
    "nokaslr",
    "no_timer_check",
)
"""A kernel that panics tells QEMU (pvpanic), and that is its end; one that cannot tell yet starts again. Its self-tests
of ciphers cost 0.25 s of 2.3 under TCG, the services of its root ports 0.15 (a plugged device is told of by ACPI), its
own unpacking to a place of chance 0.1. What else slows a real machine down (mitigations, calibrations, zeroed memory,
auditing) costs less than can be measured. It does not try whether its timer ticks, as under KVM: on a busy machine
TCG's ticks are late, and it hangs in search of another."""


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What QEMU boots; both are only read."""

    kernel: Path
    initrd: Path


def files(cache: Path = CACHE, kernels: Path = kernel.CACHE) -> BootFiles:
    """1 ms where they are there; the first time ever a download of 40 MB and 10 s, after an update of ours 0.3 s.

    Raises MachineError.
    """
    booted = kernel.newest(kernels) or kernel.fetch(kernels)
    root = packages.fetch(PACKAGES, cache)
    initrd = cache / f"initrd-{_key(booted, root)}"
    if not initrd.exists():
        with apt.locked(cache):
            if not initrd.exists():
                _write(initrd, initramfs.archive(_entries(booted, root)))
                _clear(cache)
    return BootFiles(_unpacked(booted, cache), initrd)


def _unpacked(booted: Kernel, cache: Path) -> Path:
    """The kernel without what unpacks it, where it can be had."""
    unpacked = booted.image.with_name(f"vmlinux-{booted.release}")
    if not unpacked.exists():
        with apt.locked(cache):
            if (found := vmlinux.of(booted.image.read_bytes())) is None:
                return booted.image
            _write(unpacked, found)
    return unpacked


def kernel_arguments(_guest: Guest) -> str:
    """They are the same for all guests; what differs is in `configuration`."""
    return " ".join(_ARGUMENTS)


def configuration(guest: Guest) -> bytes:
    """What `sdn-net` reads, when the guest boots or later."""
    lines = [f"hostname {guest.name}"]
    for interface in guest.interfaces:
        lines += _lines(interface)
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(interface: Interface) -> Iterator[str]:
    mode, gateway = "dhcp" if interface.dhcp else "static", interface.gateway or "-"
    addresses = () if interface.dhcp else interface.addresses
    words = (interface.name, interface.mac, interface.mtu, mode, gateway, *addresses)
    yield " ".join(map(str, ("interface", *words)))
    for vlan in interface.vlans:
        yield " ".join(map(str, ("vlan", interface.name, vlan.tag, vlan.mtu, *vlan.addresses)))


# ── the archive ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _key(booted: Kernel, root: Path) -> str:
    """Of all that makes the archive: these sources, the kernel, the packages; the latter two never change in place."""
    digest = hashlib.blake2b(f"{booted.root}\0{root}\0{root.stat().st_mtime_ns}".encode(), digest_size=8)
    digest.update(_sources())
    return digest.hexdigest()


@remembered
def _sources() -> bytes:
    parts = [Path(__file__), Path(initramfs.__file__), *sorted(_INSIDE.iterdir())]
    return b"".join(part.read_bytes() for part in parts)


def _write(file: Path, content: bytes) -> None:
    """It appears whole."""
    partial = file.with_name(f".{file.name}")
    partial.write_bytes(content)
    os.replace(partial, file)


def _clear(cache: Path) -> None:
    """Builds of long ago go; a QEMU that boots one has read it."""
    builds = sorted(cache.glob("initrd-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for stale in builds[_KEPT + 1 :]:
        stale.unlink(missing_ok=True)


def _entries(booted: Kernel, root: Path) -> list[Entry]:
    """Without doubles, and every directory before what is in it."""
    found: dict[str, Entry] = {}
    for entry in (*_applets(root), *_own(), *_programs(root), *_modules(booted), initramfs.console()):
        found[entry.path] = entry
    parents = {str(parent) for path in (*found, *_DIRECTORIES) for parent in (Path(path), *Path(path).parents)}
    directories = sorted(parents - found.keys() - {"."})
    return [*(initramfs.directory(path) for path in directories), *found.values()]


def _applets(root: Path) -> Iterator[Entry]:
    """busybox, and a link for each of its commands. The kernel starts /init, which is busybox's too."""
    busybox = root / "bin" / "busybox"
    yield _program("bin/busybox", busybox)
    yield _link("init", "/bin/busybox")
    try:
        listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise MachineError("busybox", f"{busybox} does not run: {error}", remedy=packages.remedy(CACHE)) from error
    for path in listed.stdout.split():
        if path != "bin/busybox":
            yield _link(path, "/bin/busybox")


def _own() -> Iterator[Entry]:
    for name in _SCRIPTS:
        yield initramfs.file(f"sbin/{name}", (_INSIDE / name).read_bytes(), 0o755)
    for name in ("poweroff", "halt", "reboot", "etc/acpi/PWRF/00000080"):
        yield _link(name if "/" in name else f"sbin/{name}", "/sbin/shutdown")
    for name, path in _FILES.items():
        yield initramfs.file(path, (_INSIDE / name).read_bytes())
    yield initramfs.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    yield initramfs.file("etc/group", b"root:x:0:\n")
    yield _link("var/run", "/run")


def _programs(root: Path) -> Iterator[Entry]:
    for path in _PROGRAMS:
        yield _program(path, root / path)
        for library, file in packages.linked(root, path).items():
            yield _program(library, file)
    (perl,) = root.glob("usr/lib/*-linux-gnu/perl-base")
    for path in _PERL:
        yield _program(str(perl.relative_to(root) / path), perl / path)


def _modules(booted: Kernel) -> Iterator[Entry]:
    for purpose, names in _MODULES.items():
        found = initramfs.modules(booted, names)
        yield from found
        yield initramfs.file(f"modules/{purpose}", "".join(f"{Path(each.path).stem}\n" for each in found).encode())


def _program(path: str, file: Path) -> Entry:
    try:
        return initramfs.file(path, file.read_bytes(), 0o755)
    except FileNotFoundError as error:
        raise MachineError(path, f"{file} is not there", remedy=packages.remedy(CACHE)) from error


def _link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())
