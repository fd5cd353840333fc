"""Where a lab keeps its state: /run/sdn/<lab>/, beside it a lock while a command works. The one home of these paths.

The supervisor holds a POSIX lock on `supervisor.lock` as long as it lives (children do not inherit it), so that a lab
runs exactly if the lock is taken, and the kernel says by whom: no stale pid file can lie about it, not after kill -9.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datapath.errors import TransientError
from sdn.locks import holder

BETWEEN_TRIES = 0.02  # seconds; flock(2) cannot wait with a limit


def base() -> Path:
    """Where all labs are; SDN_RUN_DIR moves it."""
    return Path(os.environ.get("SDN_RUN_DIR", "/run/sdn"))


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one lab."""

    lab: str

    @property
    def path(self) -> Path:
        return base() / self.lab

    @property
    def store_socket(self) -> Path:
        return self.path / "store.sock"

    @property
    def store_file(self) -> Path:
        return self.path / "store.db"

    @property
    def openflow_socket(self) -> Path:
        return self.path / "openflow.sock"

    @property
    def api_socket(self) -> Path:
        """Of the lab's REST API: the supervisor listens, and starts the process that answers."""
        return self.path / "api.sock"

    @property
    def processes(self) -> Path:
        """What the supervisor runs, as JSON."""
        return self.path / "processes.json"

    @property
    def told(self) -> Path:
        """What its processes tell each other (`sdn.lab.told`)."""
        return self.path / "told.jsonl"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def chassis(self, name: str) -> Path:
        """The run directory of a chassis' Open vSwitch."""
        return self.path / name

    def guest(self, name: str) -> Path:
        """Of a guest: its sockets, its console's log."""
        return self.path / "guests" / name

    def create(self) -> None:
        """Only root may look in: the store and the switches' sockets are there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    @property
    def supervisor(self) -> int | None:
        """The pid of the lab's supervisor; None where none runs."""
        return holder(self.path / "supervisor.lock")

    @property
    def running(self) -> bool:
        return self.supervisor is not None

    def hold(self) -> None:
        """Take the supervisor's lock for the life of this process. Raises BlockingIOError where another has it."""
        descriptor = os.open(self.path / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def exclusive(self, patience: float = 0.0) -> Iterator[int]:
        """One command at a time brings a lab up, changes it or takes it down. Raises TransientError for the second,
        after `patience` seconds.

        A supervisor that is being started inherits the descriptor, and has the lock until it holds its own: there is no
        moment in which a lab is coming up and nobody knows.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.parent / f".{self.lab}.lock"
        deadline = time.monotonic() + patience
        while (descriptor := _taken(lock)) is None:
            if time.monotonic() >= deadline:
                busy = f"another sdn command is working on lab {self.lab}"
                raise TransientError(busy, remedy="wait until it is done")
            time.sleep(BETWEEN_TRIES)
        try:
            yield descriptor
        finally:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def labs() -> list[str]:
    """Names of the labs that have a run directory, running or not."""
    if not base().is_dir():
        return []
    return sorted(entry.name for entry in base().iterdir() if entry.is_dir())


def _taken(lock: Path) -> int | None:
    """A descriptor that holds the lock; None where somebody else does.

    Whoever has it removes the file when done: one that was opened before and locked after that is nobody's any more.
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
