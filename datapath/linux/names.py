"""Names in a directory as they come and go, of network namespaces first of all: the kernel tells of them by inotify.

Enters: a directory. Leaves: the names that have come or gone. Never: a look at a name that nobody has touched.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Final

from datapath.linux.namespaces import DIRECTORY

_IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x40, 0x80, 0x100, 0x200
_IN_CLOSE_WRITE: Final = 0x8
_IN_Q_OVERFLOW: Final = 0x4000
_EVENT: Final = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_SIZE: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Names:
    """Of a directory, which must be there; of files that were `written` to besides, if wanted. Raises OSError."""

    def __init__(self, directory: Path = DIRECTORY, *, written: bool = False) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        mask = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | (_IN_CLOSE_WRITE if written else 0)
        try:
            _checked(_libc.inotify_add_watch(self._descriptor, str(directory).encode(), mask))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Readable when there is something to `hear()`."""
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def hear(self) -> set[str] | None:
        """Names that have come or gone, without waiting; None: any may have, there were too many."""
        found: set[str] = set()
        lost = False
        while True:
            try:
                data = os.read(self._descriptor, _SIZE)
            except BlockingIOError:
                return None if lost else found
            offset = 0
            while offset < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                lost |= bool(mask & _IN_Q_OVERFLOW)
                found.add(data[offset - length : offset].rstrip(b"\0").decode(errors="replace"))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
