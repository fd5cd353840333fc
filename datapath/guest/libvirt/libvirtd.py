"""The libvirtd of one chassis: it sees one network namespace, so each emulated chassis with such guests has its own.

Enters: where it lives, and its network namespace. Leaves: a daemon that outlives us, found again by its pidfile; or
nothing of it. Never: a signal to what is not proven ours.

It needs neither systemd nor D-Bus nor polkit. Ready 0.05 s after its start, 14 MB, no wakeups of its own while idle.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from datapath.errors import TransientError
from datapath.guest.libvirt.libvirtd_home import PATH, Home, furnish, mount_all
from datapath.linux.namespaces import setns

_SECONDS: Final = 20.0  # it takes 0.05

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
    if home.is_of(arguments_of(pid)):  # looked at with the pidfd open: it cannot change hands
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
    furnish(home)
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
    mount_all(home)
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C", "LIBVIRT_DRIVER_DIR": str(home.directory / "drivers")}
    said = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
    )
    if said.returncode:
        raise OSError(said.stderr.decode(errors="replace").strip() or f"exit code {said.returncode}")


# ── ending it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def end(descriptor: int) -> None:
    """Kills the process of a pidfd, waits until it is gone, and closes that. libvirtd has all its state in files."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(1000 * _SECONDS)
    os.close(descriptor)


def clear(home: Home) -> None:
    """Its directory, and that of the chassis where nothing else is in it: only Open vSwitch has one of its own."""
    shutil.rmtree(home.directory, ignore_errors=True)
    with suppress(OSError):
        home.directory.parent.rmdir()


def remove_all(run_dir: Path) -> None:
    """Every libvirtd below a lab's run directory, every QEMU that one of them started, and their directories.

    Nothing of it needs to work: with their directory their domains are forgotten, with their last process their mounts.
    """
    for is_ours in (_is_daemon, _is_of_lab):  # in this order: nobody is left to start another QEMU
        for descriptor in list(_running(partial(is_ours, run_dir))):
            end(descriptor)
    for directory in run_dir.glob("*/libvirt"):
        clear(Home(directory))


def _running(wanted: Callable[[list[str]], bool]) -> Iterator[int]:
    """pidfds of the processes whose command line is wanted."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or not wanted(arguments_of(int(entry))):
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(entry))
            if wanted(arguments_of(int(entry))):
                yield descriptor
            else:
                os.close(descriptor)


def _is_daemon(run_dir: Path, arguments: list[str]) -> bool:
    pidfile = Path(arguments[-1])
    return pidfile.parent.parent.parent == run_dir and Home(pidfile.parent).is_of(arguments)


def _is_of_lab(run_dir: Path, arguments: list[str]) -> bool:
    """A QEMU of libvirt's, which gives guests their names in this form."""
    return is_emulator(run_dir / "guests", arguments) and any(each.startswith("guest=") for each in arguments)


def is_emulator(directory: Path, arguments: list[str]) -> bool:
    """Whether it is the command line of a QEMU with sockets in that directory."""
    if not Path(arguments[0]).name.startswith("qemu-system-"):
        return False
    return any(f",path={directory}/" in argument for argument in arguments)


def arguments_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]
