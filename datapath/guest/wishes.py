"""What is wished of guests, out of the HostSpecs of a lab: each with the place where it shall run.

Enters: HostSpecs by chassis. Leaves: Wishes by guest. Never: what is observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
        """What a start depends on: where it was refused, another one is tried at once."""
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
    """Of one guest: two while it moves, none where nobody wants it. `headers`: of all chassis of the lab, whether
    frames carry a virtio header there."""

    by_chassis: Mapping[str, Wish] = field(default_factory=dict)
    headers: Mapping[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_chassis)

    def at(self, chassis: str) -> Wish | None:
        return self.by_chassis.get(chassis)

    @property
    def target(self) -> Wish:
        """Where it shall be in the end."""
        every = list(self.by_chassis.values())
        return next((wish for wish in every if wish.guest.comes_from), every[0])

    @property
    def places(self) -> Iterator[Place]:
        """Everywhere it may run, most likely first."""
        likely = self.target.place
        yield likely
        for chassis, header in self.headers.items():
            if chassis != likely.chassis:
                yield replace(likely, chassis=chassis, namespace=namespace(likely.lab, chassis), vnet_hdr=header)

    @property
    def machine(self) -> Machine:
        return self.target.guest.machine


def home(run_dir: Path, guest: str) -> Path:
    return run_dir / DIRECTORY / guest


def wishes(
    lab: str, run_dir: Path, specs: Mapping[str, HostSpec], vnet_hdr: Callable[[str], bool]
) -> dict[str, Wishes]:
    """By name of the guest."""
    headers = {chassis: vnet_hdr(chassis) for chassis in specs}
    found: dict[str, dict[str, Wish]] = {}
    for chassis, spec in specs.items():
        for guest in spec.guests:
            place = Place(lab, chassis, home(run_dir, guest.name), namespace(lab, chassis), headers[chassis])
            found.setdefault(guest.name, {})[chassis] = Wish(guest, place)
    return {name: Wishes(by_chassis, headers) for name, by_chassis in found.items()}


def _hardware(interface: Interface) -> object:
    return interface.name, interface.mac, interface.mtu
