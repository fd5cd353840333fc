"""qemu-img: what makes and changes disk images. 5 to 8 ms each time.

Enters: arguments. Leaves: what it printed. Never: a shell; a file that QEMU has open written (its locks see to that).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from datapath.errors import MachineError, RefusedError

_COMMAND: Final = "qemu-img"
_LOCKED: Final = re.compile(r"Failed to (?:get|lock)|another process")
_PERCENT: Final = re.compile(rb"\(([\d.]+)/100%\)")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


class LockedError(RefusedError):
    """Somebody has the image open."""


def run(*arguments: str | Path) -> str:
    """Raises MachineError where there is no qemu-img, LockedError, RefusedError with its reason."""
    with _started(arguments) as process:
        out, err = process.communicate()
    _check(arguments, process.returncode, err)
    return out.decode(errors="replace")


def convert(*arguments: str | Path, size: int, progress: Progress) -> None:
    """`qemu-img convert`, of `size` bytes. Raises as `run`."""
    every = ("convert", "-p", *arguments)
    with _started(every) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while said := os.read(process.stdout.fileno(), 4096):
            if percent := _PERCENT.findall(said):
                progress(int(size * float(percent[-1]) / 100), size)
        err = process.stderr.read()
    _check(every, process.returncode, err)


def _started(arguments: tuple[str | Path, ...]) -> subprocess.Popen[bytes]:
    command = [_COMMAND, *map(str, arguments)]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    except FileNotFoundError as error:
        remedy = "apt-get install qemu-utils (Debian, Ubuntu); elsewhere the package qemu-img"
        raise MachineError(_COMMAND, "disks of guests need qemu-img, which is not here", remedy=remedy) from error


def _check(arguments: tuple[str | Path, ...], code: int, err: bytes) -> None:
    if not code:
        return
    said = err.decode(errors="replace").strip().removeprefix(f"{_COMMAND}: ") or f"exit status {code}"
    if _LOCKED.search(said):
        raise LockedError(said)
    raise RefusedError(f"{_COMMAND} {arguments[0]}: {said}")
