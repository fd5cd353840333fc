"""Model and Facts as rows of the store, and back. PURE.

Enters: a Model, or rows as the replica has them. Leaves: rows by (table, name), or a Model. Never: a UUID, a socket.

A reference is an `objects.Ref`; the store turns it into a UUID. OVSDB's sets have no order, so an ordered list is a map
from position to value. Facts live in columns of their own in the rows of Chassis and Port; `to_rows` knows nothing of
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from sdn.model import Model, Source
from sdn.model.facts import Drift, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.natural import natural
from sdn.store.objects import ENCODE, Row, Value, decode, lab_row, underlay

Key = tuple[str, str]
Rows = dict[Key, Row]

LAB: Final = ("Lab", "")
"""The key of the one row of table Lab."""

ATTRIBUTE: Final = {
    "Physnet": "physnets",
    "Chassis": "chassis",
    "Network": "networks",
    "Node": "nodes",
    "Guest": "guests",
    "Port": "ports",
    "Test": "tests",
}
"""Which mapping of a Model holds the rows of a table. A row refers only to rows of tables above its own."""

FLOW_FACTS: Final = ("connected", "flows_revision", "flow_count", "flow_error", "flow_note", "silent")
HOST_FACTS: Final = ("host_revision", "datapath_type", "host_errors", "host_notes")
PORT_FACTS: Final = ("up", "actual_ofport")
DRIFT: Final = "Drift"
"""A table of its own; all of it is facts."""
GUEST_FACTS: Final = tuple(field.name for field in fields(GuestFacts))


def to_rows(model: Model) -> Rows:
    """Every intent column, except the revision: only the writer counts that."""
    return rows_that_differ(model, None)[0]


def rows_that_differ(new: Model, old: Model | None) -> tuple[Rows, Rows]:
    """The rows of both but for those of objects that are the same in both: what a diff needs."""
    rows: tuple[Rows, Rows] = {LAB: lab_row(new)}, {LAB: lab_row(old)} if old else {}
    for table, attribute in ATTRIBUTE.items():
        encode = ENCODE[table]
        values, known = getattr(new, attribute), getattr(old, attribute) if old else {}
        for name, value in values.items():
            before = known.get(name)
            if before is not value and before != value:
                rows[0][table, name] = encode(value)
                if before is not None:
                    rows[1][table, name] = encode(before)
        rows[1].update(((table, name), encode(value)) for name, value in known.items() if name not in values)
    return rows


def from_rows(rows: Mapping[Key, Row], revision: int = 0) -> Model:
    """The Model whose rows these are, its mappings in the order of the file. Raises KeyError without the row of Lab."""
    values: dict[str, dict[str, Any]] = {table: {} for table in ATTRIBUTE}
    for table, found in values.items():
        for (kind, name), row in rows.items():
            if kind == table:
                found[name] = decode(table, name, row, values["Node"])
    mappings = {ATTRIBUTE[table]: in_file_order(found) for table, found in values.items()}
    return Model(cast(str, rows[LAB]["name"]), underlay(rows[LAB]), **mappings, revision=revision)


V = TypeVar("V")


def in_file_order(values: dict[str, V]) -> dict[str, V]:
    """By place in the file; the members of a range, which share theirs, by name with numbers counted as numbers."""
    return dict(sorted(values.items(), key=place))


def place(item: tuple[str, Any]) -> tuple[str, int, int, tuple[str | int, ...]]:
    """What the order in the file is by, of a name and its value."""
    source: Source = item[1].source
    return source.file, source.line, source.column, _natural(item[0])


_natural: Final = lru_cache(1 << 16)(natural)


def flow_facts_row(facts: FlowFacts) -> Row:
    found = (facts.connected, facts.revision, facts.count, facts.error, facts.note, facts.silent)
    return dict(zip(FLOW_FACTS, found, strict=True))


def flow_facts(row: Mapping[str, Value]) -> FlowFacts:
    return FlowFacts(*(cast(Any, row[column]) for column in FLOW_FACTS))


def host_facts_row(facts: HostFacts) -> Row:
    return dict(zip(HOST_FACTS, (facts.revision, facts.datapath_type, facts.errors, facts.notes), strict=True))


def host_facts(row: Mapping[str, Value]) -> HostFacts:
    return HostFacts(*(cast(Any, row[column]) for column in HOST_FACTS))


def port_facts_row(facts: PortFacts) -> Row:
    return {"up": facts.up, "actual_ofport": facts.ofport}


def port_facts(row: Mapping[str, Value]) -> PortFacts:
    return PortFacts(bool(row["up"]), cast("int | None", row["actual_ofport"]))


def guest_facts_row(facts: GuestFacts) -> Row:
    return {column: getattr(facts, column) for column in GUEST_FACTS}


def guest_facts(row: Mapping[str, Value]) -> GuestFacts:
    """Of a guest that nobody has looked at yet the phase is ''."""
    found = {column: cast(Any, row[column]) for column in GUEST_FACTS}
    return GuestFacts(**found | {"phase": found["phase"] or "off"})


def drift_row(drift: Drift) -> Row:
    return {
        "chassis": drift.chassis,
        "what": drift.what,
        "how": drift.how,
        "found": microseconds(drift.found),
        "repaired": microseconds(drift.repaired),
        "error": drift.error,
        "times": drift.times,
        "repairs": drift.repairs,
        "took": tuple(map(microseconds, drift.took)),
    }


def drift(row: Mapping[str, Value]) -> Drift:
    chassis, what, how, error = (cast(Any, row[column]) for column in ("chassis", "what", "how", "error"))
    times = max(1, cast(int, row["times"]))  # 0: told before it was counted
    took = tuple(map(seconds, cast("tuple[int, ...]", row["took"])))
    repairs = cast(int, row["repairs"])
    return Drift(chassis, what, how, seconds(row["found"]), seconds(row["repaired"]), error, times, repairs, took)


def microseconds(time: float) -> int:
    return round(time * 1_000_000)


def seconds(microseconds: Value) -> float:
    return cast(int, microseconds) / 1_000_000
