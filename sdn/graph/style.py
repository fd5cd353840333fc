"""Colours and faces of the SVG, for light and dark systems. PURE.

Colours are Okabe and Ito's, told apart with every kind of colour vision; beyond seven networks dashes help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sdn.model import DatapathKind

LIGHT: Final = ("#0072b2", "#d55e00", "#009e73", "#b5559a", "#2b9fd9", "#c98a00", "#5b5b5b")
DARK: Final = ("#4aa8e0", "#ff8a3d", "#2cc79b", "#e08cc4", "#8fd3ff", "#f2b632", "#b8b8b8")
PATTERNS: Final = ("", "10 3", "3 3")
"""Dashes of the first, second and third seven networks."""

SWITCHES: Final[dict[DatapathKind, str]] = {
    "ovs": "Open vSwitch",
    "linux": "Linux bridge",
    "vswitch": "vswitch",
    "external": "external",
}
"""What forwards on a chassis, in words."""

_LIGHT_STYLE: Final = """
text { font-family: Inter, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", Arial, sans-serif }
text { font-size: 12px; fill: #24292f }
.mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 11px }
.title { font-size: 22px; font-weight: 700 }
.name { font-size: 13px; font-weight: 600 }
.host { font-size: 15px; font-weight: 700 }
.small { font-size: 11px }
.tiny { font-size: 10px }
.soft { fill: #59636e }
.page { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #d1d9e0; stroke-width: 1.2 }
.card { fill: #ffffff; stroke: #c8d1da; stroke-width: 1 }
.guest { stroke: #59636e; stroke-width: 1.8 }
.pill { fill: #ffffff; stroke: #d1d9e0; stroke-width: 1 }
.bar { stroke: #d8dee4; stroke-width: 8; stroke-linecap: round; fill: none }
.foot { stroke: #b8c1ca; stroke-width: 2; fill: none }
.halo { stroke: #f6f8fa; stroke-width: 7; fill: none }
.rail { stroke-width: 2.6; fill: none; stroke-linecap: round }
.tunnel { stroke-width: 2.6; fill: none; stroke-dasharray: 2 5; stroke-linecap: round }
.down { stroke: #cf222e; stroke-width: 1.6; fill: none }
.up { fill: #1a7f37 }
.warn { fill: #cf222e }
"""
_DARK_STYLE: Final = """
text { fill: #e6edf3 }
.soft { fill: #9198a1 }
.page { fill: #0d1117 }
.box { fill: #151b23; stroke: #3d444d }
.card { fill: #212830; stroke: #454d57 }
.guest { stroke: #9198a1 }
.pill { fill: #212830; stroke: #454d57 }
.bar { stroke: #30363d }
.foot { stroke: #59636e }
.halo { stroke: #151b23 }
.down { stroke: #ff7b72 }
.up { fill: #3fb950 }
.warn { fill: #ff7b72 }
"""


def _colours(colours: Sequence[str]) -> str:
    rules = [f".c{i} {{ stroke: {c} }} .fc{i} {{ fill: {c} }}" for i, c in enumerate(colours)]
    dashes = [f".p{i} {{ stroke-dasharray: {dash}; stroke-linecap: butt }}" for i, dash in enumerate(PATTERNS) if dash]
    return "\n".join([*rules, *dashes, ""])


STYLE: Final = (
    f"""{_LIGHT_STYLE}{_colours(LIGHT)}@media (prefers-color-scheme: dark) {{{_DARK_STYLE}{_colours(DARK)}}}"""
)


def themed(light: str, dark: str) -> str:
    """The same for pictures within a page, which chooses itself: rules below the selectors `light` (always) and `dark`,
    nested as CSS Nesting Module Level 1 has it."""
    return f"{light} {{{_LIGHT_STYLE}{_colours(LIGHT)}}}\n{dark} {{{_DARK_STYLE}{_colours(DARK)}}}\n"
