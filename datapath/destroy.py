"""Removes everything of a lab from this host at once.

Enters: the name of the lab and its run directory. Leaves: no daemon, no guest, no namespace, no chassis directory of
it; the interfaces of this machine as they were before it. Never: what does not carry our mark; a port or device one by
one: they go with their namespaces.
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Final

from datapath import pidfd
from datapath.errors import SdnError
from datapath.linux import record, uplink
from datapath.linux.host import drop_all
from datapath.ovs import daemons

GUESTS: Final = "guests"
"""Directory of a lab with guests, or that had some."""

_GRACE: Final = 2.0  # seconds for the kernel to end what it was told to kill


def destroy(lab: str, run_dir: Path) -> None:
    """The agent of the lab must have ended. What runs in a node's namespace is left, without a network.

    Raises SdnError where an interface of the machine is not as it was, when everything else is gone.
    """
    unreturned = _return_interfaces(lab, run_dir)
    guests = _remove_guests(lab, run_dir)
    descriptors = list(daemons.running(run_dir))
    for descriptor in descriptors:
        pidfd.kill(descriptor)
    worker = threading.Thread(target=drop_all, args=(lab,))
    worker.start()
    worker.join()
    deadline = time.monotonic() + _GRACE
    for descriptor in descriptors:
        pidfd.await_end(descriptor, max(0.0, deadline - time.monotonic()))
    for database in run_dir.glob("*/conf.db"):
        shutil.rmtree(database.parent)
    (run_dir / daemons.TEMPLATE).unlink(missing_ok=True)
    for scratch in run_dir.glob(f"{daemons.SCRATCH}*"):
        shutil.rmtree(scratch)
    for error in (unreturned, guests):
        if error is not None:
            raise error


def _remove_guests(lab: str, run_dir: Path) -> SdnError | None:
    """Before the namespaces: their taps are in them."""
    if not (run_dir / GUESTS).exists():
        return None
    from datapath.guest.remove import remove_all  # labs without guests do without it

    try:
        remove_all(lab, run_dir)
    except SdnError as error:
        return error
    return None


def _return_interfaces(lab: str, run_dir: Path) -> SdnError | None:
    """First: the machine may be reached over them."""
    if not (record.has_any(run_dir) or uplink.has_any(lab)):
        return None
    from datapath.linux.takeover import give_all_back  # its encoder of requests is slow to import

    try:
        give_all_back(lab, run_dir)
    except SdnError as error:
        return error
    return None
