"""Plain values that were never a file: what `nodes.Document` is for YAML, for the sections that a client sends.

Enters: sections of the file as plain values. Leaves: the same, with a JSON pointer (RFC 6901) behind every path in them
instead of a line. Never: YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

from datapath.errors import Problem
from sdn.model import Source
from sdn.topology.nodes import Path

NOWHERE: Final = FilePath("/nonexistent")
"""What relative paths begin with: a client's files are not this machine's."""


@dataclass
class Plain:
    """`data` is what was sent; `file` is what problems of the whole call it."""

    data: dict[str, Any]
    file: str = "the change"
    home: FilePath = NOWHERE
    problems: list[Problem] = field(default_factory=list)
    _columns: dict[tuple[str | int, ...], int] = field(default_factory=dict)

    def is_scalar(self, path: Path) -> bool:
        return not isinstance(_value(self.data, path), dict | list)

    def source(self, path: Path, *, key: bool = True) -> Source:
        """The pointer, in the place of a file; columns count the places as they are asked for."""
        del key  # a pointer does not tell them apart
        known = self._known(path)
        return Source(pointer(known), 0, self._columns.setdefault(known, len(self._columns)))

    def _known(self, path: Path) -> tuple[str | int, ...]:
        """Without the parts that are not in the data (a tag of pydantic's); a missing key is told where it misses."""
        found: list[str | int] = []
        inside: Any = self.data
        for part in path:
            if isinstance(inside, dict) and str(part) in inside:
                inside = inside[str(part)]
            elif isinstance(inside, list) and isinstance(part, int) and part < len(inside):
                inside = inside[part]
            else:
                continue
            found.append(part)
        return tuple(found)


def _value(data: Any, path: Path) -> Any:
    for part in path:
        if isinstance(data, dict):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return data


def pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
