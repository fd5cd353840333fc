"""The store's rows as this process sees them, kept as one Model and one Facts.

Enters: the IDL's row events. Leaves: a new Model and Facts after each batch of updates, with the names of what changed.
Never: a transaction, a half of one: OVSDB delivers a transaction at once, and events are looked at after the batch.

What changed is folded in (`folding`). Only after a reconnect, when the server sends everything again, or when something
that others refer to is renamed, all is decoded and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from datapath.ovsdb import Idl
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.model.history import Revision
from sdn.store.columns import name_of, number_of, read_row
from sdn.store.folding import with_facts, with_rows
from sdn.store.history import REVISION, with_revisions
from sdn.store.objects import Row
from sdn.store.rows import (
    DRIFT,
    FLOW_FACTS,
    GUEST_FACTS,
    HOST_FACTS,
    LAB,
    PORT_FACTS,
    Key,
    from_rows,
)
from sdn.store.update import Changed, Update, changed_between, changed_facts, changed_intent, changed_revisions

Listener = Callable[[Update], None]

WITHOUT_INTENT: Final = frozenset((DRIFT, REVISION))
"""Tables."""
FACT_COLUMNS: Final = frozenset(FLOW_FACTS + HOST_FACTS + PORT_FACTS + GUEST_FACTS)


class Event(NamedTuple):
    """What the IDL notifies. `updates` has the old values of the columns that an update changed."""

    kind: str
    row: Any
    updates: Any

    @property
    def concerns_everything(self) -> bool:
        """A lab comes or goes, or rows that refer to this one now refer to another name."""
        if self.updates is None:
            return bool(self.row._table.name == LAB[0])
        return "name" in self.updates._data

    @property
    def only_facts(self) -> bool:
        if self.row._table.name in WITHOUT_INTENT:
            return True
        return self.updates is not None and self.updates._data.keys() <= FACT_COLUMNS


def key_of(row: Any) -> Key:
    table: str = row._table.name
    if table == REVISION:
        return table, number_of(row)
    return LAB if table == LAB[0] else (table, name_of(row))


class Replica(Idl):
    """An IDL of database SDN. `model` is None as long as there is no lab in the store."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model: Model | None = None
        self.facts = Facts()
        self.revisions: Mapping[int, Revision] = {}
        """Never older than the model: who reads them after it finds all of its."""
        self.uuids: dict[Key, UUID] = {}
        self.listeners: list[Listener] = []
        self._events: list[Event] = []
        self._dumped = True  # everything is to be read again

    def restart_fsm(self) -> None:
        """A new connection: what was deleted meanwhile is not notified."""
        self._dumped = True
        super().restart_fsm()

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        self._events.append(Event(event, row, updates))

    def run(self) -> bool:
        changed = bool(super().run())
        if self.state == self.IDL_S_MONITORING and (self._dumped or self._events):
            self._fold()
        return changed

    def _fold(self) -> None:
        events, self._events = self._events, []
        old = self.model
        everything = self._dumped or old is None or any(event.concerns_everything for event in events)
        self._dumped = True  # stays so if a row cannot be decoded
        update = self._read_everything() if everything or old is None else self._advance(old, events)
        self._dumped = False
        if update is not None:
            for listener in self.listeners:
                listener(update)

    def _read_everything(self) -> Update | None:
        """None if nothing differs or there is no lab."""
        old, old_facts, old_revisions = self.model, self.facts, self.revisions
        present = {key_of(row): row for table in self.tables.values() for row in table.rows.values()}
        self.uuids = {key: row.uuid for key, row in present.items()}
        content = {key: read_row(row) for key, row in present.items()}
        self.facts = with_facts(Facts(), content)
        self.revisions = with_revisions({}, content)
        self.model = from_rows(content, _revision(content[LAB])) if LAB in content else None
        if self.model is None or old is None:
            return None if self.model is None else Update(self.model, self.facts, None)
        changed = changed_between(self.model, self.facts, old, old_facts)
        return self._update(old, changed | changed_revisions(self.revisions, old_revisions))

    def _update(self, old: Model, changed: Changed) -> Update | None:
        if self.model is None or (not changed and self.model.revision == old.revision):
            return None
        return Update(self.model, self.facts, changed)

    def _advance(self, old: Model, events: list[Event]) -> Update | None:
        touched = {event.row.uuid: event.row for event in events}.values()
        present = {key_of(row): row for row in touched if row.uuid in row._table.rows}
        gone = {key_of(row) for row in touched} - present.keys()
        intent = {key_of(event.row) for event in events if not event.only_facts}
        self.uuids.update((key, row.uuid) for key, row in present.items())
        for key in gone:
            self.uuids.pop(key, None)
        rows: dict[Key, Row | None] = {key: read_row(row) for key, row in present.items()} | dict.fromkeys(gone)
        old_facts, self.facts = self.facts, with_facts(self.facts, rows)
        old_revisions, self.revisions = self.revisions, with_revisions(self.revisions, rows)
        changed = changed_facts(self.facts, old_facts) | changed_revisions(self.revisions, old_revisions)
        if intent:
            lab = rows.get(LAB)
            self.model = with_rows(old, {key: rows[key] for key in intent}, _revision(lab) if lab else old.revision)
            changed |= changed_intent(self.model, old)
        return self._update(old, changed)


def _revision(lab: Row) -> int:
    return cast(int, lab["revision"])
