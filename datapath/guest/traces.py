"""Where something of a guest may be that somebody else has started: an earlier agent, when something else was wished.

Enters: what is wished, and the guest's directory. Leaves: pairs of a driver and a place, to ask or to clear. Never: a
driver imported that nobody uses here: libvirt leaves a directory of its own in that of each chassis that it served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from datapath.guest.instance import Place
from datapath.guest.wishes import Wishes
from datapath.spec import Driver, namespace

Trace = tuple[Driver, Place]

LIBVIRT: Final = "libvirt"


def libvirt_homes(run_dir: Path) -> Iterator[Path]:
    return run_dir.glob(f"*/{LIBVIRT}")


def traces(wishes: Wishes) -> Iterator[Trace]:
    """Where it may run, most likely first."""
    target = wishes.target.place
    yield wishes.machine.driver, target
    if not target.directory.exists():
        return
    for place in wishes.places:
        yield wishes.machine.driver, place
    if wishes.machine.driver == "qemu":
        yield from _of_libvirt(target)
    else:
        yield "qemu", target


def remains(nowhere: Place, known: Wishes) -> Iterator[Trace]:
    """What has to be cleared when nobody wants it any more. `nowhere` is its place without a chassis."""
    wished = (wish for wish in known.by_chassis.values() if wish.guest.machine.driver == "libvirt")
    places = {wish.place.chassis: wish.place for wish in wished}
    places |= {place.chassis: place for _, place in _of_libvirt(nowhere)}
    for place in places.values():
        yield "libvirt", place
    yield "qemu", nowhere


def _of_libvirt(place: Place) -> Iterator[Trace]:
    for home in libvirt_homes(place.directory.parent.parent):
        chassis = home.parent.name
        yield "libvirt", replace(place, chassis=chassis, namespace=namespace(place.lab, chassis))
