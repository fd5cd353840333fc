"""What is read of a replica while its connection's thread goes on writing it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from datapath.ovs.database import Switch
from datapath.ovs.replica import PortFact
from datapath.ovs.rows import INDEX_MARK, PortRow


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
