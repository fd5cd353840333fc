"""What differs in the words of the topology file, as values: what both sides of HTTP know of it. PURE.

Enters: entries of the file. Leaves: Differences, Counts. Never: the models behind them, which `sdn.api.differences`
compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Entry = Mapping[str, Any]


class Count(NamedTuple):
    """Of the objects of one kind."""

    added: int = 0
    changed: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One value in an entry: `ports.eth0.ip`. None on the side where there is none."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry of the file before and after; None on the side where there is none. `fields` are those of a change."""

    kind: str
    name: str
    change: Literal["added", "changed", "removed"]
    before: Entry | None
    after: Entry | None
    fields: tuple[Field, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Difference:
        fields = tuple(Field(**each) for each in raw["fields"])
        return cls(raw["kind"], raw["name"], raw["change"], raw["before"], raw["after"], fields)

    def as_plain(self) -> dict[str, Any]:
        return asdict(self)


def by_name(value: Any) -> Mapping[str, Any] | None:
    """What can be looked into: a mapping, a list of what has names. None for what is one value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        return {each["name"]: {key: part for key, part in each.items() if key != "name"} for each in value}
    return None
