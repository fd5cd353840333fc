"""What was changed in a lab, when, by whom, and how it ended. PURE.

Enters: a row of the store's table Revision. Leaves: a Revision; what it changed is unpacked when somebody looks.
Never: the rows' meaning, which `sdn.store.history` knows.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from zlib import compress, decompress

import orjson

from sdn.differences import Count

Content = Mapping[str, Any]
"""An object's row as JSON has it: lists are arrays, and a reference to another object is {table: name}."""

Change = tuple[Content | None, Content | None]
"""An object before and after; None where there is none."""

Changes = Mapping[str, Mapping[str, Change]]
"""By table and name; the lab itself is ("Lab", "")."""

FASTEST: Final = 1
"""zlib's level: 200 MB/s, and rows are so alike that it makes a tenth of them."""


@dataclass(frozen=True)
class Revision:
    """One transaction that changed the intent. `time` is in seconds since the epoch.

    It is `settled` when every chassis has confirmed it or a newer one: `seconds` later, with `errors` in the lab then;
    `flows_seconds` later every switch had confirmed its flows, if that is known.
    """

    number: int
    time: float
    author: str
    origin: str
    packed: str
    """`changes`, as the store has them."""
    settled: bool = False
    errors: tuple[str, ...] = ()
    seconds: float | None = None
    flows_seconds: float | None = None

    @property
    def changes(self) -> Changes:
        """Unpacked each time: 500 of them would be more than the model."""
        return unpack(self.packed)

    @cached_property
    def counts(self) -> dict[str, Count]:
        """By table; those where nothing changed are left out, and what only moved within its file is no change."""
        counted = {table: Count(*map(len, by_verb(rows).values())) for table, rows in self.changes.items()}
        return {table: count for table, count in counted.items() if any(count)}


def by_verb(changes: Mapping[str, Change]) -> dict[str, tuple[str, ...]]:
    """Names of objects by the fields of Count, in their order; what only moved within its file is not among them."""
    return {
        "added": tuple(name for name, (before, _) in changes.items() if before is None),
        "changed": tuple(
            name
            for name, (before, after) in changes.items()
            if before is not None and after is not None and differs(before, after)
        ),
        "removed": tuple(name for name, (_, after) in changes.items() if after is None),
    }


def differs(before: Content, after: Content) -> bool:
    """Whether more than the place in the file does."""
    return {**before, "source": None} != {**after, "source": None}


def pack(changes: Changes) -> str:
    """Base64 of zlib of JSON; '' for no changes. References are tuples (table, name) of a class of their own."""
    return b64encode(compress(orjson.dumps(changes, default=_reference), FASTEST)).decode() if changes else ""


def _reference(value: tuple[str, str]) -> dict[str, str]:
    table, name = value
    return {table: name}


def unpack(packed: str) -> Changes:
    if not packed:
        return {}
    found = orjson.loads(decompress(b64decode(packed)))
    return {table: {name: (row[0], row[1]) for name, row in rows.items()} for table, rows in found.items()}
