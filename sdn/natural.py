"""The order of names as people count: web2 comes before web10. PURE."""

from __future__ import annotations

import re
from typing import Final

_NUMBERS: Final = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[str | int, ...]:
    """What names are sorted by: text and numbers alternate, beginning with text."""
    return tuple(int(part) if index % 2 else part for index, part in enumerate(_NUMBERS.split(name)))
