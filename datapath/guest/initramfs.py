"""An initramfs in memory: a cpio archive of the newc form, which the kernel unpacks into its first root.

Enters: entries, and a kernel whose modules they need. Leaves: bytes. Never: a file is written, a command run.

The form is in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: a header of hexadecimal fields,
name and data each padded to four bytes, `TRAILER!!!` at the end.
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datapath.errors import MachineError
from datapath.guest.kernel import Kernel

_MAGIC = b"070701"
_UNPACK: dict[str, Callable[[bytes], bytes]] = {".ko": bytes, ".xz": lzma.decompress, ".gz": gzip.decompress}


@dataclass(frozen=True, slots=True)
class Entry:
    """`mode` has the kind of file; `device` is the major and minor number of a device node."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, data)


def console() -> Entry:
    """/dev/console, without which init has no output."""
    return Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


def archive(entries: Iterable[Entry]) -> bytes:
    numbered = enumerate([*entries, Entry("TRAILER!!!", 0)], start=1)
    return b"".join(_packed(inode, entry) for inode, entry in numbered)


def _packed(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = _MAGIC + b"".join(b"%08X" % value for value in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


# ── modules ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def modules(kernel: Kernel, names: Sequence[str]) -> list[Entry]:
    """modules/<name>.ko, in the order in which they must be loaded; those built into the kernel are left out.

    Raises MachineError where the kernel has no such module.
    """
    needs = _dependencies(kernel)
    ordered: dict[str, None] = {}
    for name in names:
        if name in needs:
            ordered |= dict.fromkeys(reversed([needs[name][0], *needs[name][1]]))
        elif name not in _builtin(kernel):
            raise MachineError(f"kernel module {name}", f"the kernel {kernel.release} has no module {name}")
    return [_module(kernel.modules / path) for path in ordered]


def _dependencies(kernel: Kernel) -> dict[str, tuple[str, list[str]]]:
    """By module name: its path and the paths of all that it needs, the nearest first, as depmod writes them."""
    found = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        found[_name(path)] = (path, needed.split())
    return found


def _builtin(kernel: Kernel) -> set[str]:
    return {_name(path) for path in (kernel.modules / "modules.builtin").read_text().split()}


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _module(path: Path) -> Entry:
    unpack = _UNPACK.get(path.suffix)
    if unpack is None:
        raise MachineError(f"{path.suffix} modules", f"cannot unpack {path}", remedy="a kernel of Debian")
    return file(f"modules/{_name(path.name)}.ko", unpack(path.read_bytes()))
