"""What the steps of a build share: the validated file, its mistakes, and which parts of it were unusable.

Enters: a Document. Leaves: a `Draft`. Never: a second complaint about the same mistake: what a wrong entry defines
counts as known, so that references to it are not called unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Final, Generic, NamedTuple, TypeVar, cast

from sdn.model import Model, Source, Underlay
from sdn.topology import confinement
from sdn.topology.broken import Broken, names_of, usable
from sdn.topology.nodes import Document
from sdn.topology.plain import NOWHERE, Plain
from sdn.topology.problems import Problems
from sdn.topology.schema import Attached, Guest, Topology

T = TypeVar("T")

MAX_OBJECTS: Final = 100_000
"""Of one kind in a file: beyond it something else than a lab was meant."""


class Member(NamedTuple, Generic[T]):
    """One object of a section; `offset` counts within its range, and `key` is what the file calls the range."""

    name: str
    key: str
    offset: int
    spec: T
    source: Source
    section: str = ""

    @property
    def path(self) -> tuple[str, str]:
        """Of its entry in the file."""
        return self.section, self.key


@dataclass
class Draft:
    """`previous` is the model of the running lab; nodes and ports of `kept` are there although they are not built.

    `confined`: whoever wrote it has nothing of this machine but its image pool, and what `previous` names already
    (`confinement`).
    """

    topology: Topology
    problems: Problems
    broken: Broken
    previous: Model | None
    kept: Model
    confined: bool = False

    def known(self, section: str, found: Iterable[str]) -> list[str]:
        """`found` and what the section defines wrongly: the names that a reference may have meant."""
        return [*found, *sorted(self.broken.names.get(section, ()))]

    def members(self, section: str, specs: Mapping[str, T]) -> dict[str, Member[T]]:
        """Every object of a section, ranges expanded; names that are there twice are reported, and the first counts."""
        found: dict[str, Member[T]] = {}
        places: dict[str, str] = {}
        for key in self._keys(section, specs):
            names = names_of(key)
            source = self.problems.document.source((section, key))
            if len(places) + len(names) > MAX_OBJECTS:
                self.problems.at(source, f"there are too many {section}; expected {MAX_OBJECTS} at most")
                break
            twice = next((name for name in names if name in places), None)
            if twice is not None:
                message = f"'{twice}' is defined twice, first in {places[twice]}; expected another name"
                self.problems.at(source, message)
            for offset, name in enumerate(names):
                places.setdefault(name, source.place)
                if key in specs:
                    found.setdefault(name, Member(name, key, offset, specs[key], source, section))
        return found

    @cached_property
    def guests(self) -> dict[str, Member[Guest]]:
        return self.members("guests", self.topology.guests)

    @cached_property
    def nodes(self) -> dict[str, Member[Attached]]:
        """Everything that has ports: nodes, and guests that have no node's name."""
        nodes: dict[str, Member[Attached]] = {**self.members("nodes", self.topology.nodes)}
        for name, guest in self.guests.items():
            twin = nodes.setdefault(name, cast("Member[Attached]", guest))
            if twin.section != "guests":
                message = f"'{name}' is the name of a node too ({twin.source.place}); expected another"
                self.problems.at(guest.source, message)
        return nodes

    @property
    def home(self) -> FilePath:
        """What relative paths begin with."""
        return NOWHERE if self.confined else self.problems.document.home

    def may_open(self, path: FilePath) -> bool:
        """Whether what is at an absolute path without links may be named."""
        return not self.confined or str(path) in self._known_files or confinement.is_in_pool(path)

    @cached_property
    def _known_files(self) -> frozenset[str]:
        return confinement.files(self.previous)

    def _keys(self, section: str, specs: Mapping[str, T]) -> list[str]:
        """As the file has them, with those of what cannot be used: their names are taken all the same."""
        written = self.problems.document.data.get(section)
        return [*written, *(specs.keys() - written.keys())] if isinstance(written, dict) else list(specs)


def validated(
    document: Document | Plain, previous: Model | None, kept: Model | None = None, *, confined: bool = False
) -> Draft:
    """Pydantic's verdict on the whole file; what it refuses is left out, so that the rest can be checked too.

    A section with nothing in it, as when all its lines are commented out, is as good as none.

    Raises FileError where nothing is left to check.
    """
    problems = Problems(document)
    written = {section: value for section, value in document.data.items() if value is not None}
    topology, broken = usable(written, problems)
    nothing = Model(topology.name, Underlay(topology.underlay.subnet, topology.underlay.mtu))
    return Draft(topology, problems, broken, previous, kept or nothing, confined)
