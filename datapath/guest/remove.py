"""Ends the processes of guests by their directories, and removes everything of a lab's guests at once.

Enters: the lab and its run directory. Leaves: no QEMU of it, no directory, no disk of a guest's own. Never: a named
volume or an image; a signal to a process that is not proven to be ours (it is QEMU, and works in the directory or
has it in its command line), and not through its pidfd.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath import pidfd
from datapath.guest.qemu import process
from datapath.guest.traces import libvirt_homes
from datapath.guest.wishes import DIRECTORY

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
        pidfd.kill(descriptor)
    for descriptor in descriptors:
        pidfd.await_end(descriptor, _GRACE)
    if directory.exists():
        shutil.rmtree(directory)
    storage.remove_own_disks(lab)


async def end(*directories: Path) -> None:
    """Whatever QEMU runs in one of these directories has ended when it returns."""
    for descriptor in list(running(*directories)):
        try:
            await pidfd.killed(descriptor)
        finally:
            os.close(descriptor)


def running(*directories: Path) -> Iterator[int]:
    """pidfds of the QEMU processes that have something in a directory: also of one that was killed in the middle of
    its launch, which has no pidfile yet."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or not process.is_in(int(entry), directories):
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(entry))
            if process.is_in(int(entry), directories):  # looked at with the pidfd open: it cannot change hands
                yield descriptor
            else:
                os.close(descriptor)
