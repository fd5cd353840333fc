"""The two things that are written to the store, as ovsdbapp commands: intent and facts.

Enters: a Model, or fact columns of rows. Leaves: the operations of one transaction on the replica's present state.
Never: an operation for what is already so; without operations ovsdbapp sends no transaction.

ovsdbapp runs a command again, on newer rows, when another writer was faster ("wait" of RFC 7047 section 5.2.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ovsdbapp.backend.ovs_idl.command import BaseCommand

from datapath.plan import diff
from sdn.model import Model
from sdn.model.facts import FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.store.objects import Row
from sdn.store.operations import operations, to_json, update
from sdn.store.replica import Replica
from sdn.store.rows import flow_facts_row, guest_facts_row, host_facts_row, port_facts_row, rows_that_differ


class ApplyModel(BaseCommand):  # type: ignore[misc]
    """Makes the intent rows those of a Model. The result is the revision, a new one if `anew` says so."""

    def __init__(self, api: Any, desired: Model, anew: bool) -> None:
        super().__init__(api)
        self.desired = desired
        self.anew = anew

    def run_idl(self, txn: Any) -> None:
        replica: Replica = self.api.idl
        present = replica.model
        revision = present.revision if present else 0
        steps = diff(*rows_that_differ(self.desired, present))
        differs = bool(steps) or self.anew
        self.result = revision + differs
        if differs:
            for operation in operations(steps, replica.uuids, revision):
                txn.add_op(operation)


class Report(BaseCommand):  # type: ignore[misc]
    """Writes the facts that differ; rows that are gone are left out. The result is how many were written."""

    def __init__(
        self,
        api: Any,
        flows: Mapping[str, FlowFacts],
        hosts: Mapping[str, HostFacts],
        ports: Mapping[str, PortFacts],
        guests: Mapping[str, GuestFacts],
    ) -> None:
        super().__init__(api)
        self.flows, self.hosts, self.ports, self.guests = flows, hosts, ports, guests

    def run_idl(self, txn: Any) -> None:
        facts = self.api.idl.facts
        self.result = 0
        for name, flow in self.flows.items():
            if facts.flows.get(name) != flow:
                self._write(txn, "Chassis", name, flow_facts_row(flow))
        for name, host in self.hosts.items():
            if facts.hosts.get(name) != host:
                self._write(txn, "Chassis", name, host_facts_row(host))
        for name, port in self.ports.items():
            if facts.ports.get(name) != port:
                self._write(txn, "Port", name, port_facts_row(port))
        for name, guest in self.guests.items():
            if facts.guests.get(name) != guest:
                self._write(txn, "Guest", name, guest_facts_row(guest))

    def _write(self, txn: Any, table: str, name: str, row: Row) -> None:
        uuid = self.api.idl.uuids.get((table, name))
        if uuid is not None:
            txn.add_op(update(table, ["uuid", str(uuid)], to_json(row, {})))
            self.result += 1
