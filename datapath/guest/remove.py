"""Ends the processes of guests by their directories, and removes everything of a lab's guests at once.

Enters: the lab and its run directory. Leaves: no QEMU of it, no directory, no disk of a guest's own. Never: a named
volume or an image; a signal to a process that is not proven to be ours (it is QEMU, and works in the directory or
has it in its command line), and not through its pidfd.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath.guest.traces import libvirt_homes
from datapath.guest.wishes import DIRECTORY
from datapath.ovs import daemons

_PROGRAM: Final = "qemu-system-"
FOREIGN: Final = "SDN_LIBVIRT_URI"
"""Environment variable that names a libvirtd of somebody else's, which leaves no directory here."""

_GRACE: Final = 5.0
"""Seconds that the kernel is given to end a killed process, which has a gigabyte to give back."""


def remove_all(lab: str, run_dir: Path) -> None:
    """The agent of the lab must have ended."""
    from datapath.guest.pool import storage

    directory = run_dir / DIRECTORY
    if any(libvirt_homes(run_dir)) or (directory.exists() and os.environ.get(FOREIGN)):
        from datapath.guest.libvirt import driver as libvirt  # only here: it loads libvirt's library

        libvirt.remove_all(lab, run_dir)
    descriptors = list(running(directory))
    for descriptor in descriptors:
        daemons.kill(descriptor)
    for descriptor in descriptors:
        daemons.await_end(descriptor, _GRACE)
    if directory.exists():
        shutil.rmtree(directory)
    storage.remove_own_disks(lab)


async def end(*directories: Path) -> None:
    """Whatever QEMU runs in one of these directories has ended when it returns."""
    for descriptor in list(running(*directories)):
        await _ended(descriptor)


async def _ended(descriptor: int) -> None:
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def running(*directories: Path) -> Iterator[int]:
    """pidfds of the QEMU processes that have something in a directory: also of one that was killed in the middle of
    its launch, which has no pidfile yet."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or not _is_in(int(entry), directories):
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(entry))
            if _is_in(int(entry), directories):  # looked at with the pidfd open: it cannot change hands
                yield descriptor
            else:
                os.close(descriptor)


def _is_in(pid: int, directories: tuple[Path, ...]) -> bool:
    """A guest that has moved was launched in a directory by another name; it works in the one that it has now."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        works_in = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    if not Path(arguments[0]).name.startswith(_PROGRAM):
        return False
    prefixes = tuple(f"{directory}/" for directory in directories)
    return f"{works_in}/".startswith(prefixes) or any(p in each for each in arguments[1:] for p in prefixes)
