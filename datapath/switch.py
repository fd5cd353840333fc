"""What the agent needs of the switch of one chassis, whichever kind it is: Open vSwitch or the kernel's bridges.

A switch is brought to its HostSpec in four turns, in this order: `start` (daemons; in threads), `lay` (what devices are
plugged into), `plug` (what the plugged devices need), `configure` (rows of a database). A turn that a kind has no use
for does nothing. Whatever of it changes otherwise than by us makes `version` grow and calls `on_change`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datapath.drift import Difference
from datapath.spec import HostSpec, Interface

if TYPE_CHECKING:
    from datapath.linux.host import Namespace
    from datapath.linux.wires import Wires
    from datapath.linux.wiring import DatapathType


@dataclass(frozen=True, slots=True)
class Plugged:
    """An interface as the switch has it. `ofport` is the OpenFlow number it really got; None where there are none."""

    there: bool
    ofport: int | None = None


class Switch(Protocol):
    """Made for one chassis. `errors` are by where they come from; `notes` say what was chosen, and why."""

    errors: dict[str, tuple[str, ...]]
    found: list[Difference]
    """What others have changed of it, for whoever is called by `on_change` to take."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def type(self) -> DatapathType:
        """How devices are wired to it."""
        ...

    @property
    def version(self) -> int: ...

    @property
    def transactions(self) -> int:
        """Made so far, other than netlink requests of the chassis' namespaces."""
        ...

    def devices(self, spec: HostSpec, /) -> set[str] | None:
        """Names of the devices that it keeps in the chassis' namespace, beside the ends of veths that `wiring` asks
        for: whatever else carries our mark there is removed. None: it cannot be told now, and nothing is."""
        ...

    def is_right(self, spec: HostSpec, /) -> bool:
        """Looks at what nobody notifies of, such as settings of the kernel."""
        ...

    def doubt(self) -> None:
        """What it knows to be right is compared all the same next time."""
        ...

    async def start(self, spec: HostSpec, home: Namespace) -> None:
        """Raises SdnError."""
        ...

    def lay(self, spec: HostSpec, wires: Wires) -> None: ...

    def plug(self, spec: HostSpec, wires: Wires) -> None: ...

    async def configure(self, spec: HostSpec, without: set[str]) -> None:
        """`without` are nodes whose namespaces could not be had."""
        ...

    def hear(self, spec: HostSpec) -> None:
        """The kernel has told of a change in the chassis' namespace: what traffic needs is put right at once."""
        ...

    async def renew(self, spec: HostSpec) -> None:
        """Says again what expires unused."""
        ...

    def plugged(self, interface: Interface) -> Plugged: ...

    def close(self) -> None:
        """Lets go; it goes on as it is."""
        ...

    async def remove(self) -> None: ...
