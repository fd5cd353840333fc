"""Where everything goes. Enters: a model. Leaves: a Picture of rectangles and heights in pixels. PURE.

A page is rows of chassis. Through each row run its networks, one horizontal rail each, as the lines of a tube map:
dashed from chassis to chassis, solid on a chassis' own bridge. Nodes are cards that hang from the rails; in a chassis
with several rows of cards the rails of the later rows are fed by risers at its left side. Below a row lie the bars that
carry it: the underlay and the physical networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Final

from sdn.graph.cards import CARD_LEAST, Line, card_lines, card_width, ports_of_nodes, shorten, text_width
from sdn.model import Chassis, Model

PADDING: Final = 14
HEADER: Final = 40
"""Height of a chassis' title."""
RAIL: Final = 17
"""Between two rails."""
DROP: Final = 16
"""From the lowest rail to the cards."""
RISER: Final = 9
CARD_GAP: Final = 12
CARD_HEAD: Final = 26
LINE: Final = 16
CARD_FOOT: Final = 7
CARD_MOST: Final = 236
FOOT: Final = 26
"""Below the cards, for the vtep and uplinks."""
BOX_GAP: Final = 44
BAR: Final = 22
BARS_TOP: Final = 16
ROW_GAP: Final = 30
LEAD: Final = 16
"""From the names of the rails to the first box."""
MARGIN: Final = 28
_WANTED_SHAPE: Final = 1.6


@dataclass(frozen=True, slots=True)
class Card:
    node: str
    x: float
    y: float
    width: float
    height: float
    lines: tuple[Line, ...]
    drops: tuple[tuple[float, str, str], ...]
    """(x, network, port): where its ports hang from their rails."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A row of cards inside a chassis, with the heights of the rails above it."""

    rails: dict[str, float]
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Foot:
    """A label on the lower edge of a chassis: its vtep ('' as `physnet`) or its uplink into a physical network."""

    physnet: str
    label: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Box:
    """A chassis. `risers` are the x of the vertical lines that feed the second and later shelves."""

    chassis: Chassis
    x: float
    y: float
    width: float
    height: float
    networks: tuple[str, ...]
    shelves: tuple[Shelf, ...]
    risers: dict[str, float]
    feet: tuple[Foot, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """What carries a row: the underlay ('' as `physnet`) or a physical network, and the chassis that are on it."""

    physnet: str
    label: str
    y: float
    joins: tuple[tuple[float, float, str], ...]
    """(x, y, chassis): from where each comes down to it."""


@dataclass(frozen=True, slots=True)
class Row:
    rails: dict[str, float]
    boxes: tuple[Box, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    width: float
    height: float
    left: float
    """Where rails begin; their names stand to the left of it."""
    rows: tuple[Row, ...]


class _Plan:
    """What all candidate arrangements of one model share: its cards, measured."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.ports = ports_of_nodes(model)
        self.lines = {node: card_lines(ports, model.guests.get(node)) for node, ports in self.ports.items()}
        widths = (card_width(node, lines) for node, lines in self.lines.items())
        self.card = math.ceil(min(max(widths, default=CARD_LEAST), CARD_MOST))
        self.nodes: dict[str, list[str]] = {name: [] for name in model.chassis}
        for node in model.nodes.values():
            self.nodes[node.chassis].append(node.name)
        self.networks = {name: self._used(nodes) for name, nodes in self.nodes.items()}
        names = [*model.networks, *(["underlay"] if model.chassis else []), *model.physnets]
        self.gutter = max((text_width(shorten(name, 18), 11) for name in names), default=0) + 22
        self.box_size = cache(self._box_size)  # hundreds of arrangements are made of few boxes

    def _used(self, nodes: Sequence[str]) -> tuple[str, ...]:
        used = {port.network for node in nodes for port in self.ports[node]}
        return tuple(name for name in self.model.networks if name in used)

    def shelves(self, chassis: str, columns: int) -> list[tuple[tuple[str, ...], list[str]]]:
        """(networks, nodes) of each row of cards."""
        nodes = iter(self.nodes[chassis])
        cut = iter(lambda: list(islice(nodes, columns)), [])
        return [(self._used(shelf), shelf) for shelf in cut]

    def card_height(self, node: str) -> float:
        return CARD_HEAD + LINE * len(self.lines[node]) + CARD_FOOT

    def _box_size(self, chassis: str, columns: int, rails: int) -> tuple[float, float]:
        """Width and height, where `rails` run above the first shelf."""
        shelves = self.shelves(chassis, columns)
        used = min(columns, max(len(self.nodes[chassis]), 1))
        width = 2 * PADDING + used * self.card + (used - 1) * CARD_GAP + self.riser_room(chassis, columns)
        heights = [max(map(self.card_height, nodes)) for _, nodes in shelves]
        zones = [RAIL * (rails if i == 0 else len(networks)) + DROP for i, (networks, _) in enumerate(shelves)]
        height = HEADER + sum(heights) + sum(zones or [RAIL * rails]) + CARD_GAP * max(len(shelves) - 1, 0) + FOOT
        host = self.model.chassis[chassis]
        feet = 2 * PADDING + sum(foot.width + 12 for foot in _feet(host, 0, 0))
        return max(width, text_width(host.name, 15) + 150, feet), height

    def riser_room(self, chassis: str, columns: int) -> float:
        several = len(self.nodes[chassis]) > columns
        return RISER * len(self.networks[chassis]) + 4 if several else 0.0

    def rows(self, across: int) -> Iterator[tuple[list[str], tuple[str, ...]]]:
        """(chassis, networks) of each row of the page."""
        names = iter(self.model.chassis)
        while row := list(islice(names, across)):
            used = {network for name in row for network in self.networks[name]}
            yield row, tuple(name for name in self.model.networks if name in used)

    def bars(self, row: Sequence[str]) -> list[str]:
        """Names of the physical networks of a row, the underlay first as ''."""
        on = {physnet for name in row for physnet in self.model.chassis[name].physnets}
        return [""] * (len(self.model.chassis) > 1) + [name for name in self.model.physnets if name in on]

    def size(self, columns: int, across: int) -> tuple[float, float]:
        """Of the whole page, without its title."""
        width, height = 0.0, 0.0
        for row, networks in self.rows(across):
            sizes = [self.box_size(name, columns, len(networks)) for name in row]
            width = max(width, sum(size[0] for size in sizes) + BOX_GAP * (len(row) - 1))
            height += max(size[1] for size in sizes) + len(self.bars(row)) * BAR + BARS_TOP + ROW_GAP
        return width + self.gutter + LEAD + 2 * MARGIN, height


def arrange(model: Model, top: float = 0.0) -> Picture:
    """The arrangement whose page comes nearest to the wanted shape; `top` is left free for a title."""
    plan = _Plan(model)
    most = max((len(nodes) for nodes in plan.nodes.values()), default=1)
    candidates = [
        (columns, across)
        for columns in range(1, min(most, 16) + 1)
        for across in range(1, min(len(plan.nodes), 24) + 1)
    ]
    columns, across = min(candidates, key=lambda c: _ugliness(plan, c[0], c[1], top), default=(1, 1))
    return _place(plan, columns, across, top)


def _ugliness(plan: _Plan, columns: int, across: int, top: float) -> float:
    """Far from the wanted shape, or a last row with holes in it."""
    width, height = plan.size(columns, across)
    holes = -len(plan.nodes) % across
    gaps = sum(-len(nodes) % min(columns, len(nodes)) for nodes in plan.nodes.values() if nodes)
    unused = holes / max(len(plan.nodes), 1) + gaps / max(len(plan.model.nodes), 1)
    return abs(math.log(width / (height + top) / _WANTED_SHAPE)) + 1.4 * unused


def _place(plan: _Plan, columns: int, across: int, top: float) -> Picture:
    left = MARGIN + plan.gutter
    width, _ = plan.size(columns, across)
    rows = []
    y = top
    for names, networks in plan.rows(across):
        row = _place_row(plan, names, networks, columns, left, y)
        rows.append(row)
        y = max(box.y + box.height for box in row.boxes) + BARS_TOP + len(row.bars) * BAR + ROW_GAP
    return Picture(width, y, left, tuple(rows))


def _place_row(
    plan: _Plan, names: Sequence[str], networks: tuple[str, ...], columns: int, left: float, y: float
) -> Row:
    sizes = [plan.box_size(name, columns, len(networks)) for name in names]
    height = max(size[1] for size in sizes)
    rails = {name: y + HEADER + RAIL * (i + 0.5) for i, name in enumerate(networks)}
    x = left + LEAD
    boxes = []
    for name, (width, _) in zip(names, sizes, strict=True):
        boxes.append(_place_box(plan, name, columns, rails, (x, y, width, height)))
        x += width + BOX_GAP
    return Row(rails, tuple(boxes), _place_bars(plan, boxes, y + height + BARS_TOP))


def _place_bars(plan: _Plan, boxes: Sequence[Box], y: float) -> tuple[Bar, ...]:
    bars = []
    for i, physnet in enumerate(plan.bars([box.chassis.name for box in boxes])):
        on = [box for box in boxes if not physnet or physnet in box.chassis.physnets]
        joins = tuple(
            (foot.x + 16, box.y + box.height, box.chassis.name)
            for box in on
            for foot in box.feet
            if foot.physnet == physnet
        )
        bars.append(Bar(physnet, physnet or "underlay", y + BAR * (i + 0.5), joins))
    return tuple(bars)


def _feet(chassis: Chassis, x: float, width: float) -> tuple[Foot, ...]:
    """The vtep at the left, uplinks from the right."""
    label = f"vtep {chassis.vtep.ip}"
    feet = [Foot("", label, x + PADDING, text_width(label, 10) + 16)]
    right = x + width - PADDING
    for physnet in reversed(chassis.physnets):
        name = shorten(physnet, 14)
        wide = text_width(name, 10) + 18
        right -= wide
        feet.append(Foot(physnet, name, right, wide))
        right -= 8
    return tuple(feet)


def _place_box(
    plan: _Plan, name: str, columns: int, rails: dict[str, float], frame: tuple[float, float, float, float]
) -> Box:
    x, y, width, height = frame
    networks = plan.networks[name]
    room = plan.riser_room(name, columns)
    risers = {network: x + PADDING + RISER * (i + 0.5) for i, network in enumerate(networks)} if room else {}
    shelves: list[Shelf] = []
    down = y + HEADER
    for i, (used, nodes) in enumerate(plan.shelves(name, columns)):
        above = {n: rails[n] for n in used} if i == 0 else {n: down + RAIL * (j + 0.5) for j, n in enumerate(used)}
        down += RAIL * (len(rails) if i == 0 else len(used)) + DROP
        cards = _place_cards(plan, nodes, x + PADDING + room, down)
        shelves.append(Shelf(above, cards))
        down += max(card.height for card in cards) + CARD_GAP
    chassis = plan.model.chassis[name]
    return Box(chassis, x, y, width, height, networks, tuple(shelves), risers, _feet(chassis, x, width))


def _place_cards(plan: _Plan, nodes: Sequence[str], x: float, y: float) -> tuple[Card, ...]:
    height = max(map(plan.card_height, nodes))
    cards = []
    for i, node in enumerate(nodes):
        left = x + i * (plan.card + CARD_GAP)
        ports = plan.ports[node]
        order = {name: j for j, name in enumerate(plan.model.networks)}
        ordered = sorted(ports, key=lambda port: -order[port.network])
        step = plan.card / (len(ports) + 1)
        drops = tuple((left + step * (j + 1), port.network, port.name) for j, port in enumerate(ordered))
        cards.append(Card(node, left, y, plan.card, height, plan.lines[node], drops))
    return tuple(cards)
