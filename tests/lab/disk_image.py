"""A disk image that boots as those of distributions do: by the firmware, a boot loader in the master boot record, a
kernel in a file system; then a root shell on the serial console, and a file system to write to.

Enters: nothing but Debian's packages, unpacked and not installed. Leaves: a raw image of 58 MiB in 2 s. Never: a mount
or a loop device.

    0        master boot record of syslinux, two partitions
    1 MiB    FAT16: syslinux, kernel, initramfs (busybox, modules)
    41 MiB   ext4, empty: /data in the guest
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from datapath.guest import initramfs, kernel, packages
from datapath.guest.initramfs import Entry

CACHE = Path("/var/cache/sdn/tests")
MIB = 1 << 20
READY = "this image is ready"

_SECTOR = 512
_PARTITIONS = ((0x80, 0x0E, 1, 40), (0, 0x83, 41, 16))
"""Active or not, kind, first MiB, MiB."""

_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "isofs")
_SYSLINUX = "DEFAULT linux\nPROMPT 0\nLABEL linux\nKERNEL vmlinuz\nINITRD initrd\nAPPEND console=ttyS0 quiet panic=-1\n"
_INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin ENV=/profile
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read module; do insmod /modules/$module.ko; done < /modules/order
. /profile
mount -t ext4 "$(disk root)2" /data
echo {READY}
while :; do setsid cttyhack sh < /dev/ttyS0 > /dev/ttyS0 2>&1; done
"""
_PROFILE = """\
# the device of a disk by its serial number
disk() { for each in /sys/block/vd*; do [ "$(cat $each/serial)" = "$1" ] && echo /dev/${each##*/}; done; }
"""


def build(path: Path, work: Path) -> None:
    """Raises MachineError where a package cannot be had."""
    root = packages.fetch(["syslinux", "syslinux-common", "mtools"], CACHE)
    boot, data = work / "boot.fat", work / "data.ext4"
    _boot_partition(root, work, boot)
    _create(data, _PARTITIONS[1][3])
    _run("mke2fs", "-q", "-t", "ext4", str(data))
    _create(path, sum(_PARTITIONS[-1][2:]))
    with path.open("r+b") as image:
        image.write(_master_boot_record((root / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()))
        for file, (_, _, first, _) in zip((boot, data), _PARTITIONS, strict=True):
            image.seek(first * MIB)
            with file.open("rb") as partition:
                shutil.copyfileobj(partition, image)


def _boot_partition(root: Path, work: Path, image: Path) -> None:
    """syslinux wants the number of sectors before the partition in its header."""
    booted = kernel.fetch()
    (work / "syslinux.cfg").write_text(_SYSLINUX)
    (work / "initrd").write_bytes(initramfs.archive(_entries(booted)))
    shutil.copyfile(booted.image, work / "vmlinuz")
    _, _, first, length = _PARTITIONS[0]
    _create(image, length)
    sectors, hidden = length * MIB // _SECTOR, first * MIB // _SECTOR
    tools = root / "usr/bin"
    geometry = ("-h", "16", "-s", "32", "-H", str(hidden), "-T", str(sectors))
    _run(str(tools / "mformat"), "-i", str(image), *geometry, "::", tools=tools)
    _run(str(tools / "syslinux"), "--install", str(image), tools=tools)
    files = [str(work / name) for name in ("vmlinuz", "initrd", "syslinux.cfg")]
    _run(str(tools / "mcopy"), "-i", str(image), *files, "::", tools=tools)


def _entries(booted: kernel.Kernel) -> Iterator[Entry]:
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    for directory in ("bin", "proc", "sys", "dev", "data", "seed", "modules"):
        yield initramfs.directory(directory)
    yield initramfs.file("bin/busybox", busybox.read_bytes(), 0o755)
    yield initramfs.file("init", _INIT.encode(), 0o755)
    yield initramfs.file("profile", _PROFILE.encode())
    modules = initramfs.modules(booted, _MODULES)
    yield from modules
    yield initramfs.file("modules/order", "".join(f"{Path(each.path).stem}\n" for each in modules).encode())
    yield initramfs.console()


def _master_boot_record(code: bytes) -> bytes:
    """Addresses of cylinder, head and sector are not read where the kind says LBA."""
    entries = b"".join(
        struct.pack("<B3xB3xII", active, kind, first * MIB // _SECTOR, length * MIB // _SECTOR)
        for active, kind, first, length in _PARTITIONS
    )
    return code[:440].ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def _create(path: Path, mebibytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(mebibytes * MIB)


def _run(*command: str, tools: Path | None = None) -> None:
    """syslinux starts mtools, which it looks for in PATH."""
    environment = {**os.environ, "PATH": f"{tools or ''}:/usr/sbin:/usr/bin:/sbin:/bin", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}"
