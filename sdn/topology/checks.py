"""The file's tests, and what this version cannot do yet.

Enters: a Draft and the nodes. Leaves: tests of the model, patterns resolved to names.
Never: a test that tests nothing, or a section that is accepted and then ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import filter as matching
from typing import Final, Literal

from sdn.model import Expect, Test
from sdn.topology import ranges, schema
from sdn.topology.draft import Draft
from sdn.topology.hosts import NOT_YET
from sdn.topology.nodes import Path

_EXPECT: Final[dict[str, Expect]] = {"allowed": "ok", "ok": "ok", "denied": "fail", "fail": "fail"}
_RANGE: Final = re.compile(r"\[[0-9]+-[0-9]+\]")
_WILDCARDS: Final = frozenset("*?[")

SECTIONS_NOT_YET: Final = ("routers", "security_groups")


def unrealised(draft: Draft) -> None:
    """Report the sections that have a place in the schema only."""
    written = draft.problems.document.data
    for section in SECTIONS_NOT_YET:
        if written.get(section):
            draft.problems.add((section,), f"'{section}' {NOT_YET}; expected no such section", key=True)


def tests(draft: Draft, nodes: Iterable[str]) -> dict[str, Test]:
    """The tests by name, with the nodes that their patterns stand for, in the file's order."""
    names = dict.fromkeys(nodes)
    return {name: _test(draft, name, spec, names) for name, spec in draft.topology.tests.items()}


def _test(draft: Draft, name: str, spec: schema.Test, nodes: Mapping[str, None]) -> Test:
    probe, port = _probe(spec)
    sources = _selected(draft, ("tests", name, "from"), spec.from_, nodes)
    targets = _selected(draft, ("tests", name, "to"), spec.to, nodes)
    if len(sources) == 1 and sources == targets and not _may_grow(draft):
        message = f"'from' and 'to' are both only '{sources[0]}'; expected two nodes at least, none is asked for itself"
        draft.problems.add(("tests", name), message)
    return Test(
        name=name,
        sources=sources,
        targets=targets,
        probe=probe,
        port=port,
        expect=_EXPECT[spec.ping or spec.expect or "ok"],
        within=spec.within,
        source=draft.problems.document.source(("tests", name)),
    )


def _may_grow(draft: Draft) -> bool:
    """Whether nodes are missing that the file means."""
    return bool(draft.problems.found)


def _probe(spec: schema.Test) -> tuple[Literal["ping", "tcp", "udp"], int]:
    if spec.tcp is not None:
        return "tcp", spec.tcp
    return ("udp", spec.udp) if spec.udp is not None else ("ping", 0)


def _selected(draft: Draft, path: Path, patterns: list[str], nodes: Mapping[str, None]) -> tuple[str, ...]:
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        found.update(_matches(draft, (*path, index), pattern, nodes))
    return tuple(name for name in nodes if name in found)


def _matches(draft: Draft, path: Path, pattern: str, nodes: Mapping[str, None]) -> list[str]:
    if _RANGE.search(pattern):
        return _range(draft, path, pattern, nodes)
    if not _WILDCARDS & set(pattern):
        return _known(draft, path, [pattern], nodes)
    found = matching(nodes, pattern)
    if not found and not _may_match_broken(draft, pattern):
        draft.problems.unknown(path, "nodes", pattern, draft.known("nodes", nodes))
    return found


def _range(draft: Draft, path: Path, pattern: str, nodes: Mapping[str, None]) -> list[str]:
    try:
        names = ranges.expand(pattern)
    except ValueError as error:
        draft.problems.add(path, str(error))
        return []
    if _WILDCARDS & set(names[0]):
        draft.problems.add(path, f"'{pattern}' is a range and a pattern; expected one of them, or a list of both")
        return []
    return _known(draft, path, names, nodes)


def _known(draft: Draft, path: Path, names: list[str], nodes: Mapping[str, None]) -> list[str]:
    for name in names:
        if name not in nodes and not _hidden(draft, name):
            draft.problems.unknown(path, "node", name, draft.known("nodes", nodes))
            break
    return [name for name in names if name in nodes]


def _hidden(draft: Draft, name: str) -> bool:
    return draft.broken.hides("nodes", name) or draft.broken.hides("guests", name)


def _may_match_broken(draft: Draft, pattern: str) -> bool:
    if draft.broken.sections & {"nodes", "guests"}:
        return True
    hidden = [*draft.broken.names.get("nodes", ()), *draft.broken.names.get("guests", ())]
    return bool(matching(hidden, pattern))
