"""What of this machine a lab may have by the word of somebody who is not on it.

Enters: a Model, and the one before it. Leaves: problems with what the former takes of the machine and the latter does
not. Never: a look at the machine, but for where its pool is.

| in the file | what it would take | who may say so |
|---|---|---|
| `physnets.*.interface`, `addresses: move` | a network interface, and the machine's addresses on it | root here |
| `guests.*.devices` | PCI devices | root here |
| `guests.*.image`, `kernel`, `cloud` by path | files | root here; anybody those of the image pool |
| `guests.*.image` by name, `volumes` | images and volumes of the pool | anybody: for that they are in it |

What the lab has already stays, and may be asked for by anybody who may change the lab. All other fields name what is
in the lab alone: kernel command lines and user-data are words for guests, an `agent` elsewhere is not realised.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from datapath.errors import FileError, Problem
from datapath.pool import images
from datapath.spec import Machine
from sdn.model import Model, Physnet, Source

LOCALLY: Final = "on this machine, as root"


def interfaces(model: Model | None) -> frozenset[str]:
    """Of the machine, that the lab has."""
    return frozenset(each.interface for each in _physnets(model) if each.interface)


def moves(model: Model | None) -> frozenset[str]:
    """Those whose addresses move."""
    return frozenset(each.interface for each in _physnets(model) if each.moves_addresses)


def devices(model: Model | None) -> frozenset[str]:
    return frozenset(device for machine in _machines(model) for device in machine.devices)


def files(model: Model | None) -> frozenset[str]:
    return frozenset(file for machine in _machines(model) for file in _files(machine))


def is_in_pool(path: Path) -> bool:
    """An absolute path without links."""
    return path.is_relative_to(images().resolve())


def why_interface(interface: str) -> str:
    return f"interface {interface} is the machine's own; expected none, or that it is given to the lab {LOCALLY}"


def why_moves(interface: str) -> str:
    return f"the machine has its addresses on {interface}; expected that they are moved {LOCALLY}"


def why_device(device: str) -> str:
    return f"device {device} is the machine's own; expected none, or that it is given to the lab {LOCALLY}"


def check(model: Model, before: Model | None) -> None:
    """Of a model that comes from no file: a past one. Raises FileError with every problem."""
    problems = [*_problems_of_physnets(model, before), *_problems_of_guests(model, before)]
    if problems:
        raise FileError("this takes what is the machine's", problems=problems, remedy=f"do it {LOCALLY}")


def _problems_of_physnets(model: Model, before: Model | None) -> Iterable[Problem]:
    known, moved = interfaces(before), moves(before)
    for physnet in model.physnets.values():
        if physnet.interface and physnet.interface not in known:
            yield _problem(physnet.source, f"physnet '{physnet.name}': {why_interface(physnet.interface)}")
        elif physnet.moves_addresses and physnet.interface not in moved:
            yield _problem(physnet.source, f"physnet '{physnet.name}': {why_moves(physnet.interface)}")


def _problems_of_guests(model: Model, before: Model | None) -> Iterable[Problem]:
    known, named = devices(before), files(before)
    for guest in model.guests.values():
        for device in guest.machine.devices:
            if device not in known:
                yield _problem(guest.source, f"guest '{guest.name}': {why_device(device)}")
        for file in _files(guest.machine):
            if file not in named and not is_in_pool(Path(file)):
                yield _problem(guest.source, f"guest '{guest.name}': {file} is not in the pool")


def _problem(source: Source, message: str) -> Problem:
    return Problem(source.file, source.line, source.column, message)


def _physnets(model: Model | None) -> Iterable[Physnet]:
    return model.physnets.values() if model else ()


def _machines(model: Model | None) -> list[Machine]:
    return [guest.machine for guest in model.guests.values()] if model else []


def _files(machine: Machine) -> list[str]:
    kernel = machine.kernel
    return list(filter(None, (machine.image, *((kernel.image, kernel.initrd) if kernel else ()))))
