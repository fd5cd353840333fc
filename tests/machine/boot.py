"""A QEMU machine with Debian's cloud kernel on top of this machine's files.

Enters: a kernel, a script, directories that it may write. Leaves: a `Machine`: lines of JSON to and from the script,
its console. Never: a file of this machine is changed outside those directories; anything stays in /tmp; a process
outlives the pytest that started it.

    this machine's /  ──virtiofsd (in a mount namespace where / is read-only)──▶  lower ┐
                                                                  tmpfs in the machine ─▶ upper ┴ overlay: its /

Why not virtme-ng (1.42 was looked at), which boots a kernel on the host's files too: it wants either the virtiofsd
written in Rust, which Debian 12 does not have, or 9p, which Debian's cloud kernel does not have (CONFIG_NET_9P is not
set; virtiofs is a module). It starts one command and shows its output, and for our results, one by one while they
happen, we should need a channel of our own beside it. What is left of it is the command line of QEMU and an init:
short enough to read here.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from datapath.guest.initramfs import Entry, archive, console, directory, file, modules
from datapath.guest.kernel import Kernel
from datapath.spec import Accelerator

PORT = "sdn.tests"
"""The name of the virtio-serial port, in /sys/class/virtio-ports of the machine."""
MEMORY = 1536
"""MiB. A page that the machine never touched costs nothing; the tests' own use is 300 to 600."""
CONSOLE_LINES = 40
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
QEMU = "qemu-system-x86_64"
BUSYBOX = "busybox"

# What the kernel runs first: busybox is all there is, until the files of this machine are underneath.
INIT = """\
#!/bin/busybox sh
set -e
bb=/bin/busybox
$bb mount -t proc proc /proc
for module in {modules}; do $bb insmod /$module; done
$bb mount -t virtiofs -o noatime host /lower
$bb mount -t tmpfs -o size=75% tmpfs /upper
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
for path in {writable}; do $bb mount --bind "/lower$path" "/root$path"; done
$bb mount -t proc proc /root/proc
$bb mount -t sysfs sysfs /root/sys
$bb mount -t devtmpfs devtmpfs /root/dev
$bb mkdir -p /root/dev/pts /root/dev/shm
$bb mount -t devpts -o ptmxmode=666 devpts /root/dev/pts
$bb mount -t tmpfs tmpfs /root/dev/shm
$bb mount -t tmpfs -o mode=755 tmpfs /root/run
$bb mkdir -p /root/lib/modules
[ -e /root/lib/modules/{release} ] || $bb ln -s {kernel} /root/lib/modules/{release}
$bb cp /script /root/run/machine
$bb umount /proc
exec $bb switch_root /root /bin/sh /run/machine
"""


class MachineDied(Exception):
    """It is gone, or does not answer; the message has the last lines of its console."""


def obstacle() -> str:
    """Why no machine can be started here, with the remedy; empty if one can, as far as looking tells."""
    if os.geteuid() != 0:
        return "needs root (sudo make test)"
    missing = next((command for command in (QEMU, BUSYBOX, "depmod", "unshare", "setpriv") if not _which(command)), "")
    if missing:
        return f"no `{missing}` in PATH; scripts/bootstrap test installs what the tests need (packages.txt)"
    if not _virtiofsd():
        return "no virtiofsd; apt-get install virtiofsd (in Debian 12 it comes with qemu-system-x86)"
    return ""


def _which(command: str) -> str:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


def _virtiofsd() -> str:
    return next((path for path in (*VIRTIOFSD, _which("virtiofsd")) if path and os.access(path, os.X_OK)), "")


class Machine:
    """Running from the constructor on, until `stop`. `script` is what /bin/sh does in it as process 1."""

    def __init__(self, kernel: Kernel, accelerator: Accelerator, script: str, writable: Sequence[Path]) -> None:
        self.began = time.monotonic()
        self._files_log, self._console = _nameless(), _nameless()
        files, listener = _connected_pair()
        self._port, port = socket.socketpair()
        self._received = b""
        with files, listener, port:
            self._virtiofsd = _start(_file_server(listener.fileno(), writable), [listener.fileno()], self._files_log)
            with _in_memory(_initramfs(kernel, script, writable)) as initramfs:
                command = _qemu(kernel, accelerator, files.fileno(), port.fileno(), initramfs.fileno())
                fds = [files.fileno(), port.fileno(), initramfs.fileno()]
                self._qemu = _start(command, fds, self._console)

    # ── its script ──

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._port.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise MachineDied(self._obituary("the machine has ended")) from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next line. Raises MachineDied where none comes within the time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            readable, _, _ = select.select([self._port], [], [], max(deadline - time.monotonic(), 0))
            if not readable:
                raise MachineDied(self._obituary(f"no word from the machine within {seconds:.0f} s"))
            data = self._port.recv(1 << 20)
            if not data:
                raise MachineDied(self._obituary("the machine has ended"))
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    # ── itself ──

    def console(self) -> str:
        """What was written to it so far, by the kernel, init and QEMU."""
        return _text(self._console)

    def _obituary(self, reason: str) -> str:
        lines = (self.console() or _text(self._files_log)).splitlines()[-CONSOLE_LINES:]
        return "\n".join([reason, "its console:", *(f"  {line}" for line in lines)])

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by itself within the time."""
        try:
            self._qemu.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """At once, whatever it does."""
        for process in (self._qemu, self._virtiofsd):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if process is self._qemu else signal.SIGTERM)
        for process in (self._qemu, self._virtiofsd):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for opened in (self._port, self._console, self._files_log):
            opened.close()


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _start(command: Sequence[str], fds: Sequence[int], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """It gets SIGKILL when the thread that starts it ends, as it does when pytest is killed."""
    tied = ["setpriv", "--pdeathsig", "KILL", *command]
    return subprocess.Popen(tied, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=fds)


def _file_server(listener: int, writable: Sequence[Path]) -> list[str]:
    """In a mount namespace of its own: what is to stay writable is mounted onto itself, then / becomes read-only."""
    script = (
        'for path in "$@"; do mount --bind "$path" "$path"; done; mount -o remount,bind,ro /; exec'
        f" {_virtiofsd()} --fd={listener} -o source=/ -o cache=always -o sandbox=chroot"
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *map(str, writable)]


def _qemu(kernel: Kernel, accelerator: Accelerator, files: int, port: int, initramfs: int) -> list[str]:
    emulated = accelerator.name == "tcg"
    shared = (
        f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on"  # virtiofsd reads requests where the machine writes
    )
    return [
        *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"),
        *("-accel", "tcg,thread=multi,tb-size=256" if emulated else "kvm", "-cpu", "max" if emulated else "host"),
        *(
            "-smp",
            str(min(os.cpu_count() or 1, 2)),
            "-m",
            f"{MEMORY}M",
            "-object",
            shared,
            "-numa",
            "node,memdev=memory",
        ),
        *("-kernel", str(kernel.image), "-initrd", f"/proc/self/fd/{initramfs}"),
        *("-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on net.ifnames=0"),
        *("-chardev", f"socket,id=files,fd={files}", "-device", "vhost-user-fs-pci,chardev=files,tag=host"),
        *("-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev=port,name={PORT}"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]


def _initramfs(kernel: Kernel, script: str, writable: Sequence[Path]) -> bytes:
    needed = modules(kernel, ["virtio_pci", "virtiofs", "overlay", "virtio_console"])
    init = INIT.format(
        modules=" ".join(module.path for module in needed),
        writable=" ".join(f"'{path}'" for path in writable),
        release=kernel.release,
        kernel=kernel.modules,
    )
    return archive(
        [
            *map(directory, ("bin", "dev", "lower", "modules", "proc", "root", "upper")),
            console(),
            file("bin/busybox", Path(_which(BUSYBOX)).read_bytes(), 0o755),
            *_libraries(_which(BUSYBOX)),
            *needed,
            file("init", init.encode(), 0o755),
            file("script", script.encode()),
        ]
    )


def _libraries(program: str) -> list[Entry]:
    """What a busybox that is not static needs beside it, with their directories; Debian has both kinds."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    paths = [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]
    parents = dict.fromkeys(parent for path in paths for parent in reversed(path.parents) if parent != Path("/"))
    return [
        *(directory(str(parent)[1:]) for parent in parents),
        *(file(str(path)[1:], path.read_bytes(), 0o755) for path in paths),
    ]


def _in_memory(data: bytes) -> IO[bytes]:
    """A file without a name."""
    made = os.fdopen(os.memfd_create("initramfs"), "w+b")
    made.write(data)
    made.flush()
    return made


def _connected_pair() -> tuple[socket.socket, socket.socket]:
    """A connection and the listening socket that will accept it, without a name that could be left behind."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # the kernel makes up an abstract name (unix(7), autobind)
    listener.listen(1)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(listener.getsockname())
    return connection, listener


def _nameless() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _text(opened: IO[bytes]) -> str:
    return os.pread(opened.fileno(), 1 << 20, 0).decode(errors="replace").replace("\r", "")
