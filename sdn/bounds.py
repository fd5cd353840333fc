"""What the store, the API and those who ask it have to agree on. PURE. It imports nothing: commands start fast."""

from __future__ import annotations

from typing import Final, Literal

REVISIONS_KEPT: Final = 500
"""Older ones are forgotten."""

Wait = Literal["stored", "applied", "whole"]
"""When a write is answered: stored, confirmed by the switches (applied), or by the hosts too (whole)."""
LONGEST_WAIT: Final = 300.0
"""Seconds."""

YES_OR_NO: Final = frozenset({"up", "connected"})
"""Fields by which lists are narrowed down that are true or false."""
