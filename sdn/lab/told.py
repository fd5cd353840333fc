"""What the processes of a lab tell each other that is in no store: tests that were run, flows that users changed.

Enters: words. Leaves: the same, to each process that reads on in the lab's file of them, one line of JSON each. Never:
a word that is lost because the file is begun anew: who has it open reads it to its end, and nobody appends to it then.
Only who does not look for two whole files misses the second.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

LOG = logging.getLogger(__name__)
LARGEST: Final = 1 << 20
"""Bytes, from which on the file is begun anew."""
TESTS: Final = "test.done"


@dataclass(frozen=True, slots=True)
class Word:
    """As the event that is made of it. `about` is kind and name of an object; `by` is whose word it is, for who shall
    not take it for another's."""

    time: float
    kind: str
    message: str
    about: tuple[str, str] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""


def of_tests(found: Mapping[str, Any]) -> Word:
    """Of what `sdn.lab.testing.values` says."""
    passed = {test["name"]: test["passed"] for test in found["tests"]}
    failed = [name for name, well in passed.items() if not well]
    told = f"{len(passed) - len(failed)} of {len(passed)} tests passed in {found['seconds']:.2f} s"
    message = f"{told}; failed: {', '.join(failed)}" if failed else told
    return Word(time.time(), TESTS, message, ("lab", found["lab"]), {"passed": found["passed"], "tests": passed})


def append(file: Path, word: Word) -> None:
    """All of it or nothing. Raises OSError; FileNotFoundError where there is no such lab."""
    line = json.dumps(asdict(word), default=str).encode() + b"\n"
    with _locked(file) as descriptor:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    """The file, which nobody else appends to or removes meanwhile."""
    while True:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = os.fstat(descriptor)
            if found.st_nlink and found.st_size <= LARGEST:
                yield descriptor
                return
            if found.st_nlink:
                file.unlink()
        finally:
            os.close(descriptor)


class Words:
    """Reads on in the file, from its beginning."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._place = 0

    def news(self) -> Iterator[Word]:
        """What was appended since the last time. Raises OSError where the file cannot be read."""
        while self._open():
            assert self._descriptor is not None
            is_old = not os.fstat(self._descriptor).st_nlink
            yield from self._rest(self._descriptor)
            if not is_old:
                return
            self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> bool:
        """False while nobody has said anything."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self._place = 0
        return True

    def _rest(self, descriptor: int) -> Iterator[Word]:
        """Of whole lines: one that is not whole is being written, or taken back."""
        content = os.pread(descriptor, os.fstat(descriptor).st_size - self._place, self._place)
        lines = content[: content.rfind(b"\n") + 1]
        self._place += len(lines)
        for line in lines.splitlines():
            try:
                yield _word(json.loads(line))
            except (ValueError, TypeError):
                LOG.warning("%s has a line that is not understood: %r", self._file, line[:200])


def _word(fields: Any) -> Word:
    """Raises TypeError where it is none."""
    if not isinstance(fields, dict):
        raise TypeError(f"{fields!r} is no word")
    about = fields.get("about")
    return Word(**{**fields, "about": (about[0], about[1]) if about else None})
