"""Where guests run: on a chassis that has room for them, and none that they must not meet.

Enters: the chassis that each guest may get, with what it has for all of them. Leaves: the chassis of each. Never: a
chassis that has more than it can; a guest that runs moved by another one's coming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from datapath.words import size
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
            return f"{name} has {size(own.memory - self.memory)} of its {size(own.memory)} memory left"
        if own.cpus and self.cpus + guest.cpus > own.cpus:
            return f"{name} has {own.cpus - self.cpus} of its {own.cpus} cpus left"
        twin = next((label for label in guest.anti_affinity if label in self.labels), None)
        return f"{name} has '{self.labels[twin]}', which is of anti-affinity '{twin}' too" if twin else ""

    def take(self, name: str, guest: Guest) -> None:
        self.memory += guest.bytes
        self.cpus += guest.cpus
        self.labels.update(dict.fromkeys(guest.anti_affinity, name))


Choices = Mapping[str, Placement | None]
Order = Callable[[str], object]


def place_guests(draft: Draft, choices: Choices, chassis: Mapping[str, Chassis]) -> dict[str, str]:
    """The chassis of each guest; '' where it has none, which is a mistake then.

    Those that must be somewhere come first, then those that run, which stay, and then the others in the file's order;
    or, where somebody finds no room that way, those first that have least choice and want most.
    """

    def turn(name: str) -> int:
        return _turn(draft, name, choices[name])

    def demanding(name: str) -> tuple[int, ...]:
        spec = draft.guests[name].spec
        return turn(name), len(choices[name] or ()), -len(spec.anti_affinity), -spec.bytes, -spec.cpus

    found, refused = _attempt(draft, choices, chassis, turn)
    if refused:
        again, still_refused = _attempt(draft, choices, chassis, demanding)
        if not still_refused:
            return again
    for name, obstacles in refused.items():
        _report(draft, draft.guests[name], obstacles)
    return found


def _attempt(
    draft: Draft, choices: Choices, chassis: Mapping[str, Chassis], order: Order
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The chassis by guest, and what is in the way of those that have no room."""
    rooms = {name: Room(host) for name, host in chassis.items()}
    found: dict[str, str] = {}
    refused: dict[str, list[str]] = {}
    for name in sorted(choices, key=order):  # type: ignore[arg-type]
        member, choice = draft.guests[name], choices[name]
        candidates = (
            [] if choice is None else [choice] if isinstance(choice, str) else _preferred(draft, member, choice)
        )
        free = next((each for each in candidates if not rooms[each].obstacle(member.spec)), None)
        if free is not None:
            rooms[free].take(name, member.spec)
        elif candidates:
            refused[name] = [rooms[each].obstacle(member.spec) for each in candidates]
        found[name] = free or next(iter(candidates), "")
    return found, refused


def _report(draft: Draft, member: Member[Guest], obstacles: Iterable[str]) -> None:
    """Of a range the first one that has no room."""
    wanted = f"{size(member.spec.bytes)} memory and {member.spec.cpus} cpu{'s' * (member.spec.cpus > 1)}"
    message = f"there is no room for '{member.name}' ({wanted}): {'; '.join(_some(obstacles))}"
    draft.problems.add_once(member.path, f"{message}; expected less, or more chassis")


def _turn(draft: Draft, name: str, choice: Placement | None) -> int:
    if isinstance(choice, str):
        return 0
    return 1 if _running_on(draft, name) in (choice or ()) else 2


def _running_on(draft: Draft, name: str) -> str:
    running = draft.previous.nodes.get(name) if draft.previous else None
    return running.chassis if running else ""


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
