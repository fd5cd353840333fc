"""Steps on rows as OVSDB operations (RFC 7047 section 5.2). PURE.

Enters: the steps of a plan and the UUIDs of present rows. Leaves: the operations of one transaction, in an order that
does not matter: constraints are checked when it commits. Never: a socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from datapath.plan import Step
from sdn.store.objects import Ref, Row, Value
from sdn.store.rows import LAB, Key

Operation = dict[str, Any]


class _References(dict[Key, list[str]]):
    """Rows as OVSDB refers to them. Those that are present are put into words when asked for: few of thousands are."""

    def __init__(self, uuids: Mapping[Key, UUID]) -> None:
        super().__init__()
        self._uuids = uuids

    def __missing__(self, key: Key) -> list[str]:
        return ["uuid", str(self._uuids[key])]


def operations(steps: Iterable[Step[Key, Row]], uuids: Mapping[Key, UUID], revision: int) -> list[Operation]:
    """`revision` is that of the replica `uuids` come from; the transaction fails softly if the store has left it.

    The new revision is one more.
    """
    steps = list(steps)
    references = _References(uuids)
    added = (step.key for step in steps if step.verb == "add")
    references.update((key, ["named-uuid", f"row{number}"]) for number, key in enumerate(added))
    found = [guard(revision, LAB in uuids)]
    found += [_operation(step, references) for step in steps]
    found.append({"op": "update", "table": "Lab", "where": [], "row": {"revision": revision + 1}})
    return found


def guard(revision: int, exists: bool) -> Operation:
    """Fails with "timed out", upon which ovsdbapp tries again, unless the store is at `revision` or has no Lab yet."""
    rows = [{"revision": revision}] if exists else []
    return {
        "op": "wait",
        "table": "Lab",
        "timeout": 0,
        "where": [],
        "columns": ["revision"],
        "until": "==",
        "rows": rows,
    }


def _operation(step: Step[Key, Row], references: Mapping[Key, list[str]]) -> Operation:
    table, name = step.key
    if step.desired is None:
        return {"op": "delete", "table": table, "where": _where(references[step.key])}
    if step.observed is None:
        row = step.desired | {"name": name} if name else step.desired
        return {"op": "insert", "table": table, "uuid-name": references[step.key][1], "row": to_json(row, references)}
    changed = {column: value for column, value in step.desired.items() if step.observed[column] != value}
    return update(table, references[step.key], to_json(changed, references))


def insert(table: str, row: Mapping[str, Value]) -> Operation:
    """Of a row that nothing refers to."""
    return {"op": "insert", "table": table, "row": to_json(row, {})}


def delete_where(table: str, *conditions: list[Any]) -> Operation:
    return {"op": "delete", "table": table, "where": [*conditions]}


def settling(
    table: str, number: int, errors: tuple[str, ...], flows: Iterable[tuple[int, float]], now: float
) -> list[Operation]:
    """The rows up to `number` that are not settled become so, each after its own time: see `history.revision_row`.

    `flows` says when the flows of the rows up to which were confirmed, the earliest first; of all others it is unknown.
    """
    where = [["number", "<=", number], ["settled", "==", False]]
    found = [_timing(table, where, "milliseconds", now)]
    behind: list[list[Any]] = []
    for upto, when in flows:
        found.append(_timing(table, [*behind, ["number", "<=", upto], *where], "flows_milliseconds", when))
        behind = [["number", ">", upto]]
    unknown, ended = to_json({"flows_milliseconds": None}, {}), to_json({"settled": True, "errors": errors}, {})
    found.append({"op": "update", "table": table, "where": [*behind, *where], "row": unknown})
    return [*found, {"op": "update", "table": table, "where": where, "row": ended}]


def _timing(table: str, where: list[list[Any]], column: str, when: float) -> Operation:
    return {"op": "mutate", "table": table, "where": where, "mutations": [[column, "+=", round(when * 1000)]]}


def update(table: str, reference: list[str], row: Mapping[str, Any]) -> Operation:
    return {"op": "update", "table": table, "where": _where(reference), "row": row}


def _where(reference: list[str]) -> list[list[Any]]:
    return [["_uuid", "==", reference]]


def to_json(row: Mapping[str, Value], references: Mapping[Key, list[str]]) -> dict[str, Any]:
    """A row as OVSDB has it. Raises KeyError for a reference to a row that is neither present nor added."""
    return {column: _json(value, references) for column, value in row.items()}


def _json(value: Value, references: Mapping[Key, list[str]]) -> Any:
    if isinstance(value, Ref):
        return references[value]
    if isinstance(value, tuple):
        return ["map", [[position, _json(item, references)] for position, item in enumerate(value)]]
    return ["set", []] if value is None else value
