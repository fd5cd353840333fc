"""What is wished of guests, out of the HostSpecs of a lab: each with the place where it shall run.

Enters: HostSpecs by chassis. Leaves: Wishes by guest. Never: what is observed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.guest.instance import Place
from datapath.spec import Guest, HostSpec, Interface, Machine, namespace

DIRECTORY: Final = "guests"
"""Of the lab's run directory: one directory for each guest."""

ARRIVING: Final = ".arriving"
"""Suffix of the directory of a guest that moves, on the chassis where it goes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A guest at a place."""

    guest: Guest
    place: Place

    @property
    def hardware(self) -> object:
        """What a start depends on: one that was refused is not tried again before this changes."""
        return self.place.chassis, self.guest.machine, tuple(_hardware(each) for each in self.guest.interfaces)

    @property
    def ready(self) -> tuple[Interface, ...]:
        return tuple(interface for interface in self.guest.interfaces if interface.ready)

    @property
    def is_ready(self) -> bool:
        """Whether all that it sends and gets has its flows."""
        return all(interface.ready for interface in self.guest.interfaces)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of one guest, by chassis: two while it moves. Of nobody wanted none. `chassis` are all of the lab."""

    by_chassis: tuple[tuple[str, Wish], ...] = ()
    chassis: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.by_chassis)

    @property
    def places(self) -> frozenset[str]:
        return frozenset(chassis for chassis, _ in self.by_chassis)

    def at(self, chassis: str) -> Wish | None:
        return dict(self.by_chassis).get(chassis)

    @property
    def target(self) -> Wish:
        """Where it shall be in the end."""
        every = [wish for _, wish in self.by_chassis]
        return next((wish for wish in every if wish.guest.comes_from), every[0])

    @property
    def machine(self) -> Machine:
        return self.target.guest.machine


def home(run_dir: Path, guest: str) -> Path:
    return run_dir / DIRECTORY / guest


def wishes(
    lab: str, run_dir: Path, specs: Mapping[str, HostSpec], vnet_hdr: Callable[[str], bool]
) -> dict[str, Wishes]:
    """By name of the guest."""
    found: dict[str, dict[str, Wish]] = {}
    for chassis, spec in specs.items():
        for guest in spec.guests:
            place = Place(lab, chassis, home(run_dir, guest.name), namespace(lab, chassis), vnet_hdr(chassis))
            found.setdefault(guest.name, {})[chassis] = Wish(guest, place)
    return {name: Wishes(tuple(by.items()), frozenset(specs)) for name, by in found.items()}


def _hardware(interface: Interface) -> object:
    return interface.name, interface.mac, interface.mtu
