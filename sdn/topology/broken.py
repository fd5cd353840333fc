"""What pydantic refuses is taken out of a file, as little as possible, so that the rest is checked too.

Enters: a Document's data. Leaves: a Topology of what is usable, and `Broken`: what is not there although the file means
it. Never: a second complaint about the same mistake, or a change to the Document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sdn.topology import ranges
from sdn.topology.problems import Problems, closest, keys_at
from sdn.topology.schema import Topology

Details = Sequence[ErrorDetails]
Loc = tuple[str | int, ...]

_PASSES: Final = 4
"""A field that is gone can break what holds between fields, and that the object: beyond it, whole objects go."""

_ESSENTIAL: Final = frozenset(
    {"network", "trunk", "ports", "nics", "physnet", "nat", "routed"}
    | {"vxlan", "nvgre", "geneve", "vlan", "flat", "local"}
)
"""Without one of these a mapping is incomplete, which is no news where it was given and wrong."""

_REMAINS: Final[dict[str, frozenset[str]]] = {
    "networks": frozenset({"segment"}),
    "nodes": frozenset({"network", "trunk", "ports", "chassis"}),
    "guests": frozenset({"network", "trunk", "nics", "chassis"}),
    "tests": frozenset({"from", "to"}),
}
"""What is still looked at of an object whose fields contradict each other."""

_SECTIONS: Final = frozenset(Topology.model_fields) - {"name", "underlay"}
"""Sections that are mappings of names."""
_OF_ITS_PORT: Final = frozenset({"ip", "mac", "allowed_addresses"})


@dataclass
class Broken:
    """What is missing because it was wrong: whole sections, names within them, and fields of what is still there."""

    sections: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)
    fields: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def hides(self, section: str, name: str) -> bool:
        return section in self.sections or name in self.names.get(section, ())

    def lacks(self, section: str, name: str, *fields: str) -> bool:
        """Whether one of `fields` was given for an object, and wrong."""
        return not self.fields.get((section, name), frozenset()).isdisjoint(fields)


def usable(written: dict[str, Any], problems: Problems) -> tuple[Topology, Broken]:
    """What can be used of a file, every mistake of the rest reported. Raises FileError where nothing can."""
    broken, rest, told = Broken(), written, set[Loc]()
    cut: set[Loc] = set()
    for turn in range(_PASSES + 1):
        try:
            return Topology.model_validate(rest), broken
        except ValidationError as error:
            details = error.errors(include_url=False)
        news = [detail for detail in details if not turn or _is_news(detail, told, cut)]
        problems.add_invalid(news)
        told.update(detail["loc"] for detail in details)
        rest = _without(rest, details, broken, cut, coarse=turn >= 2)
    problems.raise_if_any()
    raise AssertionError("a file without problems is usable")


def _is_news(detail: ErrorDetails, told: set[Loc], cut: set[Loc]) -> bool:
    """After a cut, only a contradiction between fields that are still there."""
    loc: Loc = detail["loc"]
    return detail["type"] == "value_error" and loc not in told and loc not in cut and loc[:1] != ("tests",)


def _without(data: dict[str, Any], details: Details, broken: Broken, cut: set[Loc], *, coarse: bool) -> dict[str, Any]:
    rest = dict(data)
    for detail in details:
        loc, kind = detail["loc"], detail["type"]
        section, depth = str(loc[0]), 1 if coarse else _depth(rest, loc, kind)
        if section not in _SECTIONS or len(loc) < 2 or not isinstance(rest.get(section), dict):
            rest.pop(section, None)
            broken.sections.update({section, closest(section, Topology.model_fields) or section})
        elif depth > 1:
            _drop_field(rest, loc, depth, broken, cut)
        elif coarse or kind != "value_error" or not _strip(rest, section, str(loc[1]), broken, cut):
            _pop(rest, loc, 1)
            broken.names.setdefault(section, set()).update(names_of(str(loc[1])))
    rest.setdefault("name", "unnamed")
    if not rest.get("chassis"):
        rest["chassis"] = {"unnamed": None}
        broken.sections.add("chassis")
    return rest


def _depth(data: Any, loc: Loc, kind: str) -> int:
    """Where in `loc` the smallest thing is that can go: a key of a mapping, for items of lists keep their numbers."""
    depth = 0
    for index, part in enumerate(loc[:-1] if kind == "missing" else loc):
        if isinstance(data, dict) and part in data:
            depth, data = index, data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            break
    return depth


def _drop_field(rest: dict[str, Any], loc: Loc, depth: int, broken: Broken, cut: set[Loc]) -> None:
    word = str(loc[depth])
    meant = {word, closest(word, keys_at(loc[:depth])) or word}
    if meant & _ESSENTIAL:
        cut.add(loc[:depth])
    if depth == 2:
        _lacking(broken, str(loc[0]), str(loc[1]), meant)
    _pop(rest, loc, depth)


def _strip(rest: dict[str, Any], section: str, key: str, broken: Broken, cut: set[Loc]) -> bool:
    """Leave of an object only what its references are in; False where nothing more can go."""
    written = rest[section].get(key)
    if not isinstance(written, dict) or section not in _REMAINS or (section, key) in cut:
        return False
    kept = _REMAINS[section] | (_OF_ITS_PORT if "network" in written else frozenset())
    left = {name: value for name, value in written.items() if name in kept}
    left |= {"ping": "ok"} if section == "tests" else {}
    _lacking(broken, section, key, written.keys() - kept)
    rest[section] = {**rest[section], key: left}
    return left != written


def _lacking(broken: Broken, section: str, key: str, fields: Iterable[str]) -> None:
    for name in names_of(key):
        broken.fields.setdefault((section, name), set()).update(fields)


def _pop(rest: dict[str, Any], loc: Loc, depth: int) -> None:
    """Take away what is at `loc[depth]`; what is around it is copied, for the file may mention it elsewhere too."""
    inside: Any = rest
    for part in loc[:depth]:
        if part not in inside if isinstance(inside, dict) else not isinstance(inside, list):
            return
        inside[part] = copy(inside[part])
        inside = inside[part]
    inside.pop(loc[depth], None)


def names_of(key: str) -> list[str]:
    """The names that a key stands for; what is no name or range stands for itself."""
    try:
        return ranges.expand(key)
    except ValueError:
        return [key]
