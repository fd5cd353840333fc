"""The libvirtd of one chassis: it sees one network namespace, so each emulated chassis with such guests has its own.

Enters: a directory, and the namespace of the thread that starts it. Leaves: a daemon that outlives us, found again by
its pidfile; or nothing of it. Never: a file of the machine's own libvirt touched, a signal to what is not proven ours.

The paths of root's libvirtd are compiled in. So it has a mount namespace of its own, in which directories of ours are
at those paths. They must exist on the machine too; where they do not they are made empty, as any libvirtd would.
It needs neither systemd nor D-Bus nor polkit. Ready 0.05 s after its start, 14 MB, no wakeups while idle.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from datapath.errors import MachineError, TransientError
from datapath.linux.namespaces import setns

_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_DRIVERS: Final = ("lib/*/libvirt", "lib64/libvirt", "lib/libvirt")
_FIXED: Final = {
    "run": Path("/run/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "etc": Path("/etc/libvirt"),
    "log": Path("/var/log/libvirt"),
}
_FIXED_CACHE: Final = Path("/var/cache/libvirt")
CACHE: Final = Path("/var/cache/sdn/libvirt")
"""What libvirt knows of the machine's QEMU, of all chassis: to find out takes it seconds."""

_OPENVSWITCH: Final = Path("/run/openvswitch")

_USER: Final = {"passwd": "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin", "group": "libvirt-qemu:x:64055:"}

_CLONE_NEWNS: Final = 0x20000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SLAVE: Final = 1 << 19

_SECONDS: Final = 20.0  # it takes 0.05

_DAEMON: Final = """\
unix_sock_dir = "{directory}"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
unix_sock_admin_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
keepalive_interval = -1
min_workers = 2
prio_workers = 1
log_outputs = "3:file:{directory}/libvirtd.log"
"""

# No security labels, cgroups and mount namespaces: QEMU runs here as it does without libvirt. What it opens is ours
# already, so no owner is changed. The console's log is written by QEMU, and there is no virtlogd.
_QEMU: Final = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the libvirtd of a chassis keeps its things."""

    directory: Path

    @property
    def pidfile(self) -> Path:
        return self.directory / "libvirtd.pid"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={quote(str(self.directory / 'libvirt-sock'))}&mode=direct"

    def pidfile_of(self, domain: str) -> Path:
        """Of the QEMU of a domain."""
        return self.directory / "run" / "qemu" / f"{domain}.pid"

    @property
    def log(self) -> Path:
        return self.directory / "libvirtd.log"

    def _arguments(self) -> list[str]:
        return ["--config", str(self.directory / "libvirtd.conf"), "--pid-file", str(self.pidfile)]

    def command(self) -> list[str]:
        """Raises MachineError."""
        return [program(), "--daemon", *self._arguments()]

    def is_of(self, arguments: list[str]) -> bool:
        """Whether a command line is that of this daemon."""
        return Path(arguments[0]).name == "libvirtd" and arguments[-2:] == self._arguments()[-2:]


def home_of(run_dir: Path, chassis: str) -> Home:
    return Home(run_dir / chassis / "libvirt")


def program() -> str:
    found = shutil.which("libvirtd", path=_PATH)
    if found is None:
        raise MachineError(
            "libvirt",
            "libvirtd is not installed, and a guest has `driver: libvirt`",
            remedy="apt-get install --no-install-recommends libvirt-daemon",
        )
    return found


# ── running it ───────────────────────────────────────────────────────────────────────────────────────────────────────


def ensure(home: Home, namespace: Path) -> int:
    """The pidfd of the daemon in that network namespace, started if need be. Raises MachineError, TransientError.

    One in a namespace that has lost its name serves nobody, and ends.
    """
    found = adopt(home)
    if found is not None:
        if _namespace_of(home) == os.stat(namespace).st_ino:
            return found
        end(found)
    return _start(home, namespace)


def adopt(home: Home) -> int | None:
    """The pidfd of the daemon that the pidfile names, if that is running and really is ours."""
    try:
        pid = int(home.pidfile.read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if home.is_of(_arguments(pid)):  # looked at with the pidfd open: it cannot change hands
        return descriptor
    os.close(descriptor)
    return None


def _namespace_of(home: Home) -> int:
    try:
        return os.stat(f"/proc/{int(home.pidfile.read_text())}/ns/net").st_ino
    except (OSError, ValueError):
        return 0


def _start(home: Home, namespace: Path) -> int:
    command = home.command()
    _furnish(home)
    failures: list[Exception] = []

    def run() -> None:
        try:
            _start_within(home, namespace, command)
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(error)

    _in_a_thread_of_its_own(run)
    descriptor = adopt(home)
    if descriptor is None:
        reason = f": {failures[0]}" if failures else ""
        raise TransientError(f"libvirtd did not start{reason}; see {home.log}")
    return descriptor


def _in_a_thread_of_its_own(run: Callable[[], None]) -> None:
    """Namespaces are the thread's, and this one is not used for anything else afterwards."""
    thread = threading.Thread(target=run, name="libvirtd")
    thread.start()
    thread.join()


def _start_within(home: Home, namespace: Path, command: list[str]) -> None:
    """It returns when the daemon is ready, or has said why not in its log."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(descriptor)
    finally:
        os.close(descriptor)
    _mount_all(home)
    environment = {**os.environ, "PATH": _PATH, "LC_ALL": "C", "LIBVIRT_DRIVER_DIR": str(home.directory / "drivers")}
    said = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
    )
    if said.returncode:
        raise OSError(said.stderr.decode(errors="replace").strip() or f"exit code {said.returncode}")


def _furnish(home: Home) -> None:
    home.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for ours, fixed in _places(home):
        ours.mkdir(parents=True, exist_ok=True)
        fixed.mkdir(parents=True, exist_ok=True)
    (home.directory / "libvirtd.conf").write_text(_DAEMON.format(directory=home.directory))
    (home.directory / "etc" / "qemu.conf").write_text(_QEMU)
    _furnish_users(home)
    _furnish_drivers(home)


def _places(home: Home) -> list[tuple[Path, Path]]:
    return [*((home.directory / name, fixed) for name, fixed in _FIXED.items()), (CACHE, _FIXED_CACHE)]


def _furnish_users(home: Home) -> None:
    """Debian's libvirtd does not start where its user is unknown, though another one is configured; its package for
    systems with systemd makes it. Here only this daemon knows of it."""
    for name, entry in (
        ("passwd", "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin"),
        ("group", "libvirt-qemu:x:64055:"),
    ):
        known = Path("/etc", name).read_text()
        missing = "" if "\nlibvirt-qemu:" in known else f"{entry}\n"
        (home.directory / name).write_text(known + missing)


def _furnish_drivers(home: Home) -> None:
    """QEMU's only. The others watch devices, and would have networks and pools of their own."""
    (home.directory / "drivers").mkdir(exist_ok=True)
    module = "connection-driver/libvirt_driver_qemu.so"
    found = [path for place in _DRIVERS for path in Path("/usr").glob(f"{place}/{module}")]
    if not found:
        raise MachineError(
            "libvirt", "libvirt has no driver for QEMU here", remedy="apt-get install libvirt-daemon-driver-qemu"
        )
    link = home.directory / "drivers" / found[0].name
    if not link.is_symlink():
        link.symlink_to(found[0])


def _mount_all(home: Home) -> None:
    """Slaves of the machine's mounts: a namespace that loses its name there loses it here, and is not held."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def bind(source: Path, target: Path) -> None:
        flags = ctypes.c_ulong(_MS_BIND)
        check(libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"mount {target}")

    check(libc.unshare(_CLONE_NEWNS), "unshare")
    check(libc.mount(b"", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None), "mount /")
    for ours, fixed in _places(home):
        bind(ours, fixed)
    for name in ("passwd", "group"):
        bind(home.directory / name, Path("/etc", name))
    if (home.directory.parent / "db.sock").exists():
        # libvirt plugs interfaces with a virtualport by ovs-vsctl, which asks the database at this path
        _OPENVSWITCH.mkdir(exist_ok=True)
        bind(home.directory.parent, _OPENVSWITCH)


# ── ending it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def end(descriptor: int) -> None:
    """Kills the process of a pidfd, waits until it is gone, and closes that. libvirtd has all its state in files."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(1000 * _SECONDS)
    os.close(descriptor)


def remove_all(run_dir: Path) -> None:
    """Every libvirtd below a lab's run directory, every QEMU that one of them started, and their directories.

    Nothing of it needs to work: with their directory their domains are forgotten, with their last process their mounts.
    """
    for is_ours in (_is_daemon, _is_emulator):  # in this order: nobody is left to start another QEMU
        for descriptor in list(_running(partial(is_ours, run_dir))):
            end(descriptor)
    for directory in run_dir.glob("*/libvirt"):
        shutil.rmtree(directory)


def _running(wanted: Callable[[list[str]], bool]) -> Iterator[int]:
    """pidfds of the processes whose command line is wanted."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or not wanted(_arguments(int(entry))):
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(entry))
            if wanted(_arguments(int(entry))):
                yield descriptor
            else:
                os.close(descriptor)


def _is_daemon(run_dir: Path, arguments: list[str]) -> bool:
    pidfile = Path(arguments[-1])
    return pidfile.parent.parent.parent == run_dir and Home(pidfile.parent).is_of(arguments)


def _is_emulator(run_dir: Path, arguments: list[str]) -> bool:
    """A QEMU of libvirt's (it has a guest name of this form) with its guest agent's socket in our directory."""
    if not Path(arguments[0]).name.startswith("qemu-system-") or not any(a.startswith("guest=") for a in arguments):
        return False
    return any(f",path={run_dir}/guests/" in argument for argument in arguments)


def command_line(pid: int) -> str:
    """Its arguments with NULs between them; '' where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0")
    except OSError:
        return ""


def _arguments(pid: int) -> list[str]:
    return command_line(pid).split("\0")
