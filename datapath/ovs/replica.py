"""What the Open_vSwitch database of one chassis has of ours, kept by its notifications.

Enters: rows, as the database tells of them; what we have made of them. Leaves: BridgeRow and PortRow values, what the
switch says of each port, and what others have changed, by callback. Never: a row changed; another thread than that of
the connection, where transactions are made too, so that nothing needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import datapath.ovsdb as ovsdb

# isort: split
from ovs.db.idl import ROW_DELETE

from datapath.drift import Difference, changed
from datapath.events import How
from datapath.ovs.rows import PORT_MARK, BridgeRow, PortRow, changes
from datapath.plan import Step, Verb, diff
from datapath.spec import MARK

TABLES: Final[ovsdb.Tables] = {
    "Open_vSwitch": ("bridges", "cur_cfg", "next_cfg", "other_config", "external_ids"),
    "Bridge": (
        "name", "ports", "controller", "datapath_type", "fail_mode", "protocols", "other_config", "external_ids",
        "flow_tables",
    ),
    "Port": ("name", "interfaces", "external_ids"),
    "Interface": ("name", "type", "options", "ofport", "ofport_request", "mtu_request", "external_ids", "error"),
    "Flow_Table": ("flow_limit", "overflow_policy", "external_ids"),
    "Controller": ("target", "max_backoff", "inactivity_probe"),
}  # fmt: skip


HOW: Final[dict[Verb, How]] = {"add": "removed", "change": "changed", "remove": "added"}
"""What somebody else did, by what it takes to put it right."""

EVICT: Final = "evict"
"""Flow_Table.overflow_policy: instead of refusing a flow, the one that expires first goes."""


def needed(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the schema that TABLES is about; every connection parses it."""
    tables = {
        name: {**schema["tables"][name], "columns": {c: schema["tables"][name]["columns"][c] for c in columns}}
        for name, columns in TABLES.items()
    }
    return {**schema, "tables": tables}


class PortFact(NamedTuple):
    """What the switch says of a port: its number (-1 if it has none) and what is wrong with it."""

    ofport: int | None
    error: str


class Watcher(NamedTuple):
    """Who is told, in the connection's thread: what the switch says of a port, what others change of our rows, and that
    the switch has taken up what was waited for in vain."""

    on_port: Callable[[str, PortFact | None], None]
    on_difference: Callable[[list[Difference]], None]
    on_recovery: Callable[[], None]


class Wanted(NamedTuple):
    """The rows as we have made them; those of ports without their bridge, which the replica does not know."""

    bridges: Mapping[str, BridgeRow]
    ports: Mapping[str, PortRow]
    places: Mapping[str, str]
    """The bridge of each port."""


class Replica(ovsdb.Idl):
    """Keeps what is ours: names and rows, for comparison and for writing. Only in the connection's thread."""

    def __init__(self, *args: Any, lab: str, watcher: Watcher, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lab = lab
        self.seen: dict[str, PortRow] = {}
        self.facts: dict[str, PortFact] = {}
        self.rows: dict[str, dict[str, Any]] = {"Bridge": {}, "Port": {}, "Interface": {}}
        self.version = 0
        self.current = 0
        """The configuration that the switch has taken up."""
        self.overdue = 0
        """The newest one that was waited for in vain, until it is taken up."""
        self.moved = threading.Condition()
        """`current` is another one, or nobody shall wait any longer."""
        self.is_closed = False
        self.wanted: Wanted | None = None
        """None as long as it is not so, and while it is being made so."""
        self._looked_at = 0
        self._told: set[Difference] = set()
        """What has been wrong without interruption, and is told already."""
        self._watcher = watcher

    def is_ours(self, row: Any) -> bool:
        return bool(row.external_ids.get(MARK) == self.lab)

    def notify(self, event: str, row: Any, _updates: Any = None) -> None:
        table = row._table.name
        if table in self.rows:
            self._keep(table, event, row)
        elif table == "Flow_Table":
            self.version += 1

    def run(self) -> bool:
        """Tells of a configuration taken up only after all rows that came with it are kept."""
        changed = bool(super().run())
        current = max((row.cur_cfg for row in self.tables["Open_vSwitch"].rows.values()), default=0)
        if current != self.current:
            self._move(current)
        self._look()
        return changed

    def _move(self, current: int) -> None:
        with self.moved:
            self.current = current
            has_recovered = 0 < self.overdue <= current
            if has_recovered:
                self.overdue = 0
            self.moved.notify_all()
        if has_recovered:
            self._watcher.on_recovery()

    def follow(self, configuration: int, seconds: float) -> bool:
        """Whether the switch takes the configuration up in time. In another thread, which waits. One that is overdue
        already is not waited for: that the rows are right by now does not make it well."""
        with self.moved:
            patience = 0.0 if self.overdue else seconds
            self.moved.wait_for(lambda: self.is_closed or self.current >= configuration, patience)
            if self.current < configuration:
                self.overdue = configuration
            return self.current >= configuration

    def close(self) -> None:
        """Whoever waits, waits no longer."""
        with self.moved:
            self.is_closed = True
            self.moved.notify_all()

    def _look(self) -> None:
        """Whatever of our rows changed since we made them so was somebody else's doing."""
        if self.wanted is None or self.version == self._looked_at:
            return
        self._looked_at = self.version
        self.forget_the_lost()
        found = list(_differences(self.wanted, self))
        told, self._told = self._told, set(found)
        if new := [each for each in found if each not in told]:
            self._watcher.on_difference(new)

    def want(self, wanted: Wanted | None) -> None:
        """The rows are so, or (None) are being made so."""
        self.wanted = wanted
        self._told.clear()

    def _keep(self, table: str, event: str, row: Any) -> None:
        name = row.name
        if event == ROW_DELETE:
            if self.rows[table].get(name) is row:
                del self.rows[table][name]
        else:
            self.rows[table][name] = row
        if table == "Interface":
            self._keep_interface(name, None if event == ROW_DELETE else row)
        else:
            self.version += 1

    def _keep_interface(self, name: str, row: Any) -> None:
        before = self.seen.get(name), self.facts.get(name)
        if row is None or not self.is_ours(row):
            self.seen.pop(name, None)
            self.facts.pop(name, None)
        else:
            self.seen[name] = _port_row(row)
            self.facts[name] = PortFact(_single(row.ofport), _single(row.error) or "")
        if self.seen.get(name) != before[0]:
            self.version += 1
        if self.facts.get(name) != before[1]:
            self._watcher.on_port(name, self.facts.get(name))

    def forget_the_lost(self) -> None:
        """After a reconnection rows may be gone without a notification."""
        for table, kept in self.rows.items():
            present = self.tables[table].rows
            for name in [name for name, row in kept.items() if row.uuid not in present]:
                del kept[name]
                if table == "Interface":
                    self._keep_interface(name, None)


def _differences(wanted: Wanted, replica: Replica) -> Iterator[Difference]:
    """Ports that went with their bridge are not told one by one."""
    rows = replica.rows["Bridge"].items()
    bridges = {name: bridge_row(row, replica.lab) for name, row in rows if replica.is_ours(row)}
    for bridge in diff(wanted.bridges, bridges):
        yield from _difference(f"bridge {bridge.key}", bridge)
    for port in diff(wanted.ports, replica.seen):
        place = wanted.places.get(port.key, "")
        if not place or place in bridges:
            row = port.desired or port.observed
            about = dict(row.external_ids).get(PORT_MARK) if row else None
            named = f"port {port.key}" + (f" of {place}" if place else "") + (f" ({about})" if about else "")
            yield from _difference(named, port)


def _difference(named: str, step: Step[str, BridgeRow] | Step[str, PortRow]) -> Iterator[Difference]:
    if step.desired is None or step.observed is None:
        yield Difference(named, HOW[step.verb])
    else:
        yield from changed(named, changes(step.observed, step.desired))


def _single(value: Any) -> Any:
    """An optional column is a list in the IDL."""
    return value[0] if value else None


def _port_row(row: Any) -> PortRow:
    options = tuple(sorted(row.options.items()))
    ids = tuple(sorted(row.external_ids.items()))
    return PortRow("", row.type, _single(row.ofport_request), options, ids, _single(row.mtu_request))


def _flow_limits(row: Any, lab: str) -> tuple[tuple[int, int], ...]:
    """Ours, by table. One that refuses what is more instead of evicting is -1: not as it shall be."""
    return tuple(
        (table, _single(limited.flow_limit) if limited.overflow_policy == [EVICT] else -1)
        for table, limited in sorted(row.flow_tables.items())
        if limited.external_ids.get(MARK) == lab
    )


def bridge_row(row: Any, lab: str) -> BridgeRow:
    controllers = row.controller
    return BridgeRow(
        row.datapath_type,
        _single(row.fail_mode) or "",
        frozenset(row.protocols),
        tuple(sorted(row.other_config.items())),
        controllers[0].target if controllers else "",
        tuple(sorted(row.external_ids.items())),
        _flow_limits(row, lab),
    )
