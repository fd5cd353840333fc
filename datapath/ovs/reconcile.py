"""All that differs between the rows of a chassis and what they shall be, in one transaction.

Enters: BridgeRow and PortRow values, a Replica. Leaves: the rows so; the names that are taken by rows without our mark.
Never: a row without our mark changed, a transaction where nothing differs, another row for the same controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datapath.ovsdb as ovsdb  # noqa: F401  before ovsdbapp

# isort: split
from ovsdbapp.backend.ovs_idl.command import BaseCommand

from datapath.ovs.replica import EVICT, Replica, Wanted, bridge_row
from datapath.ovs.rows import CONTROLLER_BACKOFF_MS, INACTIVITY_PROBE_MS, SWITCH_OPTIONS, BridgeRow, PortRow
from datapath.plan import diff
from datapath.spec import MARK


class Reconcile(BaseCommand):  # type: ignore[misc]
    """Runs in the connection's thread, again where rows have changed meanwhile. Its result: names that are not ours."""

    def __init__(self, replica: Replica, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow]) -> None:
        super().__init__(None)  # commands are made for an interface, of which this one needs the replica
        self.result: list[str] = []
        self.awaited = 0
        """The configuration that the switch has to take up: ours, or where nothing differed the newest of anybody."""
        self.has_changed = False
        self.version = -1
        """Of the rows, when nothing differed."""
        self._replica = replica
        self._bridges = bridges
        self._ports = ports
        self._wanted: Wanted | None = None
        """What there is when all is done, if anything is."""

    def run_idl(self, txn: Any) -> None:
        replica = self._replica
        replica.forget_the_lost()
        self.result = self._foreign()
        wanted = self._ours()
        writer = _Writer(txn, replica)
        writer.write(wanted)
        if writer.has_written:
            self._wanted = wanted
            replica.want(None)
            writer.root.increment("next_cfg")
        else:
            self._wanted = None
            self.awaited = writer.root.next_cfg
            self.version = replica.version
            replica.wanted = wanted

    def post_commit(self, txn: Any) -> None:
        if self._wanted is not None:
            self._replica.want(self._wanted)
            self.has_changed = True
            self.awaited = txn.get_increment_new_value()

    def _foreign(self) -> list[str]:
        replica = self._replica
        bridges = replica.rows["Bridge"]
        taken = [name for name in self._bridges if name in bridges and not replica.is_ours(bridges[name])]
        return taken + [name for name in self._ports if name in replica.rows["Port"] and name not in replica.seen]

    def _ours(self) -> Wanted:
        """What is wished and not somebody else's."""
        ports = {name: row for name, row in self._ports.items() if name not in self.result}
        bridges = {name: row for name, row in self._bridges.items() if name not in self.result}
        places = {name: row.bridge for name, row in ports.items()}
        return Wanted(bridges, {name: row._replace(bridge="") for name, row in ports.items()}, places)


class _Writer:
    """Puts what differs into one transaction."""

    def __init__(self, txn: Any, replica: Replica) -> None:
        self.has_written = False
        self._txn = txn
        self._replica = replica
        self._bridges = {name: row for name, row in replica.rows["Bridge"].items() if replica.is_ours(row)}
        """Rows as they will be."""
        roots = list(replica.tables["Open_vSwitch"].rows.values())
        self.root = roots[0] if roots else self._new_root()

    def write(self, wanted: Wanted) -> None:
        self._write_bridges(wanted.bridges)
        self._write_ports(wanted)

    def _insert(self, table: str) -> Any:
        return self._txn.insert(self._replica.tables[table])

    def _new_root(self) -> Any:
        root = self._insert("Open_vSwitch")
        root.other_config = dict(SWITCH_OPTIONS)
        root.external_ids = {MARK: self._replica.lab}
        return root

    # Bridges

    def _write_bridges(self, wanted: Mapping[str, BridgeRow]) -> None:
        observed = {name: bridge_row(row, self._replica.lab) for name, row in self._bridges.items()}
        for step in diff(wanted, observed):
            self.has_written = True
            if step.desired is None:
                self.root.delvalue("bridges", self._bridges.pop(step.key))
                continue
            if step.verb == "add":
                self._bridges[step.key] = self._insert("Bridge")
                self._bridges[step.key].name = step.key
                self.root.addvalue("bridges", self._bridges[step.key])
            row = self._bridges[step.key]
            _fill_bridge(row, step.desired)
            self._control(row, step.desired, observed.get(step.key))
            self._limit_flows(row, step.desired, observed.get(step.key))

    def _control(self, row: Any, desired: BridgeRow, observed: BridgeRow | None) -> None:
        """The same controller keeps its row: with another one the switch would connect anew."""
        if observed is not None and observed.controller == desired.controller:
            return
        if not desired.controller:
            row.controller = []
            return
        controller = self._insert("Controller")
        controller.target = desired.controller
        controller.max_backoff = CONTROLLER_BACKOFF_MS
        controller.inactivity_probe = INACTIVITY_PROBE_MS
        row.controller = [controller]

    def _limit_flows(self, row: Any, desired: BridgeRow, observed: BridgeRow | None) -> None:
        """What others have set for other tables of the bridge stays."""
        if desired.flow_limits == (observed.flow_limits if observed else ()):
            return
        present = row.flow_tables if observed else {}
        limits = {table: kept for table, kept in present.items() if not self._replica.is_ours(kept)}
        for table, limit in desired.flow_limits:
            limits[table] = self._insert("Flow_Table")
            limits[table].flow_limit = limit
            limits[table].overflow_policy = EVICT
            limits[table].external_ids = {MARK: self._replica.lab}
        row.flow_tables = limits

    # Ports

    def _write_ports(self, wanted: Wanted) -> None:
        added: dict[str, list[Any]] = {}
        for step in diff(wanted.ports, self._replica.seen):
            self.has_written = True
            if step.verb == "add" and step.desired is not None:
                added.setdefault(wanted.places[step.key], []).append(self._new_port(step.key, step.desired))
            elif step.desired is None:
                self._remove(step.key)
            else:
                _fill_interface(self._replica.rows["Interface"][step.key], step.desired)
        for bridge, new in added.items():
            if bridge in self._bridges:
                self._attach(bridge, new)

    def _new_port(self, name: str, desired: PortRow) -> Any:
        interface = self._insert("Interface")
        interface.name = name
        _fill_interface(interface, desired)
        port = self._insert("Port")
        port.name = name
        port.external_ids = {MARK: self._replica.lab}
        port.interfaces = [interface]
        return port

    def _attach(self, bridge: str, ports: list[Any]) -> None:
        if bridge not in self._replica.rows["Bridge"]:
            self._bridges[bridge].ports = ports
            return
        for port in ports:
            self._bridges[bridge].addvalue("ports", port)

    def _remove(self, name: str) -> None:
        """To take a port from a bridge that has it not is no error, and asking which one has it costs more."""
        port = self._replica.rows["Port"].get(name)
        for bridge in self._replica.rows["Bridge"].values():
            if port is not None and self._replica.is_ours(bridge):
                bridge.delvalue("ports", port)


def _fill_bridge(row: Any, desired: BridgeRow) -> None:
    row.datapath_type = desired.datapath_type
    row.fail_mode = desired.fail_mode
    row.protocols = sorted(desired.protocols)
    row.other_config = dict(desired.other_config)
    row.external_ids = dict(desired.external_ids)


def _fill_interface(row: Any, desired: PortRow) -> None:
    row.type = desired.type
    row.options = dict(desired.options)
    row.external_ids = dict(desired.external_ids)
    row.ofport_request = [] if desired.ofport_request is None else desired.ofport_request
    row.mtu_request = [] if desired.mtu_request is None else desired.mtu_request
