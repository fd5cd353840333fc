"""Where the probes of the file's tests are sent and answered: in namespaces, and in guests by their agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdn import topology
from sdn.lab import pairs

FILE = """
name: lab1
chassis: {hv1: {}}
networks: {web: {segment: {vxlan: 100}, subnet: 10.50.0.0/24}}
nodes: {n1: {network: web}}
guests: {g1: {network: web}, g2: {network: web}}
tests: {web: {from: [n1, g*], to: [n1, g*], tcp: 80}}
"""


@pytest.fixture(autouse=True)
def run_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    return tmp_path


def test_each_end_is_where_it_is(run_dir: Path) -> None:
    model = topology.parse(FILE, "lab1.yaml")
    agents = {name: run_dir / "lab1" / "guests" / name / "agent.sock" for name in ("g1", "g2")}
    probes = {
        (check.source.node, check.target.node): check.probe for check in pairs.checks(model, model.tests.values())
    }
    assert len(probes) == 6
    there, back, between = probes["n1", "g1"], probes["g1", "n1"], probes["g1", "g2"]
    assert (there.namespace, there.source_guest) == ("sdn-lab1-n1", None)
    assert (there.target_namespace, there.target_guest) == (None, agents["g1"])
    assert (back.source_guest, back.target_namespace, back.target_guest) == (agents["g1"], "sdn-lab1-n1", None)
    assert (between.source_guest, between.target_guest) == (agents["g1"], agents["g2"])


def test_the_mesh_has_guests() -> None:
    model = topology.parse(FILE, "lab1.yaml")
    assert {check.source.node for check in pairs.mesh(model)} == {"n1", "g1", "g2"}
