"""Pictures of a lab. Enters: a model, and facts where it runs. Leaves: SVG, DOT or mermaid text. PURE.

The SVG is laid out here (`layout`) and drawn (`svg`); DOT and mermaid are for tools that lay out themselves (`text`).
"""

from __future__ import annotations

from sdn.graph.svg import svg
from sdn.graph.text import dot, mermaid

FORMATS = {"svg": svg, "dot": dot, "mermaid": mermaid}

__all__ = ["FORMATS", "dot", "mermaid", "svg"]
