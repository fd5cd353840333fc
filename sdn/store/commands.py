"""What is written to the store, as ovsdbapp commands: intent with its history, how a revision ended, and facts.

Enters: a Model, or fact columns of rows. Leaves: the operations of one transaction on the replica's present state.
Never: an operation for what is already so; without operations ovsdbapp sends no transaction.

ovsdbapp runs a command again, on newer rows, when another writer was faster ("wait" of RFC 7047 section 5.2.6).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ovsdbapp.backend.ovs_idl.command import BaseCommand

from datapath.errors import StaleError
from datapath.plan import diff
from sdn.bounds import REVISIONS_KEPT
from sdn.model import Model
from sdn.model.facts import Drift, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.store.history import REVISION, revision_row
from sdn.store.objects import Row
from sdn.store.operations import delete_where, guard, insert, operations, settling, to_json, update
from sdn.store.replica import Replica
from sdn.store.rows import (
    DRIFT,
    LAB,
    Key,
    drift_row,
    flow_facts_row,
    guest_facts_row,
    host_facts_row,
    port_facts_row,
    rows_that_differ,
)

KEPT_DRIFTS: Final = 200


@dataclass(frozen=True)
class Change:
    """A Model that shall be the intent, who wants it, and by which command. It counts only if the store is still at
    revision `expected`, if that is not None. `anew`: it is a new revision even if nothing differs."""

    desired: Model
    author: str
    origin: str
    expected: int | None = None
    anew: bool = False


class ApplyModel(BaseCommand):  # type: ignore[misc]
    """Makes the intent rows those of a Model. The result is the revision, a new one if anything differs.

    Raises StaleError, also where another writer was faster and it is run again.
    """

    def __init__(self, api: Any, change: Change) -> None:
        super().__init__(api)
        self.change = change

    def run_idl(self, txn: Any) -> None:
        replica: Replica = self.api.idl
        present, change = replica.model, self.change
        revision = present.revision if present else 0
        if change.expected not in (None, revision):
            raise StaleError(change.expected, revision)
        steps = diff(*rows_that_differ(change.desired, present))
        differs = bool(steps) or change.anew
        self.result = revision + differs
        if not differs and change.expected is not None:
            txn.add_op(guard(revision, LAB in replica.uuids))  # the replica may lag behind what the store has
        if differs:
            for operation in operations(steps, replica.uuids, revision):
                txn.add_op(operation)
            row = revision_row(self.result, time.time(), change.author, change.origin, steps)
            txn.add_op(insert(REVISION, row))
            if self.result > REVISIONS_KEPT:
                txn.add_op(delete_where(REVISION, ["number", "<=", self.result - REVISIONS_KEPT]))


class Settle(BaseCommand):  # type: ignore[misc]
    """Says of all revisions up to one that they are confirmed by now, unless that has been said before."""

    def __init__(self, api: Any, revision: int, errors: Sequence[str], flows: Sequence[tuple[int, float]]) -> None:
        super().__init__(api)
        self.revision, self.errors, self.flows = revision, errors, flows

    def run_idl(self, txn: Any) -> None:
        for operation in settling(REVISION, self.revision, tuple(self.errors), self.flows, time.time()):
            txn.add_op(operation)
        self.result = self.revision


@dataclass(frozen=True)
class Observed:
    """Facts by kind and name."""

    flows: Mapping[str, FlowFacts] = field(default_factory=dict)
    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
    ports: Mapping[str, PortFacts] = field(default_factory=dict)
    guests: Mapping[str, GuestFacts] = field(default_factory=dict)
    drifts: Mapping[str, Drift] = field(default_factory=dict)


class Report(BaseCommand):  # type: ignore[misc]
    """Writes the facts that differ; rows that are gone are left out. The result is how many were written."""

    def __init__(self, api: Any, observed: Observed) -> None:
        super().__init__(api)
        self.observed = observed

    def run_idl(self, txn: Any) -> None:
        uuids = self.api.idl.uuids
        self.result = 0
        for key, row in self._that_differ():
            if key in uuids:
                txn.add_op(update(key[0], ["uuid", str(uuids[key])], to_json(row, {})))
            elif key[0] == DRIFT:
                txn.add_op(insert(DRIFT, {"name": key[1]} | row))
            else:
                continue
            self.result += 1
        for name in self._drifts_too_many():
            txn.add_op(delete_where(DRIFT, ["name", "==", name]))

    def _that_differ(self) -> Iterator[tuple[Key, Row]]:
        facts, told = self.api.idl.facts, self.observed
        for name, flow in told.flows.items():
            if facts.flows.get(name) != flow:
                yield ("Chassis", name), flow_facts_row(flow)
        for name, host in told.hosts.items():
            if facts.hosts.get(name) != host:
                yield ("Chassis", name), host_facts_row(host)
        for name, port in told.ports.items():
            if facts.ports.get(name) != port:
                yield ("Port", name), port_facts_row(port)
        for name, guest in told.guests.items():
            if facts.guests.get(name) != guest:
                yield ("Guest", name), guest_facts_row(guest)
        for name, drift in told.drifts.items():
            if facts.drifts.get(name) != drift:
                yield (DRIFT, name), drift_row(drift)

    def _drifts_too_many(self) -> list[str]:
        """Those found first, when these have been told."""
        if not self.observed.drifts:
            return []
        known = {**self.api.idl.facts.drifts, **self.observed.drifts}
        return sorted(known, key=lambda name: known[name].found)[:-KEPT_DRIFTS]
