"""Who holds a POSIX lock on a file? The kernel knows, and never tells of a process that is dead."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from struct import Struct
from typing import Final

_FLOCK: Final = Struct("hhqqi")  # struct flock of 64-bit Linux: type, whence, start, length, pid


def holder(file: Path) -> int | None:
    """The pid that has a write lock on the file; None where nobody has, or there is no file."""
    try:
        with file.open("rb") as opened:
            question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(opened, fcntl.F_GETLK, question))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else int(pid)
