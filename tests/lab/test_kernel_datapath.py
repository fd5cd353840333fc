"""Lab tests once more, with the kernel's own datapath of Open vSwitch and its own VLAN devices.

What runs elsewhere in userspace and with eBPF runs here as it does on an ordinary host. A choice of them: the machine
is slow where its processor is emulated.
"""

from __future__ import annotations

import pytest

import sdn.lab
from tests.lab.conftest import Labs
from tests.lab.labs import TOPOLOGIES
from tests.lab.test_examples import check_apply_changes_nothing
from tests.lab.test_wire import TestEncapsulation, TestReplication, TestSize, wire

__all__ = ["TestEncapsulation", "TestReplication", "TestSize", "wire"]

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("name", ["overlay", "segments", "trunk"])
def test_example(lab: Labs, name: str) -> None:
    path = TOPOLOGIES / f"{name}.yaml"
    example = lab(path)
    assert sdn.lab.status(example.name).troubles == ()
    assert {host.datapath_type for host in example.facts.hosts.values()} == {"system"}
    assert [verdict.test.name for verdict in example.test() if not verdict.passed] == []
    check_apply_changes_nothing(example, path)
