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


def test_a_trunks_networks_are_devices_of_8021q(lab: Labs) -> None:
    trunk = lab(TOPOLOGIES / "trunk.yaml")
    tagged = [port for port in trunk.model.ports.values() if port.tag is not None]
    assert len(tagged) == 4
    shown = trunk.execute("fw", "ip", "-details", "link", "show", "type", "vlan")
    for port in tagged:
        assert f"eth0.{port.tag}@eth0" in shown
        assert f"vlan protocol 802.1Q id {port.tag} " in shown
