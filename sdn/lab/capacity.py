"""Whether this machine has the memory that a lab's guests want: asked before anything is touched.

Enters: a Model, /proc/meminfo, the lab as it runs. Leaves: nothing, or a MachineError. Never: a reservation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datapath.errors import MachineError
from sdn.lab.rundir import RunDir
from sdn.model import Model

MIB: Final = 1 << 20
OVERHEAD: Final = 64 * MIB
"""Of a QEMU process beside the guest's own memory, under TCG with its translated code (measured: 45 to 60 MiB)."""

_MEMINFO: Final = Path("/proc/meminfo")


def check(model: Model) -> None:
    """Raises MachineError where the guests that do not run yet want more than is available."""
    held = _running(model.lab)
    starting = [guest for guest in model.guests.values() if guest.name not in held and guest.machine.power != "off"]
    wanted = sum(guest.machine.memory + OVERHEAD for guest in starting)
    available = _available(_MEMINFO.read_text())
    if wanted > available:
        raise MachineError(
            "memory",
            f"{len(starting)} guests want {wanted // MIB} MiB with what QEMU itself needs, "
            f"and {available // MIB} MiB are available",
            remedy="give guests less with `memory:`, or start fewer of them with `power: off`",
        )


def _running(lab: str) -> set[str]:
    """Guests that have a process already: what they have is no longer counted as available."""
    return {pid.parent.name for pid in RunDir(lab).path.glob("guests/*/pid")}


def _available(meminfo: str) -> int:
    """Bytes that can be had without swapping, as the kernel estimates them."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
