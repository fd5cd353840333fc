"""The store's rows as this process sees them, kept as one Model and one Facts.

Enters: the IDL's row events. Leaves: a new Model and Facts after each batch of updates, with the names of what changed.
Never: a transaction, a half of one: OVSDB delivers a transaction at once, and events are looked at after the batch.

A changed row costs its own decoding and one copy of its mapping (10 us for 1,000 entries). Only after a reconnect, when
the server sends everything again, or when something that others refer to is renamed, all is decoded and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from datapath.ovsdb import Idl
from sdn.model import Model, Node
from sdn.model.facts import Facts
from sdn.store.columns import name_of, read_row
from sdn.store.objects import Row, decode, underlay
from sdn.store.rows import (
    ATTRIBUTE,
    FLOW_FACTS,
    GUEST_FACTS,
    HOST_FACTS,
    LAB,
    PORT_FACTS,
    Key,
    flow_facts,
    from_rows,
    guest_facts,
    host_facts,
    in_file_order,
    port_facts,
)
from sdn.store.update import Changed, Names, Update, changed_between, changed_facts, differs

Listener = Callable[[Update], None]

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
        return self.updates is not None and self.updates._data.keys() <= FACT_COLUMNS


def key_of(row: Any) -> Key:
    table: str = row._table.name
    return LAB if table == LAB[0] else (table, name_of(row))


class Replica(Idl):
    """An IDL of database SDN. `model` is None as long as there is no lab in the store."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model: Model | None = None
        self.facts = Facts()
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
        old, old_facts = self.model, self.facts
        present = {key_of(row): row for table in self.tables.values() for row in table.rows.values()}
        self.uuids = {key: row.uuid for key, row in present.items()}
        content = {key: read_row(row) for key, row in present.items()}
        self.facts = _with_facts(Facts(), content, set())
        self.model = from_rows(content, _revision(content[LAB])) if LAB in content else None
        if self.model is None or old is None:
            return None if self.model is None else Update(self.model, self.facts, None)
        return self._update(old, changed_between(self.model, self.facts, old, old_facts))

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
        content = {key: read_row(row) for key, row in present.items()}
        old_facts, self.facts = self.facts, _with_facts(self.facts, content, gone)
        changed = changed_facts(self.facts, old_facts)
        if intent:
            self.model, changed_intent = self._with_intent(old, intent, content)
            changed |= changed_intent
        return self._update(old, changed)

    def _with_intent(self, old: Model, keys: set[Key], content: dict[Key, Row]) -> tuple[Model, Changed]:
        """`old` with the objects of `keys` as in `content`, without those that are not in it."""
        mappings: dict[str, dict[str, Any]] = {}
        changed: dict[str, Names] = {}
        for table, attribute in ATTRIBUTE.items():
            before = getattr(old, attribute)
            names = {name for kind, name in keys if kind == table}
            if table == "Port":
                names |= self._of_moved_nodes(old, mappings.get("nodes", old.nodes), content)
            if names:
                rows_ = {name: content.get((table, name)) for name in names}
                after = _replaced(before, table, rows_, mappings.get("nodes", old.nodes))
                changed[attribute] = frozenset(name for name in names if differs(after.get(name), before.get(name)))
                mappings[attribute] = after
        new = replace(old, **cast(Any, mappings))
        if LAB in content:
            new = _with_lab(new, content[LAB])
        return new, Changed(lab=new.underlay != old.underlay, **changed)

    def _of_moved_nodes(self, old: Model, nodes: dict[str, Node], content: dict[Key, Row]) -> set[str]:
        """Ports whose own row is as it was but whose node is on another chassis now. Adds their rows to `content`."""
        if nodes is old.nodes:
            return set()
        moved = {name for name, node in nodes.items() if name in old.nodes and old.nodes[name].chassis != node.chassis}
        names = {port.name for port in old.ports.values() if port.node in moved and ("Port", port.name) in self.uuids}
        for name in names:
            content["Port", name] = read_row(self.tables["Port"].rows[self.uuids["Port", name]])
        return names


def _replaced(
    before: dict[str, Any], table: str, content: dict[str, Row | None], nodes: dict[str, Node]
) -> dict[str, Any]:
    after = dict(before)
    for name, row in content.items():
        if row is None:
            after.pop(name, None)
        else:
            after[name] = decode(table, name, row, nodes)
    return in_file_order(after)


def _revision(lab: Row) -> int:
    return cast(int, lab["revision"])


def _with_lab(model: Model, lab: Row) -> Model:
    return replace(model, lab=cast(str, lab["name"]), underlay=underlay(lab), revision=_revision(lab))


def _with_facts(facts: Facts, content: dict[Key, Row], gone: set[Key]) -> Facts:
    flows, hosts, ports, guests = dict(facts.flows), dict(facts.hosts), dict(facts.ports), dict(facts.guests)
    of: dict[str, tuple[dict[str, Any], ...]] = {"Chassis": (flows, hosts), "Port": (ports,), "Guest": (guests,)}
    for table, name in gone:
        for mapping in of.get(table, ()):
            mapping.pop(name, None)
    for (table, name), row in content.items():
        if table == "Chassis":
            flows[name], hosts[name] = flow_facts(row), host_facts(row)
        elif table == "Port":
            ports[name] = port_facts(row)
        elif table == "Guest":
            guests[name] = guest_facts(row)
    return Facts(flows, hosts, ports, guests)
