"""What a guest has printed, kept within bounds: QEMU appends to its log for as long as it runs.

Enters: the path of a log. Leaves: the log, shorter, and what was in it in a file beside it, instead of what was there.
Never: another file under the log's name: QEMU holds this one open, two QEMUs while the guest moves.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST: Final = 4 << 20
"""Bytes of a log."""

STEP: Final = 1 << 20
"""Bytes that a guest may print until somebody looks again."""


def earlier(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def bound(log: Path) -> None:
    """QEMU writes at the end (O_APPEND), wherever that is. What it writes between the copy's last octet and the cut is
    lost, some microseconds' worth; all of it where there is no room for a copy, for then room is what is needed most.
    4 MiB take 3 ms."""
    try:
        with log.open("rb+", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > MOST:
                with suppress(OSError):
                    _keep(file.fileno(), earlier(log))
                file.truncate(0)
    except FileNotFoundError:
        return


def _keep(descriptor: int, path: Path) -> None:
    fresh = path.with_name(f".{path.name}")
    with (
        os.fdopen(os.dup(descriptor), "rb", buffering=0) as source,
        os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target,
    ):
        shutil.copyfileobj(source, target, STEP)
    fresh.rename(path)
