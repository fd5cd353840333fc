"""What the steps of a build share: the validated file, its mistakes, and which parts of it were unusable.

Enters: a Document. Leaves: a `Draft`. Never: a second complaint about the same mistake: what a wrong entry defines
counts as known, so that references to it are not called unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from sdn.model import Model, Source
from sdn.topology import ranges
from sdn.topology.nodes import Document
from sdn.topology.problems import SECTIONS, Problems, closest
from sdn.topology.schema import Topology

T = TypeVar("T")

MAX_OBJECTS: Final = 100_000
"""Of one kind in a file: beyond it something else than a lab was meant."""


@dataclass
class Broken:
    """What pydantic refused: whole sections, and names within sections."""

    sections: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)

    def hides(self, section: str, name: str) -> bool:
        return section in self.sections or name in self.names.get(section, ())

    def drop(self, data: dict[str, Any], loc: tuple[str | int, ...]) -> None:
        """Take what is at `loc` out of `data` and remember it."""
        section, content = str(loc[0]), data.get(str(loc[0]))
        if section in SECTIONS and len(loc) > 1 and isinstance(content, dict):
            content.pop(loc[1], None)
            self.names.setdefault(section, set()).update(_names(str(loc[1])))
            return
        data.pop(section, None)
        self.sections.update({section, closest(section, Topology.model_fields) or section})


def _names(key: str) -> list[str]:
    try:
        return ranges.expand(key)
    except ValueError:
        return [key]


class Member(NamedTuple, Generic[T]):
    """One object of a section; `offset` counts within its range, and `key` is what the file calls the range."""

    name: str
    key: str
    offset: int
    spec: T
    source: Source


@dataclass
class Draft:
    """`previous` is the model of the running lab."""

    topology: Topology
    problems: Problems
    broken: Broken
    previous: Model | None

    def known(self, section: str, found: Iterable[str]) -> list[str]:
        """`found` and what the section defines wrongly: the names that a reference may have meant."""
        return [*found, *sorted(self.broken.names.get(section, ()))]

    def members(self, section: str, specs: Mapping[str, T]) -> dict[str, Member[T]]:
        """Every object of a section, ranges expanded; names that are there twice are reported, and the first counts."""
        found: dict[str, Member[T]] = {}
        for key, spec in specs.items():
            names = ranges.expand(key)
            source = self.problems.document.source((section, key))
            if len(found) + len(names) > MAX_OBJECTS:
                self.problems.at(source, f"there are too many {section}; expected {MAX_OBJECTS} at most")
                break
            twice = [name for name in names if name in found]
            if twice:
                line = found[twice[0]].source.line
                self.problems.at(source, f"'{twice[0]}' is defined twice, first in line {line}; expected another name")
            for offset, name in enumerate(names):
                found.setdefault(name, Member(name, key, offset, spec, source))
        return found


def validated(document: Document, previous: Model | None) -> Draft:
    """Pydantic's verdict on the whole file; what it refuses is left out, so that the rest can be checked too.

    A section with nothing in it, as when all its lines are commented out, is as good as none.

    Raises FileError where nothing is left to check.
    """
    problems = Problems(document)
    written = {section: value for section, value in document.data.items() if value is not None}
    try:
        return Draft(Topology.model_validate(written), problems, Broken(), previous)
    except ValidationError as error:
        problems.add_invalid(error)
        broken = Broken()
        data = _without(written, error, broken)
    try:
        return Draft(Topology.model_validate(data), problems, broken, previous)
    except ValidationError:
        problems.raise_if_any()
        raise


def _without(data: dict[str, Any], error: ValidationError, broken: Broken) -> dict[str, Any]:
    rest = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        broken.drop(rest, detail["loc"])
    rest.setdefault("name", "unnamed")
    if not rest.get("chassis"):
        rest["chassis"] = {"unnamed": None}
        broken.sections.add("chassis")
    return rest
