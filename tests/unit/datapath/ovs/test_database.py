"""What is read of a replica while its connection's thread goes on writing it; one that hangs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.errors import TransientError
from datapath.ovs import database
from datapath.ovs.database import Switch
from datapath.ovs.replica import PortFact
from datapath.ovs.rows import INDEX_MARK, PortRow

# isort: split
from ovsdbapp.exceptions import TimeoutException


def row(index: str) -> PortRow:
    return PortRow("br-int", "", 64, (), ((INDEX_MARK, index),), None)


@pytest.mark.parametrize(
    ("facts", "stale"),
    [({"p1": PortFact(-1, "no such device")}, {"p1"}), ({"p1": PortFact(64, "")}, set()), ({}, set())],
)
def test_a_port_that_goes_meanwhile_is_not_stale(facts: dict[str, PortFact], stale: set[str]) -> None:
    switch = Switch.__new__(Switch)
    switch.idl = SimpleNamespace(seen={"p1": row("7")}, facts=facts)  # type: ignore[assignment]
    assert switch._stale({"p1": row("7")}) == stale


def test_a_database_that_hangs_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise TimeoutException()  # as idlutils.wait_for_change() does: one that has no words

    def connect(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(idl=None, start=start)

    monkeypatch.setattr(database.ovsdb, "connect", connect)
    with pytest.raises(TransientError, match=r"has not answered within 10 s"):
        Switch(Path("db.sock"), "lab", {}, None)  # type: ignore[arg-type]
