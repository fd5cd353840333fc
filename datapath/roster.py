"""The chassis of one lab, and whose each of its namespaces is.

Enters: HostSpecs, as they are wished. Leaves: a Chassis for each; for a namespace, the chassis and node that it belongs
to. Never: a chassis removed before its successor's name is free: daemons, database and namespace go with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Mapping

from datapath.chassis import Chassis
from datapath.linux.host import Host, Namespace
from datapath.lookout import Sight
from datapath.spec import HostSpec, Node, SwitchKind
from datapath.switches import Switches


class Roster:
    """Iterates over all Chassis that there are now."""

    def __init__(self, host: Host, switches: Switches) -> None:
        self._host = host
        self._switches = switches
        self._chassis: dict[str, Chassis] = {}
        self._owners: dict[str, tuple[Chassis, Node]] = {}
        """Of nodes' namespaces, by name."""

    def __iter__(self) -> Iterator[Chassis]:
        return iter(list(self._chassis.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._chassis

    def __getitem__(self, name: str) -> Chassis:
        return self._chassis[name]

    def get(self, name: str) -> Chassis | None:
        return self._chassis.get(name)

    def wish(self, spec: HostSpec) -> Chassis:
        """The chassis of this spec, from now on with it; a new one has a switch that is not started."""
        found = self._chassis.get(spec.chassis)
        if found is None:
            found = self._chassis[spec.chassis] = Chassis(spec, self._switches.make(spec.chassis, spec.switch))
        elif found.spec is spec:
            return found
        found.wish(spec)
        self._owners |= {node.namespace: (found, node) for node in spec.nodes}
        return found

    async def remove_unwanted(self, specs: Mapping[str, HostSpec]) -> None:
        """Also those that an earlier agent has left. Where a chassis gets another kind of switch, everything of it is
        made anew: its namespace goes too."""
        self._host.ensure(())
        kinds = self._switches.left(specs) | {name: chassis.kind for name, chassis in self._chassis.items()}
        gone = [name for name, kind in kinds.items() if name not in specs or specs[name].switch != kind]
        await asyncio.gather(*(self._remove(name, kinds[name]) for name in gone))
        anew = {specs[name].namespace for name in gone if name in specs}
        self._host.remove(anew & self._host.namespaces.keys())

    async def _remove(self, name: str, kind: SwitchKind) -> None:
        chassis = self._chassis.pop(name, None)
        await (chassis.switch if chassis else self._switches.make(name, kind)).remove()

    def keep(self, namespaces: Container[str]) -> None:
        """Nodes' namespaces other than these belong to nobody any more."""
        self._owners = {name: owner for name, owner in self._owners.items() if name in namespaces}

    # Whose a namespace is

    def owner(self, place: Namespace) -> tuple[Chassis, Node] | None:
        """Of a node's namespace."""
        return self._owners.get(place.name)

    def at(self, place: Namespace) -> Chassis | None:
        """Of a chassis' own namespace."""
        return next((each for each in self._chassis.values() if each.spec.namespace == place.name), None)

    def sight(self, place: Namespace) -> Sight:
        if owner := self.owner(place):
            chassis, node = owner
            return Sight(f"node {node.name}", (chassis.spec,), chassis.switch.type, node)
        if chassis_of_it := self.at(place):
            return Sight(f"chassis {chassis_of_it.name}", (chassis_of_it.spec,), chassis_of_it.switch.type)
        return Sight("the lab", tuple(chassis.spec for chassis in self))

    def stir(self, place: Namespace) -> None:
        """What is in a namespace of a chassis, or of one of its nodes, is no longer known to be right."""
        owner = self.owner(place)
        chassis = owner[0] if owner else self.at(place)
        for each in [chassis] if chassis else self:  # in the lab's own all have an end
            each.stir()

    def close(self) -> None:
        """Lets go; the chassis go on as they are."""
        for chassis in self:
            chassis.switch.close()
        self._switches.close()
