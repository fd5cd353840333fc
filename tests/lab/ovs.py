"""A private Open vSwitch for lab tests: its own namespace, database and daemons, gone when the test is over.

Enters: a directory where the logs stay after the test. Leaves: an `Ovs` to command. Never: a daemon that the test
did not start; daemons are ended by the pids in their own pidfiles.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_count = itertools.count()


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a command; raises CalledProcessError, whose note is what it said on standard error."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
        )
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    return done.stdout


def end(pidfile: Path, grace: float = 5.0) -> None:
    """End the daemon of a pidfile and wait until it is gone: SIGTERM, and SIGKILL after `grace` seconds."""
    with suppress(FileNotFoundError, ProcessLookupError):
        pid = int(pidfile.read_text())
        descriptor = os.pidfd_open(pid)
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(descriptor, number)
                if select.select([descriptor], [], [], grace)[0]:
                    break
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Ovs:
    """`ns` is the network namespace; `rundir` holds conf.db, the sockets and pidfiles; `logs` outlives the test."""

    ns: str
    rundir: Path
    logs: Path

    @property
    def db(self) -> str:
        """The remote of the Open_vSwitch database."""
        return f"unix:{self.rundir}/db.sock"

    def vsctl(self, *arguments: str) -> str:
        return run("ovs-vsctl", f"--db={self.db}", *arguments)

    def ofctl(self, command: str, bridge: str, *arguments: str, protocol: str = "OpenFlow14") -> str:
        return run("ovs-ofctl", "-O", protocol, command, f"unix:{self.management(bridge)}", *arguments)

    def appctl(self, *arguments: str) -> str:
        return run("ovs-appctl", "-t", self.rundir / "ovs-vswitchd.ctl", *arguments)

    def management(self, bridge: str) -> Path:
        """The socket on which `bridge` takes OpenFlow connections of tools."""
        return self.rundir / f"{bridge}.mgmt"

    def add_bridge(
        self, bridge: str, *, protocols: str = "OpenFlow13,OpenFlow14", settings: Sequence[str] = ()
    ) -> None:
        self.vsctl(
            "add-br", bridge, "--", "set", "bridge", bridge,
            "datapath_type=netdev", "fail_mode=secure", f"protocols={protocols}", *settings,
        )  # fmt: skip

    def set_controller(self, bridge: str, listening: Path, *, probe: int = 0) -> None:
        """Connect `bridge` to the controller that listens on `listening`; `probe` in ms, 0 for Open vSwitch's default.

        Open vSwitch takes a unix controller only at `<rundir>/<bridge>.controller`.
        """
        link = self.rundir / f"{bridge}.controller"
        link.unlink(missing_ok=True)
        link.symlink_to(listening)
        command = ["set-controller", bridge, f"unix:{link}"]
        if probe:
            command += ["--", "set", "controller", bridge, f"inactivity_probe={probe}"]
        self.vsctl(*command)

    def start_vswitchd(self) -> None:
        self._start("ovs-vswitchd", self.db)

    def stop_vswitchd(self) -> None:
        end(self.rundir / "ovs-vswitchd.pid")

    def pause_vswitchd(self) -> None:
        """It hangs: its sockets stay open and nothing answers."""
        os.kill(int((self.rundir / "ovs-vswitchd.pid").read_text()), signal.SIGSTOP)

    def resume_vswitchd(self) -> None:
        os.kill(int((self.rundir / "ovs-vswitchd.pid").read_text()), signal.SIGCONT)

    def start_database(self) -> None:
        self._start("ovsdb-server", f"{self.rundir}/conf.db", f"--remote=punix:{self.rundir}/db.sock")

    def stop_database(self) -> None:
        end(self.rundir / "ovsdb-server.pid")

    def _start(self, daemon: str, *arguments: str) -> None:
        run(
            "ip", "netns", "exec", self.ns, daemon, *arguments, "--detach", "--no-chdir",
            "-vconsole:off", "-vsyslog:off", f"--pidfile={self.rundir}/{daemon}.pid",
            f"--unixctl={self.rundir}/{daemon}.ctl", f"--log-file={self.logs}/{daemon}.log",
            env={"OVS_RUNDIR": str(self.rundir)},
        )  # fmt: skip


@contextmanager
def private_ovs(logs: Path) -> Iterator[Ovs]:
    """A running Open vSwitch without a bridge. Its sockets are in a short path of their own: 107 bytes is the limit."""
    ovs = Ovs(f"sdnt-{os.getpid()}-{next(_count)}", Path(tempfile.mkdtemp(prefix="sdnt-")), logs)
    run("ip", "netns", "add", ovs.ns)
    try:
        run("ovsdb-tool", "create", ovs.rundir / "conf.db", SCHEMA)
        ovs.start_database()
        ovs.vsctl("--no-wait", "init")
        ovs.start_vswitchd()
        yield ovs
    finally:
        ovs.stop_vswitchd()
        ovs.stop_database()
        run("ip", "netns", "del", ovs.ns)
        shutil.rmtree(ovs.rundir)
