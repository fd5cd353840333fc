"""The guests of a lab, each with its interfaces as the switches have them plugged.

Enters: Chassis, whose specs say what is wished of guests; their taps, as they are. Leaves: wishes for `guest.guests`,
in which an interface is ready when its switch has it too. Never: an import of what guests need, which is large, in a
lab without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datapath.chassis import GUESTS, Chassis
from datapath.destroy import GUESTS as DIRECTORY
from datapath.events import GuestState
from datapath.linux.host import Host
from datapath.spec import HostSpec, Interface
from datapath.switch import Switch

if TYPE_CHECKING:
    from datapath.guest.guests import Guests
    from datapath.guest.instance import Driver
    from datapath.spec import Driver as DriverName


class PluggedGuests:
    """`on_change` is called with each chassis of whose guests something has changed."""

    def __init__(
        self, run_dir: Path, host: Host, on_event: Callable[[GuestState], None], on_change: Callable[[str], None]
    ) -> None:
        self._run_dir = run_dir
        self._host = host
        self._on_event = on_event
        self._on_change = on_change
        self._guests: Guests | None = None
        self._taps: dict[str, dict[str, int]] = {}
        """Identities of taps by name, by chassis, as the guests were last told."""

    def settle(self, every: Iterable[Chassis], *, anew: bool = False) -> None:
        """What is wished of all chassis. `anew`: what has failed is tried again at once."""
        every = list(every)
        if self._guests is None and not self._are_there(every):
            return
        prepared = {chassis.name: self._as_plugged(chassis) for chassis in every}
        # one way for the whole lab: a guest that was told of offloads cannot go where there are none
        offloads = all(chassis.switch.type != "netdev" for chassis in every)
        self._made().settle(prepared, lambda _: offloads, anew=anew)
        for chassis in every:
            self.note(chassis)

    def follow(self, every: Iterable[Chassis]) -> None:
        """The switch has another port for one: it is told, if there are any."""
        if self._guests is not None:
            self.settle(every)

    def has_other_taps(self, chassis: Chassis) -> bool:
        """Whether a guest's tap was removed, or made anew, since it was told: it is plugged in vain."""
        return self._guests is not None and self._taps_of(chassis.spec) != self._taps.get(chassis.name, {})

    def note(self, chassis: Chassis) -> None:
        """What is wrong with its guests."""
        if self._guests is not None:
            chassis.errors[GUESTS] = self._guests.errors(chassis.name)

    def settled(self, chassis: str) -> bool:
        """Whether every guest of the chassis is as wished, or has said why it cannot be."""
        return self._guests is None or self._guests.settled(chassis)

    def knows(self, guest: str) -> bool:
        """Whether it has been looked for: an earlier agent may have left it running."""
        return self._guests is not None and self._guests.knows(guest)

    def holds(self, chassis: Chassis, interface: Interface) -> bool:
        """Whether a guest runs with the interface plugged, and its tap is there."""
        attached = self._guests is not None and self._guests.attached(interface.node, interface.name)
        return attached and interface.bridge_port in self._taps.get(chassis.name, {})

    def close(self) -> None:
        """Lets go; the guests go on."""
        if self._guests is not None:
            self._guests.close()

    def _are_there(self, every: Iterable[Chassis]) -> bool:
        """Or were, under an earlier agent."""
        return any(chassis.spec.guests for chassis in every) or (self._run_dir / DIRECTORY).exists()

    def _made(self) -> Guests:
        if self._guests is None:
            from datapath.guest.guests import Guests

            self._guests = Guests(self._host.lab, self._run_dir, _driver, self._on_event, self._on_change)
        return self._guests

    def _as_plugged(self, chassis: Chassis) -> HostSpec:
        """An interface is ready for its guest when the switch has it too."""
        taps = self._taps[chassis.name] = self._taps_of(chassis.spec)
        guests = []
        for guest in chassis.spec.guests:
            found = [_as_plugged(each, chassis.switch, taps) for each in guest.interfaces]
            guests.append(replace(guest, interfaces=tuple(found)))
        return replace(chassis.spec, guests=tuple(guests)) if guests else chassis.spec

    def _taps_of(self, spec: HostSpec) -> dict[str, int]:
        home = self._host.namespaces.get(spec.namespace)
        names = (interface.bridge_port for guest in spec.guests for interface in guest.interfaces)
        return {name: identity for name in names if home and (identity := home.identity(name))}


def _driver(name: DriverName) -> Driver:
    """Each is imported where a guest wants it."""
    if name == "libvirt":
        from datapath.guest.libvirt.driver import LibvirtDriver

        return LibvirtDriver()
    from datapath.guest.qemu.machine import QemuDriver

    return QemuDriver()


def _as_plugged(interface: Interface, switch: Switch, taps: Mapping[str, int]) -> Interface:
    ready = interface.ready and interface.bridge_port in taps and _is_plugged(switch, interface)
    return replace(interface, ready=ready, tap=taps.get(interface.bridge_port, 0))


def _is_plugged(switch: Switch, interface: Interface) -> bool:
    """Where a guest arrives, the flows have been made for the number that was asked for."""
    plugged = switch.plugged(interface)
    return plugged.there and (not interface.idle or plugged.ofport in (None, interface.ofport))
