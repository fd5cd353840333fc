"""What we do ourselves is no drift: random topologies, one after the other in one lab, and learned flows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from scapy.layers.l2 import Dot1Q, Ether

from sdn import lab
from sdn.lab.rundir import RunDir
from sdn.pipeline.layout import Table
from tests.conftest import RunDirectories
from tests.lab.conftest import Labs
from tests.lab.drifts import drifts
from tests.lab.labs import Lab, run
from tests.topologies import KINDS, WITHOUT_GRE, files, model_of, walk

pytestmark = pytest.mark.lab
NAME = "town"


@pytest.fixture
def own(run_directories: RunDirectories) -> Iterator[None]:
    run_directories.add(RunDir(NAME).path)
    yield
    lab.down(NAME)
    run_directories.discard(RunDir(NAME).path)


@pytest.mark.parametrize("linux", [False, True], ids=["ovs", "linux"])
@pytest.mark.usefixtures("own")
def test_fifty_changes_of_ours_are_no_drift(linux: bool) -> None:
    @walk(50)
    @given(files(nodes_at_least=4, kinds=WITHOUT_GRE if linux else KINDS, linux=linux))
    def one(file: dict[str, Any]) -> None:
        before, _ = lab.snapshot(NAME) if lab.is_running(NAME) else (None, None)
        lab.up(model_of({**file, "name": NAME}, previous=before), timeout=30)
        assert drifts(Lab(NAME)) == []

    one()


OFFICE = """
chassis: {hv1: {}, hv2: {}}
physnets: {office: {}}
networks: {desk: {segment: {vlan: 120, physnet: office}, subnets: [10.8.0.0/24], unknown_unicast: flood}}
nodes:
  a: {network: desk, chassis: hv1}
  b: {network: desk, chassis: hv2}
"""


def test_learned_flows_come_and_go_unremarked(lab: Labs) -> None:
    running = lab(OFFICE)
    outside = running.physnet_bridge("office")

    def learned() -> int:
        return sum(stats.flow.table == Table.LEARNED and bool(stats.flow.match) for stats in running.flows("hv1"))

    run("ip", "-n", running.namespace(), "link", "add", "sdnt0", "type", "veth", "peer", "name", "sdnt1")
    run("ip", "-n", running.namespace(), "link", "set", "sdnt1", "master", outside, "up")
    run("ip", "-n", running.namespace(), "link", "set", "sdnt0", "up")
    frames = [
        Ether(src=f"02:00:00:00:01:{n:02x}", dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=120) / b"hello" for n in range(20)
    ]
    running.send("", *frames, device="sdnt0")
    running.settle()
    assert learned() >= 20
    running.ofctl("hv1", "del-flows", "table=44,dl_dst=02:00:00:00:01:00/ff:ff:ff:ff:ff:00")
    assert learned() == 0
    running.apply(OFFICE + "  c: {network: desk, chassis: hv1}\n")
    assert drifts(running) == []
