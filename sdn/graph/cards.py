"""What the cards of a picture say, and how wide that is. PURE.

Enters: the ports of a node, and its machine if it is a guest. Leaves: Lines, widths in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datapath.addr import IPAddress
from datapath.words import size
from sdn.model import Guest, Model, Port

CARD_LEAST: Final = 104
_LINES_MOST: Final = 5
STATE: Final = "starting"
"""Stands where the state of a guest does: one of the longest."""
_MONO: Final = 6.7
"""Width of a character of the fixed-width 11 px face."""


def text_width(text: str, size: float = 12.0) -> float:
    """About how wide a proportional face sets it; rather too wide, since faces differ."""
    narrow = sum(1 for c in text if c in "ijlft.,:;|!' ()[]")
    wide = sum(1 for c in text if c in "mwMW@%")
    return size * (0.6 * (len(text) - narrow - wide) + 0.36 * narrow + 0.9 * wide)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a card: an address or what stands for it, of a port on `network`; without one, what a guest is or how
    much more there would be."""

    network: str
    text: str
    note: str


def ports_of_nodes(model: Model) -> dict[str, list[Port]]:
    found: dict[str, list[Port]] = {name: [] for name in model.nodes}
    for port in model.ports.values():
        found[port.node].append(port)
    return found


def card_lines(ports: Sequence[Port], guest: Guest | None = None) -> tuple[Line, ...]:
    """What a card says: what a guest is, and each address once, at most _LINES_MOST lines of them."""
    return (*([Line("", hardware(guest), STATE)] if guest else []), *_address_lines(ports))


def hardware(guest: Guest) -> str:
    cpus = guest.machine.cpus
    return f"{size(guest.machine.memory)} · {cpus} cpu{'s' * (cpus > 1)}"


def _address_lines(ports: Sequence[Port]) -> list[Line]:
    trunk = any(port.tag is not None for port in ports)
    lines = []
    for port in ports:
        note = "" if not trunk else "native" if port.tag is None else f"tag {port.tag}"
        texts = [address_text(ip) for ip in port.ips] or [str(port.mac)]
        lines += [Line(port.network, text, note if i == 0 else "") for i, text in enumerate(texts)]
    if len(lines) > _LINES_MOST:
        more = len(lines) - _LINES_MOST + 1
        lines = [*lines[: _LINES_MOST - 1], Line("", f"and {more} more", "")]
    return lines


def address_text(address: IPAddress) -> str:
    """An address; of a long IPv6 one the interface identifier (RFC 4291 section 2.5.1): the legend has the subnet."""
    text = str(address)
    return text if len(text) <= 22 else "…:" + ":".join(text.split(":")[-4:])


def shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def card_width(name: str, lines: Sequence[Line]) -> float:
    longest = max(
        (len(line.text) * _MONO + (text_width(line.note, 10) + 10 if line.note else 0) for line in lines), default=0
    )
    return max(CARD_LEAST, longest + 34, text_width(name, 13) + 40)
