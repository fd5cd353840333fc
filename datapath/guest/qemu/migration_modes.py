"""How a guest is moved from one QEMU to another: which mode, and what both are told of it. PURE.

Enters: what the file asks for, the accelerator, whether the memory can be shared. Leaves: a Mode, capabilities and
parameters of QMP, or a refusal. Never: a mode under which guests were seen to break.

Measured with QEMU 7.2 under TCG on two cores, a guest of 128 MiB that rewrites 60 MiB without pause, a ping each 10 ms:

    in place       both QEMUs map the same memory: only the devices are sent.  CPUs stand 5 ms, gap 12 to 30 ms
    post-copy      CPUs stop at once, memory follows while the guest runs.     gap 70 to 90 ms
    stop-and-copy  CPUs stop until all of the memory is over.                  gap 170 to 430 ms, more with the memory
    pre-copy       memory first, what is written meanwhile again, and again.   23 s; the third time the guest panicked
                   although both sides said "completed": TCG of 7.2 misses writes. Under KVM the kernel counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from datapath.errors import MachineError
from datapath.spec import Accelerator, MigrationMode

Mode = Literal["in-place", "pre-copy", "stop-and-copy", "post-copy"]

DOWNTIME: Final = 100
"""Milliseconds that pre-copy may stop the CPUs for: it goes on copying until the rest takes no longer."""

CONVERGE: Final = 20.0
"""Seconds of pre-copy after which a guest that writes faster than is copied is moved by post-copy, or stopped."""

SLOWEST: Final = 20 << 20
"""Bytes of memory a second that are copied at the least, on a machine that is busy with everything else."""

_UNLIMITED: Final = 1 << 40
"""Bytes a second."""

STOPS_FIRST: Final[frozenset[Mode]] = frozenset({"in-place", "stop-and-copy", "post-copy"})
"""Here the CPUs stop before anything is sent, so that nobody has to know what they wrote meanwhile."""

COMES_BACK: Final[frozenset[Mode]] = frozenset({"stop-and-copy", "pre-copy"})
"""Here the source still has all of the memory when the destination's CPUs have run."""


_CAPABILITIES: Final[dict[Mode, tuple[str, ...]]] = {
    "in-place": ("events", "x-ignore-shared"),
    "pre-copy": ("events", "auto-converge", "pause-before-switchover"),
    "stop-and-copy": ("events",),
    "post-copy": ("events", "postcopy-ram"),
}
_LATE: Final = "postcopy-ram"

Setting = dict[str, str | bool]


@dataclass(frozen=True, slots=True)
class Terms:
    """What both sides are told, as QMP has it. `late`: memory can follow while the guest runs already."""

    capabilities: list[Setting]
    parameters: dict[str, int]
    late: bool


def choose(wanted: MigrationMode, accelerator: Accelerator, shareable: bool) -> Mode:
    """`shareable`: another process can map the guest's memory. Raises MachineError."""
    if wanted == "auto" and accelerator.name == "kvm":
        return "pre-copy"
    if wanted == "auto":
        return "in-place" if shareable else "stop-and-copy"
    if wanted == "pre-copy" and accelerator.name == "tcg":
        raise MachineError(
            "pre-copy migration",
            f"pre-copy needs KVM; under TCG it breaks guests that write memory (TCG: {accelerator.reason})",
            remedy="migration: auto, stop-and-copy or post-copy",
        )
    return wanted


def terms(mode: Mode, *, late: bool) -> Terms:
    """`late`: the destination can let memory follow (userfaultfd)."""
    late = late and mode in ("pre-copy", "post-copy")
    wanted = {*_CAPABILITIES[mode], _LATE} if late else set(_CAPABILITIES[mode])
    return Terms(_capabilities(wanted), {"max-bandwidth": _UNLIMITED, "downtime-limit": DOWNTIME}, late)


def _capabilities(wanted: set[str]) -> list[Setting]:
    every = dict.fromkeys(name for names in _CAPABILITIES.values() for name in names)
    return [{"capability": name, "state": name in wanted} for name in every]


NONE: Final = _capabilities(set())
"""For whoever goes on after a move. Saving a snapshot is a migration to QEMU: under x-ignore-shared it would have no
memory in it."""


def patience(mode: Mode, memory: int) -> float:
    """Seconds after which a move that has not ended is called off, of which the launch is a part. `memory` in bytes."""
    return 15.0 + memory / SLOWEST + (CONVERGE if mode == "pre-copy" else 0.0)


ANNOUNCEMENTS: Final = {"initial": 10, "max": 100, "rounds": 5, "step": 20}
"""Milliseconds between the reverse ARPs (RFC 903) by which QEMU says where the guest's MACs are now: 10, 30, 50, 70.
Bridges that no controller tells learn it from them."""
