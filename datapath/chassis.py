"""A chassis as it runs: what is wished of it, its switch, and whether it is known to be right.

Enters: a HostSpec; that something of it has changed; what is wrong, from whoever found that. Leaves: all that is wrong
with it. Never: a change of anything on the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from datapath.spec import HostSpec, Interface, SwitchKind
from datapath.switch import Switch

UPLINKS: Final = "uplinks"
GUESTS: Final = "guests"
"""Where errors and notes of the machine's interfaces and of guests come from."""


LATE: Final = "its switch has not answered yet; the other chassis go on without it"


@dataclass(eq=False)
class Chassis:
    """`errors` and `notes` are by where they come from, beside those of its switch."""

    spec: HostSpec
    switch: Switch
    errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settled: tuple[HostSpec, int] | None = None
    """The spec that was true when last looked at, with the version of the switch then; None after any change."""
    stirred: bool = False
    """Something of it has changed since it was last begun to be made so."""
    late: bool = False
    """Its switch has not answered in time, and what is wished may not be so."""
    interfaces: dict[str, Interface] = field(init=False)
    """By bridge port."""

    def __post_init__(self) -> None:
        self.wish(self.spec)

    def wish(self, spec: HostSpec) -> None:
        self.spec = spec
        self.interfaces = {interface.bridge_port: interface for interface in spec.interfaces}

    @property
    def name(self) -> str:
        return self.spec.chassis

    @property
    def kind(self) -> SwitchKind:
        """Another kind of switch is another chassis."""
        return self.spec.switch

    def is_guests(self, interface: Interface) -> bool:
        return any(guest.name == interface.node for guest in self.spec.guests)

    @property
    def is_settled(self) -> bool:
        return self.settled == (self.spec, self.switch.version)

    def is_right(self) -> bool:
        """Looks also at what nobody notifies of, such as settings of the kernel."""
        return self.switch.is_right(self.spec) and self.is_settled

    def settle(self) -> None:
        if not self.stirred and not self.late and not self.troubles:
            self.settled = self.spec, self.switch.version

    def unsettle(self) -> None:
        """Before anything is changed: what was true until now must not count as true when it is wished for again."""
        self.settled = None
        self.stirred = False

    def stir(self) -> None:
        self.settled = None
        self.stirred = True

    @property
    def broken(self) -> bool:
        """Whether something else is wrong than its guests."""
        return bool(set(self.troubles) - set(self.errors.get(GUESTS, ())))

    @property
    def troubles(self) -> tuple[str, ...]:
        sources = (*self.errors.values(), *self.switch.errors.values())
        return tuple(error for source in sources for error in source)
