"""The shapes that an SVG is made of, as text. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_DOWN: Final = '<circle class="down" r="4"/><path class="down" d="M-5 5L5-5"/>'


def rect(style: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"'
    return f'<rect class="{style}" {place}/>'


def path(d: str, style: str, **about: str) -> str:
    return f'<path class="{style}" d="{d}"{_data(about)}/>'


def group(kind: str, name: str, title: str = "", **about: str) -> str:
    """Opens the group of what is drawn for one object: who shows the picture (the page) finds it by `data-kind` and
    `data-name`."""
    told = f"<title>{escape(title)}</title>" if title else ""
    return f"<g{_data({'kind': kind, 'name': name} | about)}>{told}"


def _data(about: Mapping[str, str]) -> str:
    return "".join(f" data-{key}={quoteattr(value)}" for key, value in about.items())


def text(x: float, y: float, text: str, style: str = "", more: str = "") -> str:
    attributes = (f' class="{style}"' if style else "") + (f' style="{more}"' if more else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'


def pill(x: float, y: float, wide: float, label: str) -> str:
    box = f'<rect class="pill" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="18" rx="9"/>'
    return box + text(x + wide / 2, y + 12.5, label, "tiny soft", "text-anchor:middle")


def state(x: float, y: float, up: bool) -> str:
    if up:
        return f'<circle class="up" data-state="up" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    return f'<g data-state="down" transform="translate({x:.1f} {y:.1f})">{_DOWN}</g>'
