"""Revisions: what a step on rows becomes in the history, and a Model of the past made from it. PURE.

Enters: steps on rows; a Model and the revisions since another one. Leaves: a row of table Revision; that other Model.
Never: a guess: of what is no longer known it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from datapath.errors import FileError
from datapath.plan import Step
from sdn.bounds import REVISIONS_KEPT
from sdn.model import Model
from sdn.model.history import Change, Revision, pack
from sdn.store.folding import with_rows
from sdn.store.objects import Atom, Ref, Row, Value
from sdn.store.rows import Key, microseconds, seconds

REVISION: Final = "Revision"


def revision_row(number: int, time: float, author: str, origin: str, steps: Iterable[Step[Key, Row]]) -> Row:
    """One that nobody has confirmed yet.

    As long as it is not settled `milliseconds` is minus the time at which it was written: whoever settles it adds the
    present, without knowing when that was; `flows_milliseconds` likewise.
    """
    changes: dict[str, dict[str, Change]] = {}
    for step in steps:
        table, name = step.key
        changes.setdefault(table, {})[name] = (step.observed, step.desired)
    return {
        "number": number,
        "time": microseconds(time),
        "author": author,
        "origin": origin,
        "changes": pack(changes),
        "milliseconds": -round(time * 1000),
        "flows_milliseconds": -round(time * 1000),
    }


def revision(row: Mapping[str, Any]) -> Revision:
    flows = row["flows_milliseconds"]
    return Revision(
        number=row["number"],
        time=seconds(row["time"]),
        author=row["author"],
        origin=row["origin"],
        packed=row["changes"],
        settled=row["settled"],
        errors=row["errors"],
        seconds=row["milliseconds"] / 1000 if row["settled"] else None,
        flows_seconds=flows / 1000 if row["settled"] and flows is not None else None,
    )


def with_revisions(revisions: Mapping[int, Revision], rows: Mapping[Key, Row | None]) -> Mapping[int, Revision]:
    """`revisions` with those of these rows, without those that are gone; the very same if it is about none."""
    told = {int(name): row for (table, name), row in rows.items() if table == REVISION}
    if not told:
        return revisions
    known = {**revisions, **{number: revision(row) for number, row in told.items() if row is not None}}
    return {number: known[number] for number in sorted(known) if told.get(number, known) is not None}


def model_at(model: Model, revisions: Mapping[int, Revision], number: int) -> Model:
    """The Model that was in the store at revision `number`: `model` without what was changed since, newest first.

    `revisions` may know newer ones than `model`'s. Raises FileError if there was no such revision, or if what it takes
    is no longer known.
    """
    if not 1 <= number <= model.revision:
        raise FileError(
            f"there is no revision {number} of lab {model.lab}; the newest one is {model.revision}",
            remedy=f"see: sdn history {model.lab}",
        )
    since = range(model.revision, number, -1)
    if any(newer not in revisions for newer in since):
        raise FileError(
            f"revision {number} of lab {model.lab} is forgotten: only the newest {REVISIONS_KEPT} are kept",
            remedy=f"choose one of: sdn history {model.lab}",
        )
    before: dict[Key, Row | None] = {}
    for newer in since:
        before.update(_undone(revisions[newer]))
    return with_rows(model, before, number)


def _undone(revision: Revision) -> dict[Key, Row | None]:
    """What it changed, as it was before."""
    return {
        (table, name): None if before is None else {column: _value(value) for column, value in before.items()}
        for table, changes in revision.changes.items()
        for name, (before, _) in changes.items()
    }


def _value(value: Any) -> Value:
    return tuple(map(_atom, value)) if isinstance(value, list) else _atom(value)


def _atom(value: Any) -> Atom:
    return Ref(*next(iter(value.items()))) if isinstance(value, dict) else value
