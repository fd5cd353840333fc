"""The Open_vSwitch database of one chassis: what it has of ours, and one transaction for all that differs.

Enters: BridgeRow and PortRow values. Leaves: the rows so; what the switch says of each port, by callback. Never: a
row without our mark is changed, a transaction is made where nothing differs.

Rows are read once and then kept by the notifications of the database, in the thread of the connection; there the
transactions are made too, so that nothing needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import datapath.ovsdb as ovsdb

# isort: split
from ovs.db.idl import ROW_DELETE
from ovsdbapp.backend.ovs_idl.command import BaseCommand
from ovsdbapp.backend.ovs_idl.transaction import Transaction

from datapath.drift import Difference
from datapath.errors import TransientError
from datapath.events import How
from datapath.ovs import rows
from datapath.ovs.rows import (
    CONTROLLER_BACKOFF_MS,
    INACTIVITY_PROBE_MS,
    INDEX_MARK,
    PORT_MARK,
    SWITCH_OPTIONS,
    BridgeRow,
    PortRow,
)
from datapath.plan import Verb, diff
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

_LOOKS: Final = 3
"""At the rows, until nothing differs; otherwise they are compared again next time."""

EVICT: Final = "evict"
"""Flow_Table.overflow_policy: instead of refusing a flow, the one that expires first goes."""


def needed(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the schema that TABLES is about; every connection parses it."""
    tables = {
        name: {**schema["tables"][name], "columns": {c: schema["tables"][name]["columns"][c] for c in columns}}
        for name, columns in TABLES.items()
    }
    return {**schema, "tables": tables}


_TIMEOUT: Final = 10.0  # seconds for the database or the switch to answer


class PortFact(NamedTuple):
    """What the switch says of a port: its number (-1 if it has none) and what is wrong with it."""

    ofport: int | None
    error: str


class Watcher(NamedTuple):
    """Who is told, in the connection's thread: what the switch says of a port, and what others change of our rows."""

    on_port: Callable[[str, PortFact | None], None]
    on_difference: Callable[[list[Difference]], None]


class Wanted(NamedTuple):
    """The rows as we have made them; those of ports without their bridge, which the replica does not know."""

    bridges: Mapping[str, BridgeRow]
    ports: Mapping[str, PortRow]
    places: Mapping[str, str]
    """The bridge of each port."""


class _Replica(ovsdb.Idl):
    """Keeps what is ours: names and rows, for comparison and for writing. Only in the connection's thread."""

    def __init__(self, *args: Any, lab: str, watcher: Watcher, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lab = lab
        self.seen: dict[str, PortRow] = {}
        self.facts: dict[str, PortFact] = {}
        self.rows: dict[str, dict[str, Any]] = {"Bridge": {}, "Port": {}, "Interface": {}}
        self.version = 0
        self.current = 0
        self.moved = threading.Condition()
        self.wanted: Wanted | None = None
        """None as long as it is not so, and while it is being made so."""
        self._looked_at = 0
        self._told: set[Difference] = set()
        """What has been wrong without interruption, and is told already."""
        self._watcher = watcher

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
            with self.moved:
                self.current = current
                self.moved.notify_all()
        self._look()
        return changed

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
        if row is None or row.external_ids.get(MARK) != self.lab:
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


def _differences(wanted: Wanted, replica: _Replica) -> Iterator[Difference]:
    """Ports that went with their bridge are not told one by one."""
    rows = replica.rows["Bridge"]
    ours = {name: row for name, row in rows.items() if row.external_ids.get(MARK) == replica.lab}
    bridges = {name: _bridge_row(row, replica.lab) for name, row in ours.items()}
    for bridge in diff(wanted.bridges, bridges):
        yield Difference(f"bridge {bridge.key}", HOW[bridge.verb])
    for port in diff(wanted.ports, replica.seen):
        place = wanted.places.get(port.key, "")
        if not place or place in bridges:
            row = port.desired or port.observed
            about = dict(row.external_ids).get(PORT_MARK) if row else None
            named = f"port {port.key}" + (f" of {place}" if place else "") + (f" ({about})" if about else "")
            yield Difference(named, HOW[port.verb])


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


def _bridge_row(row: Any, lab: str) -> BridgeRow:
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


class _Reconcile(BaseCommand):  # type: ignore[misc]
    """Everything that differs, in one transaction. Its result: names that are taken by rows without our mark."""

    def __init__(self, switch: Switch, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow]) -> None:
        super().__init__(switch)
        self.bridges = bridges
        self.ports = ports
        self.awaited = 0
        self.result: list[str] = []
        self.version = -1
        """Of the rows, when nothing differed."""
        self._changed = False

    def run_idl(self, txn: Any) -> None:
        replica: _Replica = self.api.idl
        replica.forget_the_lost()
        self._changed = False
        self._rows = dict(replica.rows["Bridge"])
        root = self._root(txn, replica)
        self.result = self._foreign(replica)
        self._change_bridges(txn, replica, root)
        self._change_ports(txn, replica)
        if self._changed:
            replica.want(None)
            root.increment("next_cfg")
        else:
            self.version = replica.version
            replica.wanted = self._wanted()

    def _wanted(self) -> Wanted:
        """What there is when all is done; what is not ours is none of it."""
        ports = {name: row for name, row in self.ports.items() if name not in self.result}
        bridges = {name: row for name, row in self.bridges.items() if name not in self.result}
        places = {name: row.bridge for name, row in ports.items()}
        return Wanted(bridges, {name: row._replace(bridge="") for name, row in ports.items()}, places)

    def post_commit(self, txn: Any) -> None:
        if self._changed:
            self.api.idl.want(self._wanted())
            self.awaited = txn.get_increment_new_value()

    def _root(self, txn: Any, replica: _Replica) -> Any:
        for row in replica.tables["Open_vSwitch"].rows.values():
            return row
        root = txn.insert(replica.tables["Open_vSwitch"])
        root.other_config = dict(SWITCH_OPTIONS)
        root.external_ids = {MARK: replica.lab}
        return root

    def _foreign(self, replica: _Replica) -> list[str]:
        bridges = replica.rows["Bridge"]
        taken = [name for name in self.bridges if name in bridges and not self._ours(bridges[name])]
        return taken + [name for name in self.ports if name in replica.rows["Port"] and name not in replica.seen]

    def _ours(self, row: Any) -> bool:
        return bool(row.external_ids.get(MARK) == self.api.idl.lab)

    def _change_bridges(self, txn: Any, replica: _Replica, root: Any) -> None:
        observed = {
            name: _bridge_row(row, replica.lab) for name, row in replica.rows["Bridge"].items() if self._ours(row)
        }
        desired = {name: row for name, row in self.bridges.items() if name not in self.result}
        for step in diff(desired, observed):
            self._changed = True
            if step.desired is None:
                root.delvalue("bridges", self._rows.pop(step.key))
                continue
            if step.verb == "add":
                self._rows[step.key] = txn.insert(replica.tables["Bridge"])
                self._rows[step.key].name = step.key
                root.addvalue("bridges", self._rows[step.key])
            _fill_bridge(self._rows[step.key], step.desired)
            _control(txn, replica, self._rows[step.key], step.desired, observed.get(step.key))
            _limit_flows(txn, replica, self._rows[step.key], step.desired, observed.get(step.key))

    def _change_ports(self, txn: Any, replica: _Replica) -> None:
        desired = {name: row._replace(bridge="") for name, row in self.ports.items() if name not in self.result}
        added: dict[str, list[Any]] = {}
        for step in diff(desired, replica.seen):
            self._changed = True
            if step.verb == "add":
                port = _new_port(txn, replica, step.key, desired[step.key])
                added.setdefault(self.ports[step.key].bridge, []).append(port)
            elif step.desired is None:
                self._remove(replica, step.key)
            else:
                _fill_interface(replica.rows["Interface"][step.key], step.desired)
        for bridge, new in added.items():
            if bridge not in self.result:
                self._attach(replica, bridge, new)

    def _attach(self, replica: _Replica, bridge: str, ports: list[Any]) -> None:
        if bridge not in replica.rows["Bridge"]:
            self._rows[bridge].ports = ports
            return
        for port in ports:
            self._rows[bridge].addvalue("ports", port)

    def _remove(self, replica: _Replica, name: str) -> None:
        """To take a port from a bridge that has it not is no error, and asking which one has it costs more."""
        port = replica.rows["Port"].get(name)
        for bridge in replica.rows["Bridge"].values():
            if port is not None and self._ours(bridge):
                bridge.delvalue("ports", port)


def _fill_bridge(row: Any, desired: BridgeRow) -> None:
    row.datapath_type = desired.datapath_type
    row.fail_mode = desired.fail_mode
    row.protocols = sorted(desired.protocols)
    row.other_config = dict(desired.other_config)
    row.external_ids = dict(desired.external_ids)


def _control(txn: Any, replica: _Replica, row: Any, desired: BridgeRow, observed: BridgeRow | None) -> None:
    """The same controller keeps its row: with another one the switch would connect anew."""
    if observed is not None and observed.controller == desired.controller:
        return
    if not desired.controller:
        row.controller = []
        return
    controller = txn.insert(replica.tables["Controller"])
    controller.target = desired.controller
    controller.max_backoff = CONTROLLER_BACKOFF_MS
    controller.inactivity_probe = INACTIVITY_PROBE_MS
    row.controller = [controller]


def _limit_flows(txn: Any, replica: _Replica, row: Any, desired: BridgeRow, observed: BridgeRow | None) -> None:
    """What others have set for other tables of the bridge stays."""
    if desired.flow_limits == (observed.flow_limits if observed else ()):
        return
    present = row.flow_tables if observed else {}
    limits = {table: kept for table, kept in present.items() if kept.external_ids.get(MARK) != replica.lab}
    for table, limit in desired.flow_limits:
        limits[table] = txn.insert(replica.tables["Flow_Table"])
        limits[table].flow_limit = limit
        limits[table].overflow_policy = EVICT
        limits[table].external_ids = {MARK: replica.lab}
    row.flow_tables = limits


def _new_port(txn: Any, replica: _Replica, name: str, desired: PortRow) -> Any:
    interface = txn.insert(replica.tables["Interface"])
    interface.name = name
    _fill_interface(interface, desired)
    port = txn.insert(replica.tables["Port"])
    port.name = name
    port.external_ids = {MARK: replica.lab}
    port.interfaces = [interface]
    return port


def _fill_interface(row: Any, desired: PortRow) -> None:
    row.type = desired.type
    row.options = dict(desired.options)
    row.external_ids = dict(desired.external_ids)
    row.ofport_request = [] if desired.ofport_request is None else desired.ofport_request
    row.mtu_request = [] if desired.mtu_request is None else desired.mtu_request


def _index(row: PortRow) -> str | None:
    return dict(row.external_ids).get(INDEX_MARK)


class Switch:
    """A connection to the database of one chassis. Its methods wait: call them in a worker thread."""

    def __init__(self, socket: Path, lab: str, schema: dict[str, Any], watcher: Watcher) -> None:
        """`watcher` is called in another thread. Raises TransientError."""
        self.transactions = 0
        self._settled: tuple[object, object, int] | None = None
        self._connection = ovsdb.connect(
            socket, "Open_vSwitch", TABLES, timeout=_TIMEOUT, idl=_Replica, schema_json=schema, lab=lab, watcher=watcher
        )
        self.idl: _Replica = self._connection.idl
        try:
            self._connection.start()
        except Exception as error:
            raise TransientError(f"{socket}: the database does not answer ({error})") from error

    def reconcile(self, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow]) -> list[str]:
        """Makes the rows so and waits until the switch has followed; names that are not ours and were left alone.

        Raises TransientError.
        """
        if self._settled == (bridges, ports, self.idl.version):
            return []
        stale = self._stale(ports)
        if stale:
            self._commit(bridges, {name: row for name, row in ports.items() if name not in stale})
        for _ in range(_LOOKS):
            done = self._commit(bridges, ports)
            if done.version != -1:  # somebody else's changes came with ours: until there is nothing left to change
                break
        is_right = done.version != -1 and not done.result
        self._settled = (bridges, ports, done.version) if is_right else None
        return list(done.result)

    def doubt(self) -> None:
        """The next time everything is compared."""
        self._settled = None

    def begin(self, bridges: Mapping[str, BridgeRow]) -> None:
        """Puts the bridges into a database that has none, and awaits nobody. Raises TransientError."""
        if not self.idl.rows["Bridge"]:
            self._commit(bridges, rows.local_ports(self.idl.lab, bridges), wait=False)

    def _stale(self, ports: Mapping[str, PortRow]) -> set[str]:
        """Ports that the switch has on devices of the past, or looked for when there were none yet."""
        seen, facts = dict(self.idl.seen), dict(self.idl.facts)
        known = [(name, row) for name, row in ports.items() if name in seen]
        past = {name for name, row in known if _index(row) != _index(seen[name])}
        return past | {name for name, row in known if _index(row) not in (None, "0") and facts[name].error}

    def _commit(
        self, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow], *, wait: bool = True
    ) -> _Reconcile:
        command = _Reconcile(self, bridges, ports)
        transaction = Transaction(self, self._connection, _TIMEOUT, check_error=True, log_errors=False)
        transaction.add(command)
        try:
            transaction.commit()
        except Exception as error:
            raise TransientError(f"the switch's database refused: {error}") from error
        if command.awaited:
            self.transactions += 1
            if wait:
                self._await(command.awaited)
        return command

    def _await(self, configuration: int) -> None:
        with self.idl.moved:
            if not self.idl.moved.wait_for(lambda: self.idl.current >= configuration, _TIMEOUT):
                raise TransientError(f"ovs-vswitchd has not taken up its configuration within {_TIMEOUT:.0f} s")

    def close(self) -> None:
        self._connection.stop()
