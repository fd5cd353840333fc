"""Where a guest arrives: a directory beside its own, which takes the name of that when the guest has moved.

Enters: the directory of a guest, a process. Leaves: directories, a path of memory. Never: a process touched.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath.guest import past_lines
from datapath.guest.qemu.command import CONSOLE_LOG, MEMORY
from datapath.guest.wishes import ARRIVING

_MEMFD: Final = f"/memfd:{MEMORY}"


def beside(home: Path) -> Path:
    return home.with_name(home.name + ARRIVING)


def prepare(home: Path, arriving: Path) -> None:
    """An empty directory; the console's log is the same file in both, and QEMU appends to it."""
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(mode=0o700)
    with suppress(FileNotFoundError):
        os.link(home / CONSOLE_LOG, arriving / CONSOLE_LOG)


def take_over(home: Path, arriving: Path) -> None:
    """Nothing runs in `home` any more. Sockets go along with their directory, for those who connect from now on. Done
    already: nothing."""
    if not arriving.exists():
        return
    with suppress(FileNotFoundError):
        os.replace(past_lines.earlier(home / CONSOLE_LOG), past_lines.earlier(arriving / CONSOLE_LOG))
    shutil.rmtree(home, ignore_errors=True)
    arriving.rename(home)


def memory_of(pid: int) -> str:
    """A path by which another process opens the guest's memory; '' if it has none that can be shared (memory-backend-
    memfd with share=on). No file system holds it: it goes with the last process that has it."""
    descriptors = Path(f"/proc/{pid}/fd")
    with suppress(OSError):
        for each in os.listdir(descriptors):
            with suppress(OSError):  # closed since it was listed
                if os.readlink(descriptors / each).startswith(_MEMFD):
                    return str(descriptors / each)
    return ""
