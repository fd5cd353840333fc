"""A row of the IDL as a `Row`. PURE but for the IDL's types.

Enters: an `ovs.db.idl.Row`. Leaves: its columns, references by name. Never: a UUID.

It reads the IDL's own data: `row.column` copies every set and map on the way, which takes three times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from sdn.store.objects import Atom, Ref, Row, Value

_DEFAULT: Final[dict[str, Atom]] = {"string": "", "integer": 0, "boolean": False}

Reader = Callable[[Any, Any], Value]
"""Of a datum (None where the default was not sent) in an IDL."""


def read_row(row: Any) -> Row:
    """Every registered column except the name."""
    data, idl = row._data, row._idl
    return {column: read(dict.get(data, column), idl) for column, read in _readers(row._table)}


def name_of(row: Any) -> str:
    return cast(str, next(iter(row._data["name"].values)).value)


def number_of(row: Any) -> str:
    """Of a row that has a number instead of a name."""
    return str(next(iter(row._data["number"].values)).value)


def _readers(table: Any) -> tuple[tuple[str, Reader], ...]:
    """Made once for each table of an IDL."""
    found: tuple[tuple[str, Reader], ...] | None = table.__dict__.get("_sdn_readers")
    if found is None:
        columns = table.columns.values()
        named = table.name != "Lab"
        found = tuple((column.name, _reader(column.type)) for column in columns if column.name != "name" or not named)
        table._sdn_readers = found
    return found


def _reader(type_: Any) -> Reader:
    if type_.is_map():
        atom = _atom_reader(type_.value)
        return lambda datum, idl: (
            tuple(atom(value, idl) for _, value in sorted(datum.values.items(), key=_position))
            if datum is not None
            else ()
        )
    atom = _atom_reader(type_.key)
    default = None if type_.is_optional() else _DEFAULT.get(type_.key.type.name)
    return lambda datum, idl: atom(next(iter(datum.values)), idl) if datum is not None and datum.values else default


def _position(item: tuple[Any, Any]) -> int:
    return cast(int, item[0].value)


def _atom_reader(base: Any) -> Callable[[Any, Any], Atom]:
    table = base.ref_table_name
    if table is None:
        return lambda atom, _: atom.value
    return lambda atom, idl: Ref(table, name_of(idl.tables[table].rows[atom.value]))
