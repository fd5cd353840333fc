"""The store's server: an ovsdb-server with one file, of one lab.

Enters: the run directory of a lab. Leaves: a `Server` that listens on store.sock there. Never: a second one beside it.

It runs detached and outlives whoever started it. The lock that it holds on its pidfile tells whether it is alive, and
who it is, even to a supervisor that was killed and started again.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Final

from datapath.errors import MachineError, SdnError, TransientError
from sdn.locks import holder
from sdn.store.client import SCHEMA

DATABASE_FILE: Final = "store.db"
SOCKET: Final = "store.sock"
PIDFILE: Final = "store.pid"
LOG_FILE: Final = "logs/store.log"
CONTROL: Final = "store.ctl"


class Server:
    """A running ovsdb-server. `fileno()` becomes readable when it ends."""

    def __init__(self, pid: int, socket: Path) -> None:
        self.pid = pid
        self.socket = socket
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._descriptor

    def signal(self, number: int) -> None:
        """Does nothing if it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return

    def wait(self, timeout: float | None = None) -> bool:
        """True when it has ended, False if not within `timeout` seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def stop(self, timeout: float = 5.0) -> None:
        """Ends it: politely, and after `timeout` seconds by force."""
        self.signal(signal.SIGTERM)
        if not self.wait(timeout):
            self.signal(signal.SIGKILL)
            self.wait()
        self.close()

    def close(self) -> None:
        """Leaves it running."""
        os.close(self._descriptor)


def start_server(run_dir: Path) -> Server:
    """The server of the lab in `run_dir`: the one that runs, or a new one, in the present namespaces, once it listens.

    Raises MachineError without Open vSwitch, SdnError if its file is damaged.
    """
    running = running_server(run_dir)
    if running is not None:
        return running
    (run_dir / LOG_FILE).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    prepare_database(run_dir / DATABASE_FILE)
    _run(
        "ovsdb-server",
        str(run_dir / DATABASE_FILE),
        f"--remote=punix:{run_dir / SOCKET}",
        f"--pidfile={run_dir / PIDFILE}",
        f"--log-file={run_dir / LOG_FILE}",
        f"--unixctl={run_dir / CONTROL}",
        "--verbose=console:off",
        "--no-chdir",
        "--detach",  # returns when it listens
    )
    started = running_server(run_dir)
    if started is None:
        raise TransientError(f"the store's server ended at once; see {run_dir / LOG_FILE}")
    return started


def running_server(run_dir: Path) -> Server | None:
    """Whoever holds the lock on the pidfile."""
    pid = holder(run_dir / PIDFILE)
    try:
        return None if pid is None else Server(pid, run_dir / SOCKET)
    except ProcessLookupError:  # it ended just now
        return None


def prepare_database(path: Path) -> None:
    """Creates the file, or converts it to our version of the schema."""
    if not path.exists():
        _run("ovsdb-tool", "create", str(path), str(SCHEMA))
    elif _run("ovsdb-tool", "needs-conversion", str(path), str(SCHEMA)).strip() == "yes":
        _run("ovsdb-tool", "convert", str(path), str(SCHEMA))


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, umask=0o077, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise MachineError(
            command[0], f"{command[0]} is not installed", remedy="apt-get install openvswitch-switch"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SdnError(f"{command[0]} failed: {error.stderr.strip()}") from error
    return done.stdout
