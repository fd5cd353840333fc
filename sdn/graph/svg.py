"""Draws a Picture as SVG that stands alone: its own style, light or dark as the reader's system is. PURE.

State never rests on colour alone: a filled dot is up, a hollow one with a stroke is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from sdn.graph import layout, lines
from sdn.graph.cards import STATE, Line, shorten, text_width
from sdn.graph.layout import Bar, Box, Card, Picture, Row, Shelf
from sdn.graph.shapes import group, path, pill, rect, state, text
from sdn.graph.state import guest_state, is_up
from sdn.graph.style import LIGHT, PATTERNS, STYLE, SWITCHES
from sdn.model import Chassis, Model, Network
from sdn.model.facts import Facts, FlowFacts, HostFacts

_TITLE: Final = 64
_CHIP: Final = 26
_CHIP_GAP: Final = 8
_KEY: Final = 34


_Chip = tuple[float, float, Network]
"""x, y and what it says."""


def svg(model: Model, facts: Facts | None = None) -> str:
    """The lab as a picture; with `facts` it shows what is up."""
    probe = layout.arrange(model)
    width = max(probe.width, 460.0)
    chips = list(_chips(model, width))
    top = _TITLE + (max((y for _, y, _ in chips), default=-_CHIP_GAP) + _CHIP if chips else 0) + 24
    picture = layout.arrange(model, top)
    if picture.width > width:  # another arrangement won once the title was counted
        width = picture.width
    return "\n".join(_Drawing(model, facts, picture, width, chips).parts()) + "\n"


def _chip_text(network: Network) -> tuple[str, str]:
    subnets = "  ".join(map(str, network.subnets))
    rest = [str(network.segment), f"MTU {network.mtu}", subnets, str(network.forward or "")]
    return network.name, " · ".join(filter(None, rest))


def _chip_width(network: Network) -> float:
    name, rest = _chip_text(network)
    return 38 + text_width(name, 12) * 1.06 + 8 + text_width(rest, 11) + 12


def _chips(model: Model, width: float) -> Iterator[_Chip]:
    """(x, y, network): the legend, filled line by line."""
    x, y = float(layout.MARGIN), 0.0
    for network in model.networks.values():
        wide = _chip_width(network)
        if x > layout.MARGIN and x + wide > width - layout.MARGIN:
            x, y = float(layout.MARGIN), y + _CHIP + _CHIP_GAP
        yield x, y, network
        x += wide + _CHIP_GAP


class _Drawing:
    """One picture on its way to text."""

    def __init__(
        self,
        model: Model,
        facts: Facts | None,
        picture: Picture,
        width: float,
        chips: Sequence[tuple[float, float, Network]],
    ) -> None:
        self.model = model
        self.facts = facts
        self.picture = picture
        self.width = width
        self.height = picture.height + _KEY
        self.chips = chips
        self.number = {name: i for i, name in enumerate(model.networks)}

    def parts(self) -> Iterator[str]:
        size = f'width="{self.width:.0f}" height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        label = quoteattr(f"lab {self.model.lab}")
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={label}>'
        yield f"<style>{STYLE}</style>"
        yield f'<rect class="page" width="{self.width:.0f}" height="{self.height:.0f}" rx="12"/>'
        yield from self.heading()
        for row in self.picture.rows:
            yield from self.row(row)
        yield from self.key()
        yield "</svg>"

    # --- title and legend

    def heading(self) -> Iterator[str]:
        yield text(layout.MARGIN, 36, self.model.lab, "title")
        yield text(layout.MARGIN, 55, self.summary(), "soft")
        for x, y, network in self.chips:
            yield from self.chip(x, _TITLE + y + 4, network)

    def summary(self) -> str:
        counts: tuple[tuple[int, str, str], ...] = ((len(self.model.chassis), "chassis", "chassis"),)
        guests = len(self.model.guests)
        counts += ((len(self.model.nodes) - guests, "node", "nodes"),)
        counts += ((guests, "guest", "guests"),) if guests else ()
        words = [
            f"{n} {one if n == 1 else many}"
            for n, one, many in (*counts, (len(self.model.networks), "network", "networks"))
        ]
        underlay = self.model.underlay
        return " · ".join([*words, f"underlay {underlay.subnet}, MTU {underlay.mtu}"])

    def chip(self, x: float, y: float, network: Network) -> Iterator[str]:
        name, rest = _chip_text(network)
        yield group("network", name, str(network.source))
        yield rect("pill", x, y, _chip_width(network), _CHIP, 13)
        yield path(f"M{x + 12:.1f} {y + 13:.1f}h18", f"rail {self.stroke(network.name)}")
        yield f'<text x="{x + 38:.1f}" y="{y + 17:.1f}"><tspan style="font-weight:600">{escape(name)}</tspan>'
        yield f'<tspan class="small soft" dx="8">{escape(rest)}</tspan></text></g>'

    def key(self) -> Iterator[str]:
        x, y = float(layout.MARGIN), self.height - 20
        for symbol, style, label in self.key_items():
            yield symbol.format(x=x, y=y, x2=x + 26)
            yield text(x + (34 if style == "line" else 16), y + 4, label, "small soft")
            x += (34 if style == "line" else 16) + text_width(label, 11) + 22

    def key_items(self) -> Iterator[tuple[str, str, str]]:
        if not self.model.networks:
            return
        stroke = self.stroke(next(iter(self.model.networks)))
        yield f'<path class="rail {stroke}" d="M{{x}} {{y}}H{{x2}}"/>', "line", "on a chassis' bridge"
        if len(self.model.chassis) > 1:
            yield f'<path class="tunnel {stroke}" d="M{{x}} {{y}}H{{x2}}"/>', "line", "between chassis"
        if self.model.guests:
            yield '<path class="card guest" d="M{x} {y}m-6-6h12v12h-12zm0 4h12"/>', "dot", "guest (QEMU)"
        if self.facts:
            yield '<circle class="up" cx="{x}" cy="{y}" r="4.5"/>', "dot", "up"
            yield (
                '<g transform="translate({x} {y})"><circle class="down" r="4"/><path class="down" d="M-5 5L5-5"/></g>',
                "dot",
                "down",
            )

    # --- a row of chassis

    def row(self, row: Row) -> Iterator[str]:
        for bar in row.bars:
            yield from self.bar(bar, row)
        for name, y in row.rails.items():
            yield from self.between(name, y, row)
        for box in row.boxes:
            yield from self.box(box)

    def bar(self, bar: Bar, row: Row) -> Iterator[str]:
        right = max(box.x + box.width for box in row.boxes)
        yield group("physnet" if bar.physnet else "underlay", bar.physnet)
        yield text(self.picture.left - 6, bar.y + 4, shorten(bar.label, 18), "small soft", "text-anchor:end")
        for piece in lines.along(bar, self.picture.left + 8, right):
            yield path(piece.d, "bar", beyond=" ".join(piece.beyond))
        for x, y, chassis in bar.joins:
            yield path(f"M{x:.1f} {y:.1f}V{bar.y:.1f}", "foot", foot=chassis)
            yield f'<circle class="soft" cx="{x:.1f}" cy="{bar.y:.1f}" r="3"/>'
        yield "</g>"

    def between(self, name: str, y: float, row: Row) -> Iterator[str]:
        """A network's name and its way to the last chassis that has it, behind the boxes; a local one goes nowhere, and
        what leads to it is no cable."""
        style = f"c{self.number[name] % len(LIGHT)}"
        yield group("network", name)
        yield text(
            self.picture.left - 6, y + 4, shorten(name, 18), f"small f{style}", "text-anchor:end;font-weight:600"
        )
        local = self.model.networks[name].segment.kind == "local"
        for piece in lines.between(row, name, self.picture.left):
            yield path(piece.d, "foot" if local else f"tunnel {style}", beyond=" ".join(piece.beyond))
        yield "</g>"

    # --- a chassis

    def box(self, box: Box) -> Iterator[str]:
        yield group("chassis", box.chassis.name)
        yield rect("box", box.x, box.y, box.width, box.height, 12)
        yield f"<g><title>{escape(f'{box.chassis.name} · {box.chassis.source}')}</title>"
        yield text(box.x + layout.PADDING, box.y + 25, shorten(box.chassis.name, 22), "host") + "</g>"
        yield from self.host_state(box)
        yield from self.rails(box)
        for shelf in box.shelves:
            for card in shelf.cards:
                yield from self.drops(shelf, card)
                yield from self.card(card)
        yield from self.feet(box)
        yield "</g>"

    def host_state(self, box: Box) -> Iterator[str]:
        right = box.x + box.width - layout.PADDING
        words, style, well = self.condition(box.chassis)
        yield text(right - (0 if well is None else 12), box.y + 24, words, f"small {style}", "text-anchor:end")
        if well is not None:
            yield state(right - 4, box.y + 20, well)

    def condition(self, chassis: Chassis) -> tuple[str, str, bool | None]:
        """In words, how they are written, and whether all is well (None: nobody knows)."""
        kind = SWITCHES[chassis.datapath]
        if not self.facts or not chassis.ours:
            return kind, "soft", None
        host = self.facts.hosts.get(chassis.name, HostFacts())
        if not chassis.has_tables:
            return kind, "soft", bool(host.revision) and not host.errors
        flows = self.facts.flows.get(chassis.name, FlowFacts())
        if not flows.connected:
            return "does not answer" if flows.silent else "not connected", "warn", False
        return f"{flows.count:,} flows", "soft", not (flows.error or host.errors)

    def rails(self, box: Box) -> Iterator[str]:
        """From where each network enters to what hangs from it, and on to the next chassis."""
        row = next(row for row in self.picture.rows if box in row.boxes)
        for name in box.networks:
            for piece in lines.inside(row, box, name):
                riser = {} if piece.riser is None else {"riser": f"{piece.riser:.1f}"}
                about = {"rail": name, "beyond": " ".join(piece.beyond), **riser}
                yield path(piece.d, f"rail {self.stroke(name)}", **about)
            entry = f"data-entry={quoteattr(name)}"
            yield f'<circle class="f{self.colour(name)}" {entry} cx="{box.x:.1f}" cy="{row.rails[name]:.1f}" r="3.6"/>'

    def feet(self, box: Box) -> Iterator[str]:
        """The vtep on the lower edge, and the uplinks."""
        for foot in box.feet:
            yield pill(foot.x, box.y + box.height - 9, foot.width, foot.label)

    # --- a node

    def drops(self, shelf: Shelf, card: Card) -> Iterator[str]:
        for x, name, port in card.drops:
            line = f"M{x:.1f} {shelf.rails[name]:.1f}V{card.y:.1f}"
            if card.y - shelf.rails[name] > layout.DROP + layout.RAIL / 2:  # over the rails that lie between
                yield path(f"M{x:.1f} {shelf.rails[name] + 6:.1f}V{card.y:.1f}", "halo")
            yield group("port", port, self.port_title(port), network=name) + path(line, f"rail {self.stroke(name)}")
            yield f'<circle class="f{self.colour(name)}" cx="{x:.1f}" cy="{shelf.rails[name]:.1f}" r="4"/></g>'

    def port_title(self, name: str) -> str:
        port = self.model.ports[name]
        parts = [
            f"{name} on {port.network}",
            str(port.macvlan or ""),
            str(port.mac),
            " ".join(map(str, port.addresses)),
        ]
        return " · ".join(filter(None, [*parts, str(port.source)]))

    def card(self, card: Card) -> Iterator[str]:
        is_guest = card.node in self.model.guests
        yield group("guest" if is_guest else "node", card.node)
        yield rect("card guest" if is_guest else "card", card.x, card.y, card.width, card.height, 7)
        if is_guest:
            yield path(f"M{card.x:.1f} {card.y + layout.CARD_HEAD - 1.5:.1f}h{card.width:.1f}", "card guest")
        yield f"<g><title>{escape(self.card_title(card.node))}</title>"
        fits = int(card.width / 8.4)
        yield text(card.x + 11, card.y + 19, shorten(card.node, fits), "name") + "</g>"
        up = is_up(self.model, self.facts, card.node)
        if up is not None:
            yield state(card.x + card.width - 13, card.y + 14, up)
        yield from self.card_lines(card)
        yield "</g>"

    def card_lines(self, card: Card) -> Iterator[str]:
        y = card.y + layout.CARD_HEAD + 11
        for line in card.lines:
            if line.network:
                yield rect(f"f{self.colour(line.network)}", card.x + 11, y - 8, 3.5, 10, 1.5)
            left = 11 if line.note == STATE else 20
            yield text(card.x + left, y, line.text, "mono" if line.network else "mono soft")
            if line.note:
                yield text(card.x + card.width - 9, y, self.note(card.node, line), "tiny soft", "text-anchor:end")
            y += layout.LINE

    def card_title(self, node: str) -> str:
        state = guest_state(self.model, self.facts, node) if node in self.model.guests else ""
        why = self.facts.guests[node].error if self.facts and node in self.facts.guests else ""
        return " · ".join(filter(None, [node, state, why, str(self.model.nodes[node].source)]))

    def note(self, node: str, line: Line) -> str:
        if line.note != STATE:
            return line.note
        return guest_state(self.model, self.facts, node).partition(" ")[0] or "guest"

    def colour(self, network: str) -> str:
        return f"c{self.number[network] % len(LIGHT)}"

    def stroke(self, network: str) -> str:
        pattern = self.number[network] // len(LIGHT) % len(PATTERNS)
        return self.colour(network) + (f" p{pattern}" if pattern else "")
