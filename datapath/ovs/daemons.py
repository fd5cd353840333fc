"""The pair of daemons of one chassis: ovsdb-server and ovs-vswitchd, each by its own pidfile.

Enters: a directory, a namespace. Leaves: running daemons, as pidfds. Never: a signal to a process that is not proven to
be ours (its command line names our pidfile), a sleep: a daemon that detaches returns when it is ready.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from datapath import pidfd
from datapath.errors import MachineError, TransientError
from datapath.spec import INTEGRATION_BRIDGE

DaemonName = Literal["ovsdb-server", "ovs-vswitchd"]
DAEMONS: Final[tuple[DaemonName, ...]] = ("ovsdb-server", "ovs-vswitchd")

_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
TEMPLATE: Final = "conf.db.template"
SCRATCH: Final = ".template-"

_START_TIMEOUT: Final = 20.0  # seconds; it takes 0.01

# The userspace datapath takes 32 packet buffers for every port each time its main loop turns, and gives back what the
# kernel had no packet for (OVS 3.1, netdev_linux_batch_rxq_recv_sock). glibc keeps 7 of a size at hand: with these a
# turn of a switch with 50 ports takes two thirds of the CPU.
_MALLOC: Final = "glibc.malloc.tcache_count=64"


def program(name: str) -> str:
    """The path of an Open vSwitch program. Raises MachineError."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise MachineError("Open vSwitch", f"{name} is not installed", remedy="apt-get install openvswitch-switch")
    return found


def template(run_dir: Path) -> Path:
    """An empty database of this installation's schema, made once for a lab and copied for each chassis."""
    path = run_dir / TEMPLATE
    if not path.exists():
        run_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=run_dir) as scratch:  # the tool leaves a lock file
            fresh = Path(scratch) / "conf.db"
            _run([program("ovsdb-tool"), "create", str(fresh)], {})
            fresh.rename(path)
    return path


def schema(database: Path) -> dict[str, Any]:
    """The schema within a database file: the record after its first line."""
    with database.open("rb") as file:
        file.readline()
        found: dict[str, Any] = orjson.loads(file.readline())
    return found


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Raises TransientError with what the program said."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"{Path(command[0]).name} was not ready after {_START_TIMEOUT:.0f} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise TransientError(f"{Path(command[0]).name} did not start: {said or f'exit code {done.returncode}'}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemons of a chassis keep their things."""

    directory: Path

    @property
    def database(self) -> Path:
        return self.directory / "conf.db"

    @property
    def socket(self) -> Path:
        return self.directory / "db.sock"

    @property
    def control(self) -> Path:
        return self.directory / "ovs-vswitchd.ctl"

    def pidfile(self, daemon: DaemonName) -> Path:
        return self.directory / f"{daemon}.pid"

    def furnish(self, blank: Path) -> None:
        """The directory, the database, and the way to the controller, whichever of them are missing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.database.exists():
            fresh = self.directory / ".conf.db.new"
            shutil.copyfile(blank, fresh)
            fresh.rename(self.database)
        link = self.directory / f"{INTEGRATION_BRIDGE}.controller"
        if not link.is_symlink():
            link.symlink_to("../openflow.sock")

    def command(self, daemon: DaemonName) -> list[str]:
        what = {
            "ovsdb-server": [str(self.database), f"--remote=punix:{self.socket}"],
            # When a device comes or goes vswitchd reads the kernel's routes anew, and meanwhile has none: a tunnel's
            # flow that is checked just then drops packets (OVS 3.1, lib/route-table.c). The agent gives it the route.
            "ovs-vswitchd": [f"unix:{self.socket}", "--disable-system-route"],
        }[daemon]
        return [
            program(daemon),
            *what,
            f"--pidfile={self.pidfile(daemon)}",
            f"--unixctl={self.directory / daemon}.ctl",
            f"--log-file={self.directory / daemon}.log",
            "--detach",
            "--no-chdir",
            "-vconsole:off",
            "-vsyslog:off",
        ]


def start(place: Place, daemon: DaemonName) -> int:
    """Starts it in the namespace of this thread; its pidfd once it is ready. Raises TransientError, MachineError.

    One that a killed agent was just starting may have been faster: then it is the one.
    """
    directory = str(place.directory)
    refusal = None
    try:
        where = {"OVS_RUNDIR": directory, "OVS_LOGDIR": directory, "OVS_DBDIR": directory}
        _run(place.command(daemon), {**where, "GLIBC_TUNABLES": _MALLOC})
    except TransientError as error:
        refusal = error
    descriptor = adopt(place, daemon)
    if descriptor is None:
        ended = f"{daemon} ended right after its start; see {place.directory / daemon}.log"
        raise refusal or TransientError(ended)
    return descriptor


def adopt(place: Place, daemon: DaemonName) -> int | None:
    """The pidfd of the daemon that its pidfile names, if that is running and really is ours."""
    try:
        pid = int(place.pidfile(daemon).read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if f"--pidfile={place.pidfile(daemon)}" in _arguments(pid):  # looked at with the pidfd open: it cannot change hands
        return descriptor
    os.close(descriptor)
    return None


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def namespace_of(place: Place, daemon: DaemonName) -> int:
    """The inode of the network namespace in which the daemon of the pidfile runs; 0 if it does not run."""
    try:
        return os.stat(f"/proc/{int(place.pidfile(daemon).read_text())}/ns/net").st_ino
    except (OSError, ValueError):
        return 0


def end(descriptor: int) -> None:
    """Kills it, waits until it is gone, and closes the descriptor."""
    pidfd.kill(descriptor)
    pidfd.await_end(descriptor, _START_TIMEOUT)


def running(run_dir: Path) -> Iterator[int]:
    """pidfds of all our daemons whose pidfile is one directory below `run_dir`, found by their command lines."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        if not _is_of_lab(_arguments(pid), run_dir):
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            if _is_of_lab(_arguments(pid), run_dir):
                yield descriptor
            else:
                os.close(descriptor)


def _is_of_lab(arguments: list[str], run_dir: Path) -> bool:
    if Path(arguments[0] if arguments else "").name not in DAEMONS:
        return False
    pidfiles = (Path(argument.partition("=")[2]) for argument in arguments if argument.startswith("--pidfile="))
    return any(pidfile.parent.parent == run_dir for pidfile in pidfiles)
