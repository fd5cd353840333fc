"""The audit log: who has changed what, and who was refused, as one JSON object a line.

Enters: what a request was and came to. Leaves: lines in logs/audit.log of the lab, which is root's; those of requests
that were refused and that nobody known has made in logs/refused.log, so that a flood of them pushes nothing out of the
other. Never: a body, a token. Every process that serves the lab's API appends to the same files; a line is written in
one go.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

LOG = logging.getLogger(__name__)
FILE: Final = "audit.log"
REFUSED: Final = "refused.log"
LARGEST: Final = 10 << 20
"""Bytes, after which it is moved to audit.log.1, in the place of the one before."""
LARGEST_REFUSED: Final = 1 << 20
_LONGEST_PATH: Final = 500
"""Characters of a path with its query."""
_TOKEN: Final = re.compile(r"sdn_[0-9a-f]+_[\w-]+")
"""One that was put where none belongs, into a query."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`seconds` until the answer began, of a websocket until it was closed; `revision` is that of the answer, if it has
    one; `why` is for what was refused. `what` is for websockets, which are noted twice: opened, closed. `more` counts
    the caller's refusals before this one that have no line."""

    caller: str
    role: str
    peer: str
    method: str
    path: str
    status: int
    seconds: float
    revision: int | None = None
    why: str = ""
    what: str = ""
    more: int = 0


class Audit:
    """Two files, open until `close`."""

    def __init__(self, directory: Path, largest: int = LARGEST, largest_refused: int = LARGEST_REFUSED) -> None:
        self._admitted = _Log(directory / FILE, largest)
        self._refused = _Log(directory / REFUSED, largest_refused)

    def write(self, entry: Entry) -> None:
        is_strangers = bool(entry.why) and not entry.caller
        (self._refused if is_strangers else self._admitted).write(entry)

    def close(self) -> None:
        self._admitted.close()
        self._refused.close()


class _Log:
    """A file that is moved away when it is full."""

    def __init__(self, file: Path, largest: int) -> None:
        self._file = file
        self._largest = largest
        self._descriptor: int | None = None

    def write(self, entry: Entry) -> None:
        """That it cannot be written is no reason to refuse what has been done: it is said in the process' own log."""
        line = orjson.dumps(_told(entry), option=orjson.OPT_APPEND_NEWLINE)
        try:
            os.write(self._current(), line)
        except OSError as error:
            LOG.error("%s cannot be written: %s: %s", self._file, error, line.decode())

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _current(self) -> int:
        """A descriptor of the file that has this name now: another process may have moved ours away."""
        try:
            there = os.stat(self._file)
        except FileNotFoundError:
            self.close()
            return self._open()
        if self._descriptor is None or os.fstat(self._descriptor).st_ino != there.st_ino:
            self.close()
            self._open()
        if there.st_size >= self._largest:
            self._rotate()
        return self._open()

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._file, flags, 0o600)
        return self._descriptor

    def _rotate(self) -> None:
        """Whoever has the lock on the file that is full moves it; who comes second finds that it has been."""
        full = self._open()
        fcntl.flock(full, fcntl.LOCK_EX)
        if os.path.exists(self._file) and os.stat(self._file).st_ino == os.fstat(full).st_ino:
            os.replace(self._file, self._file.with_name(f"{self._file.name}.1"))
        self.close()


def _told(entry: Entry) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row: dict[str, Any] = {
        "time": now,
        "caller": entry.caller,
        "role": entry.role,
        "peer": entry.peer,
        "method": entry.method,
        "path": _shortened(_TOKEN.sub("sdn_…", entry.path)),
        "status": entry.status,
        "seconds": round(entry.seconds, 6),
    }
    if entry.revision is not None:
        row["revision"] = entry.revision
    if entry.why:
        row["why"] = entry.why
    if entry.what:
        row["what"] = entry.what
    if entry.more:
        row["more"] = entry.more
    return row


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"
