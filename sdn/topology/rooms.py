"""Where guests run: on a chassis that has room for them, and none that they must not meet.

Enters: the chassis that each guest may get, with what it has for all of them. Leaves: the chassis of each. Never: a
chassis that has more than it can; a guest that runs moved by another one's coming.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sdn.model import Chassis
from sdn.topology.allot import placed
from sdn.topology.draft import Draft, Member
from sdn.topology.places import Placement
from sdn.topology.schema import Guest


@dataclass
class Room:
    """What a chassis has given away."""

    chassis: Chassis
    memory: int = 0
    cpus: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    """Words of anti-affinity, with the guest that has it."""

    def obstacle(self, guest: Guest) -> str:
        """Why it cannot be here; '' where it can."""
        own, name = self.chassis, self.chassis.name
        if own.memory and self.memory + guest.bytes > own.memory:
            return f"{name} has {_size(own.memory - self.memory)} of its {_size(own.memory)} memory left"
        if own.cpus and self.cpus + guest.cpus > own.cpus:
            return f"{name} has {own.cpus - self.cpus} of its {own.cpus} cpus left"
        twin = next((label for label in guest.anti_affinity if label in self.labels), None)
        return f"{name} has '{self.labels[twin]}', which is of anti-affinity '{twin}' too" if twin else ""

    def take(self, name: str, guest: Guest) -> None:
        self.memory += guest.bytes
        self.cpus += guest.cpus
        self.labels.update(dict.fromkeys(guest.anti_affinity, name))


def place_guests(
    draft: Draft, choices: Mapping[str, Placement | None], chassis: Mapping[str, Chassis]
) -> dict[str, str]:
    """The chassis of each guest; '' where it has none, which is a mistake then.

    Those that must be somewhere come first, then those that run, which stay, and then the others in the file's order.
    """
    rooms = {name: Room(host) for name, host in chassis.items()}
    found: dict[str, str] = {}
    for name in sorted(choices, key=lambda name: _turn(draft, name, choices[name])):
        found[name] = _place(draft, draft.guests[name], choices[name], rooms)
    return found


def _turn(draft: Draft, name: str, choice: Placement | None) -> int:
    if isinstance(choice, str):
        return 0
    return 1 if _running_on(draft, name) in (choice or ()) else 2


def _running_on(draft: Draft, name: str) -> str:
    running = draft.previous.nodes.get(name) if draft.previous else None
    return running.chassis if running else ""


def _place(draft: Draft, member: Member[Guest], choice: Placement | None, rooms: Mapping[str, Room]) -> str:
    if choice is None:
        return ""
    candidates = [choice] if isinstance(choice, str) else _preferred(draft, member, choice)
    obstacles: list[str] = []
    for name in candidates:
        obstacle = rooms[name].obstacle(member.spec)
        if not obstacle:
            rooms[name].take(member.name, member.spec)
            return name
        obstacles.append(obstacle)
    wanted = f"{_size(member.spec.bytes)} memory and {member.spec.cpus} cpu{'s' * (member.spec.cpus > 1)}"
    why = "; ".join(_some(obstacles))
    message = f"there is no room for '{member.name}' ({wanted}): {why}; expected less, or more chassis"
    draft.problems.at(member.source, message)
    return candidates[0]


def _preferred(draft: Draft, member: Member[Guest], choice: tuple[str, ...]) -> list[str]:
    """Where it runs, and then: packed, as the file has them; spread, from the one that its number says."""
    first = 0 if member.spec.place == "pack" else placed(member.name, len(choice))
    turned = [*choice[first:], *choice[:first]]
    running = _running_on(draft, member.name)
    return sorted(turned, key=lambda name: name != running)


def _some(obstacles: Iterable[str]) -> list[str]:
    """Each once, and not too many."""
    every = list(dict.fromkeys(obstacles))
    return [*every[:3], *(["…"] if len(every) > 3 else [])]


def _size(octets: int) -> str:
    gib, rest = divmod(octets, 1 << 30)
    return f"{gib}G" if not rest else f"{octets >> 20}M"
