"""What the libvirtd of a chassis finds where root's libvirtd looks: our directories, in a mount namespace of its own.

Enters: a directory. Leaves: the configuration in it; the calling thread with that at the fixed paths. Never: a file of
the machine's own libvirt touched. Where the machine lacks a directory to mount on it is made, empty, as any libvirtd
would.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from datapath.errors import MachineError

PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
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
    found = shutil.which("libvirtd", path=PATH)
    if found is None:
        raise MachineError(
            "libvirt",
            "libvirtd is not installed, and a guest has `driver: libvirt`",
            remedy="apt-get install --no-install-recommends libvirt-daemon",
        )
    return found


def furnish(home: Home) -> None:
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


def mount_all(home: Home) -> None:
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
