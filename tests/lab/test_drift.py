"""What somebody changed behind our back: `sdn up` looks at everything and puts it right; a store that cannot be started
is tried again until it can."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sdn.lab
from tests.lab.conftest import Labs
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
"""

Damage = Callable[[Lab], object]
DAMAGES: dict[str, Damage] = {
    "flows": lambda lab: lab.ofctl("hv1", "del-flows"),
    "tunnel port": lambda lab: lab.vsctl("hv1", "del-port", "br-int", "vxlan"),
    "addresses": lambda lab: run("ip", "-n", lab.namespace("b"), "address", "flush", "dev", "eth0"),
    "namespace": lambda lab: run("ip", "netns", "delete", lab.namespace("b")),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_up_repairs(what: str, lab: Labs) -> None:
    running = lab(TOPOLOGY)
    DAMAGES[what](running)
    assert not running.up(TOPOLOGY).changed, "the file is the same"
    assert running.mesh() == []
    assert sdn.lab.status(running.name).troubles == ()


def test_a_store_that_cannot_be_started_is_tried_again(lab: Labs) -> None:
    """Its file is in the way of nobody but itself: a full disk, a repair."""
    running = lab(TOPOLOGY)
    file, away = running.run.path / "store.db", running.run.path / "store.db.away"
    file.rename(away)
    file.mkdir()
    kill(pid_of(running, "store"))
    eventually(lambda: "store cannot be started" in running.log("supervisor"))
    file.rmdir()
    away.rename(file)
    eventually(lambda: whole(running), within=15)
