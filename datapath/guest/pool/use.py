"""Who has a disk open: QEMU's own locks on the file, and the descriptors in /proc.

Enters: a path. Leaves: yes or no, and names. Never: a lock taken.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from datapath.guest.wishes import DIRECTORY

_FLOCK: Final = struct.Struct("hhqqi4x")
"""struct flock: l_type, l_whence, l_start, l_len, l_pid (fcntl(2))."""

_LOCKS: Final = (100, 264)
"""QEMU locks a byte for each thing that it does (from 100 on) or lets nobody else do (from 200 on): RAW_LOCK_PERM_BASE
and RAW_LOCK_SHARED_BASE in its block/file-posix.c."""

_GUEST: Final = re.compile(rf"/([^/]+)/{DIRECTORY}/([^/.]+)(?:\.[a-z]+)?/")


def is_locked(path: Path) -> bool:
    """Whether QEMU has it open. Raises FileNotFoundError."""
    first, end = _LOCKS
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, end - first, 0)
    with path.open("rb") as file:
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def users(path: Path) -> tuple[str, ...]:
    """In words: `guest g1 of lab demo`, or the process and its number. Sees what this user may see."""
    return tuple(dict.fromkeys(_in_words(pid) for pid in _holders(str(path.resolve()))))


def _holders(path: str) -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and _holds(entry.path, path):
            yield int(entry.name)


def _holds(process: str, path: str) -> bool:
    try:
        return any(os.readlink(each.path) == path for each in os.scandir(f"{process}/fd"))
    except OSError:
        return False  # it has just ended, or is not ours to look into


def _in_words(pid: int) -> str:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    found = _GUEST.search(" ".join(arguments))
    return f"guest {found[2]} of lab {found[1]}" if found else f"process {pid} ({Path(arguments[0]).name})"
