"""Lines as pieces between two taps, each with what lies beyond it: who shows traffic can tell what crosses it. PURE.

Enters: a placed Row. Leaves: Pieces, from a line's beginning at the left to its end; those of a line leave no gap.
Never: a piece with the same things beyond it as the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sdn.graph.layout import Bar, Box, Row, Shelf

Tap = tuple[float, tuple[str, ...]]
"""Where along a line, and what hangs there."""


class Piece(NamedTuple):
    """`beyond` are the ports and chassis that a packet on its way rightwards (or down a riser) can still reach."""

    d: str
    beyond: tuple[str, ...]
    riser: float | None = None


def _pieces(start: float, taps: Iterable[Tap]) -> Iterator[tuple[float, float, tuple[str, ...]]]:
    """(from, to, beyond)"""
    along = sorted(taps)
    for i, (at, _) in enumerate(along):
        if at > start:
            yield start, at, tuple(name for _, names in along[i:] for name in names)
        start = max(start, at)


def _level(y: float, start: float, taps: Iterable[Tap]) -> Iterator[Piece]:
    for left, right, beyond in _pieces(start, taps):
        yield Piece(f"M{left:.1f} {y:.1f}H{right:.1f}", beyond)


def between(row: Row, network: str, left: float) -> Iterator[Piece]:
    """From chassis to chassis that have the network; the first leads from the left, where rows of the page meet."""
    boxes = [box for box in row.boxes if network in box.networks]
    y, start = row.rails[network], left
    for i, box in enumerate(boxes):
        yield Piece(f"M{start:.1f} {y:.1f}H{box.x:.1f}", tuple(each.chassis.name for each in boxes[i:]))
        start = box.x + box.width


def inside(row: Row, box: Box, network: str) -> Iterator[Piece]:
    """On a chassis' bridge: to the ports, and on to the chassis further right."""
    after = row.boxes[row.boxes.index(box) + 1 :]
    onward = tuple(other.chassis.name for other in after if network in other.networks)
    lower = [(shelf.rails[network], shelf) for shelf in box.shelves[1:] if network in shelf.rails]
    taps = list(_drops(box.shelves[0], network))
    if onward:
        taps.append((box.x + box.width, onward))
    if lower:
        x, fed = box.risers[network], [(y, _ports(shelf, network)) for y, shelf in lower]
        taps.append((x, tuple(port for _, ports in fed for port in ports)))
        for top, bottom, beyond in _pieces(row.rails[network], fed):
            yield Piece(f"M{x:.1f} {top:.1f}V{bottom:.1f}", beyond, x)
        for y, shelf in lower:
            yield from _level(y, x, _drops(shelf, network))
    yield from _level(row.rails[network], box.x, taps)


def _drops(shelf: Shelf, network: str) -> Iterator[Tap]:
    for card in shelf.cards:
        yield from ((x, (port,)) for x, name, port in card.drops if name == network)


def _ports(shelf: Shelf, network: str) -> tuple[str, ...]:
    return tuple(port for _, ports in _drops(shelf, network) for port in ports)


def along(bar: Bar, left: float, right: float) -> Iterator[Piece]:
    """The last one leads to nobody."""
    yield from _level(bar.y, left, [*((x, (chassis,)) for x, _, chassis in bar.joins), (right, ())])
