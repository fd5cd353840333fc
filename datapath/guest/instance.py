"""What the keeper needs of a running guest, whichever driver runs it: QEMU over QMP, or libvirt.

Enters: a Guest of a HostSpec and a Place. Leaves: protocols. Never: a policy; that is the keeper's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from datapath.spec import Accelerator, Guest, Interface


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest is to run: `directory` is its own, `namespace` the chassis' one, in which its taps are.

    `vnet_hdr`: frames carry a virtio header, so that checksums and segmentation are left to whoever needs them; the
    userspace datapath of Open vSwitch cannot do them.
    """

    lab: str
    chassis: str
    directory: Path
    namespace: str
    vnet_hdr: bool


Happening = Literal["agent-up", "agent-down", "paused", "resumed", "reset", "shutdown", "ended"]
"""`shutdown`: the guest switched itself off (or was asked to and did); `ended`: the process is gone, by pidfd."""

OnHappening = Callable[[Happening, str], None]
"""Called in the event loop; with `ended` the second is why, as far as known: exit status and the last console lines."""


class Instance(Protocol):
    """A guest that runs, or is about to. Raises SdnError of `datapath.errors`; TransientError where trying again may
    help."""

    guest: Guest
    """With the hardware that it has now."""

    @property
    def chassis(self) -> str: ...

    @property
    def pid(self) -> int: ...

    @property
    def accelerator(self) -> Accelerator: ...

    @property
    def started(self) -> int:
        """When its process came up, in seconds since the epoch."""
        ...

    @property
    def state(self) -> Literal["prepared", "running", "paused", "off", "incoming"]:
        """`prepared`: the CPUs have not run yet."""
        ...

    @property
    def answers(self) -> bool:
        """Whether a guest agent in it has opened its port."""
        ...

    async def start(self) -> None:
        """Lets the CPUs run for the first time."""
        ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def shutdown(self) -> None:
        """Presses the power button; returns at once."""
        ...

    async def reset(self) -> None: ...

    async def kill(self) -> None:
        """Ends the process, and returns when it has ended."""
        ...

    async def adapt(self, guest: Guest, ready: Sequence[Interface]) -> tuple[str, ...]:
        """Plugs and unplugs interfaces and volumes so that the hardware is that of `guest`; an interface is plugged
        only when it is among `ready`. What cannot be changed while it runs (memory, CPUs, image) is returned in words:
        it comes with the next start."""
        ...

    def close(self) -> None:
        """Lets go; it runs on."""
        ...


class Driver(Protocol):
    """One way to run guests."""

    async def find(self, guest: Guest, place: Place, on_happening: OnHappening) -> Instance | None:
        """The guest, where it already runs at this place: whoever ran it before has ended. None where it does not."""
        ...

    async def launch(self, guest: Guest, place: Place, on_happening: OnHappening) -> Instance:
        """A new process with everything made that it needs (own disk, seed), its CPUs not running. The taps are there.
        What is left of an earlier run at the place is removed first, but not its disk."""
        ...

    async def remove(self, guest: str, place: Place) -> None:
        """Everything of a guest that does not run: its directory, its own disk."""
        ...
