"""The schema API of database SDN, in ovsdbapp's shape.

Enters: a Model, facts. Leaves: commands, to be executed alone or together in a transaction. Never: a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ovsdbapp import api
from ovsdbapp.backend.ovs_idl import Backend

from sdn.store.commands import ApplyModel, Change, Observed, Report, Settle


class StoreApi(Backend, api.API):  # type: ignore[misc]
    """Of one connection. ovsdbapp's own keeps it in the class, where all instances would share the first one."""

    schema = "SDN"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        super().__init__(connection, auto_index=False)

    @property
    def ovsdb_connection(self) -> Any:
        return self._connection

    @ovsdb_connection.setter
    def ovsdb_connection(self, connection: Any) -> None:
        self._connection = connection

    def apply_model(self, change: Change) -> ApplyModel:
        return ApplyModel(self, change)

    def settle(self, revision: int, errors: Sequence[str], flows: Sequence[tuple[int, float]]) -> Settle:
        return Settle(self, revision, errors, flows)

    def report(self, observed: Observed) -> Report:
        return Report(self, observed)
