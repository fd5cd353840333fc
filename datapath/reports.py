"""What is told of ports and chassis, which is where the facts of the store begin.

Enters: a Chassis, or one interface of it, of which something may have changed. Leaves: PortState and ChassisState
events. Never: the same told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Iterable

from datapath.chassis import LATE, Chassis
from datapath.events import ChassisState, PortState
from datapath.linux.host import Host
from datapath.lookout import GATHER
from datapath.plugged import PluggedGuests
from datapath.spec import Interface, namespace


class Reports:
    """`notes` says what one should know of a chassis beside what its switch and its devices say."""

    def __init__(
        self,
        host: Host,
        guests: PluggedGuests,
        notes: Callable[[str], tuple[str, ...]],
        tell: Callable[[ChassisState | PortState], None],
    ) -> None:
        self._host = host
        self._guests = guests
        self._notes = notes
        self._tell = tell
        self._chassis: dict[str, ChassisState] = {}
        self._ports: dict[tuple[str, str], PortState] = {}
        """By node and interface."""
        self._held: dict[Chassis, asyncio.TimerHandle] = {}
        """Until they are reported."""

    def introduce(self, chassis: Chassis) -> None:
        """Before its switch connects: what it cannot do is not asked of it. A former one of this name is none of ours
        any more."""
        self._drop([each for each in self._held if each.name == chassis.name])
        self._chassis.pop(chassis.name, None)
        self._tell(ChassisState(chassis.name, chassis.switch.type, (), chassis.switch.notes))

    def keep(self, chassis: Collection[Chassis], nodes: Container[str]) -> None:
        """Others are none of ours any more, and new ones if they come back."""
        self._drop([each for each in self._held if each not in chassis])
        names = {each.name for each in chassis}
        self._chassis = {name: told for name, told in self._chassis.items() if name in names}
        self._ports = {key: told for key, told in self._ports.items() if key[0] in nodes}

    def report(self, chassis: Chassis) -> None:
        """Whatever of it has changed since it was last told."""
        for interface in chassis.interfaces.values():
            self.report_port(chassis, interface)
        notes = (
            *((LATE,) if chassis.late else ()),
            *self._notes(chassis.name),
            *chassis.switch.notes,
            *(note for of_place in chassis.notes.values() for note in of_place),
        )
        settled = self._guests.settled(chassis.name) and not chassis.late
        state = ChassisState(chassis.name, chassis.switch.type, chassis.troubles, notes, settled, chassis.broken)
        if self._chassis.get(chassis.name) != state:
            self._chassis[chassis.name] = state
            self._tell(state)

    def report_later(self, chassis: Chassis, hold: Callable[[str], float]) -> None:
        """When nobody has been at it for a moment that had to wait; `hold` says for how many seconds it has to now."""
        if chassis not in self._held:
            left = hold(chassis.name) + GATHER
            self._held[chassis] = asyncio.get_running_loop().call_later(left, self._report_held, chassis, hold)

    def _report_held(self, chassis: Chassis, hold: Callable[[str], float]) -> None:
        del self._held[chassis]
        if hold(chassis.name):
            self.report_later(chassis, hold)
        else:
            self.report(chassis)

    def _drop(self, held: Iterable[Chassis]) -> None:
        for chassis in held:
            self._held.pop(chassis).cancel()

    def close(self) -> None:
        self._drop(list(self._held))

    def report_port(self, chassis: Chassis, interface: Interface) -> None:
        if interface.idle:
            return  # where its guest is, it is told of
        if chassis.is_guests(interface) and not self._guests.knows(interface.node):
            return  # what was told of it before holds until then
        plugged = chassis.switch.plugged(interface)
        up = self._is_up(chassis, interface) and (plugged.there or chassis.kind == "ovs")
        state = PortState(interface.node, interface.name, plugged.ofport, up)
        if self._ports.get((interface.node, interface.name)) != state:
            self._ports[interface.node, interface.name] = state
            self._tell(state)

    def _is_up(self, chassis: Chassis, interface: Interface) -> bool:
        if chassis.is_guests(interface):
            return self._guests.holds(chassis, interface)
        home = self._host.namespaces.get(namespace(self._host.lab, interface.node))
        device = home.devices.by_name.get(interface.name) if home else None
        return device is not None and device.up
