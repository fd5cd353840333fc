"""Random topologies in real labs: real packets reach exactly whom the intent says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from datapath.probe import Probe, run
from datapath.spec import namespace
from sdn import lab
from sdn.model import Model, Port
from tests.topologies import KINDS, WITHOUT_GRE, families, files, intended, model_of, walk

pytestmark = pytest.mark.lab
NAME = "trandom"


def probes(model: Model) -> list[Probe]:
    """Every pair of ports in one network, in every family, has to answer."""
    ports = list(model.ports.values())
    return [
        Probe(namespace(model.lab, a.node), x, namespace(model.lab, b.node), y, within=5.0)
        for a in ports
        for b in ports
        if intended(a, b) and a.node != b.node and single_homed(model, a, b)
        for version in families(a, b)
        for x in a.ips
        for y in b.ips
        if x.version == y.version == version
    ]


def single_homed(model: Model, *ports: Port) -> bool:
    """Where a node has two ports in one network its kernel answers by either: that is routing, not switching."""
    return all(
        sum(other.node == port.node and other.network == port.network for other in model.ports.values()) == 1
        for port in ports
    )


@pytest.mark.parametrize("linux", [False, True], ids=["ovs", "linux"])
def test_packets_go_where_the_intent_says(run_directories: set[Any], linux: bool) -> None:
    """One lab goes from topology to topology, which tests that too; with `linux`, chassis change their kind as well."""
    answered = 0

    @walk(20)
    @given(files(nodes_at_least=6, kinds=WITHOUT_GRE if linux else KINDS, linux=linux))
    def one(file: dict[str, Any]) -> None:
        nonlocal answered
        before, _ = lab.snapshot(NAME) if lab.is_running(NAME) else (None, None)
        model = model_of({**file, "name": NAME}, previous=before)
        lab.up(model, timeout=30)
        outcomes = run(probes(model))
        failed = [outcome for outcome in outcomes if not outcome.passed]
        assert not failed, failed[:3]
        answered += len(outcomes)

    run_directories.add(lab.run_dir(NAME))
    one()
    assert answered > 100


@pytest.fixture(autouse=True, scope="module")
def taken_down(run_directories: set[Any]) -> Any:
    yield
    lab.down(NAME)
    run_directories.discard(lab.run_dir(NAME))
