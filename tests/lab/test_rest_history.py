"""History and the way back on a real lab: who did what and how it ended; flows, addresses and MACs as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from datapath.errors import StaleError
from sdn.cli.main import main
from sdn.client import Client
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.processes import eventually

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}
  db: {segment: {nvgre: 5008}, subnet: 10.8.0.0/24}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
  c: {ports: [{network: db}, {network: web}], chassis: hv2}
"""


@pytest.fixture
def running(lab: Labs) -> Lab:
    return lab(TOPOLOGY)


@pytest.fixture
def client(running: Lab) -> Iterator[Client]:
    with Client.of(running.name) as opened:
        yield opened


def flows(lab: Lab) -> dict[str, list[str]]:
    """Byte for byte, without counters; the order in which a switch tells them is its own."""
    return {name: sorted(lab.ofctl(name, "dump-flows", "--no-stats").splitlines()) for name in lab.model.chassis}


def interfaces(lab: Lab) -> dict[str, Any]:
    """MACs and addresses as the nodes' kernels have them."""
    found = {}
    for node in lab.model.nodes:
        links = json.loads(lab.execute(node, "ip", "-json", "address"))
        found[node] = {
            link["ifname"]: (link["address"], link["mtu"], sorted(each["local"] for each in link["addr_info"]))
            for link in links
        }
    return found


def test_the_way_back_restores_everything(running: Lab, client: Client) -> None:
    model, before, as_built = running.model, flows(running), interfaces(running)
    client.patch("network", "web", {"mtu": 1300, "unknown_unicast": "flood"}, wait="whole")
    client.delete("node", "b", wait="whole")
    client.create("node", "d", {"network": "db", "chassis": "hv1"}, wait="whole")
    client.patch("port", "a:eth0", {"ip": ["10.9.0.99"]}, wait="whole")
    client.patch("node", "c", {"chassis": "hv1"}, wait="whole")
    assert flows(running) != before
    done = client.rollback(1, wait="whole")
    assert done.applied
    assert done.applied.missing == ()
    assert running.model == model.with_revision(done.revision)
    assert flows(running) == before
    assert interfaces(running) == as_built
    assert running.mesh() == []


def test_the_way_back_is_a_revision_and_can_be_undone(running: Lab, client: Client) -> None:
    client.create("node", "d", {"network": "db", "chassis": "hv1"}, wait="whole")
    changed, addresses = flows(running), interfaces(running)
    client.rollback(1, wait="whole")
    assert "d" not in running.model.nodes
    assert client.rollback(2, wait="whole").revision == 4
    assert (flows(running), interfaces(running)) == (changed, addresses)
    assert [revision.origin for revision in client.revisions(2)] == ["rollback to 2", "rollback to 1"]
    assert client.diff(2)[2] == ()


def test_the_history_says_who_did_what_and_how_it_ended(
    running: Lab, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "bob")
    with Client.of(running.name) as of_bob:
        of_bob.create("node", "d", {"network": "db", "chassis": "hv1"}, wait="whole")
    running.apply(TOPOLOGY)
    eventually(lambda: all(revision.settled for revision in client.revisions()))
    revisions = list(client.revisions())
    assert [revision.author for revision in revisions] == ["bob", "bob", "root"]
    assert revisions[1].origin == "POST /v1/nodes"
    assert revisions[1].changes["nodes"].added == 1
    assert all(revision.errors == () for revision in revisions)
    assert all(revision.seconds is not None and 0 < revision.seconds < 30 for revision in revisions)
    plan = client.plan_of(2)
    assert ("hv1", "add", "node d") in {(step.where, step.verb, step.what) for step in plan.steps}
    assert plan.flows["hv1"][0] > 0


def test_the_command_does_it(running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab = ("--lab", running.name)
    assert main(["create", "node", "d", "network=db", "chassis=hv1", "--wait", *lab]) == 0
    assert "node d is stored, confirmed after" in capsys.readouterr().out
    assert main(["rollback", "1", *lab]) == 0
    out = capsys.readouterr().out
    assert "-  hv1    node d" in out
    assert "the lab is as in revision 1 again" in out
    assert "d" not in running.model.nodes
    assert main(["rollback", "1", *lab]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["history", *lab]) == 0
    assert f"sdn rollback 1 --lab {running.name}" in capsys.readouterr().out


def test_what_was_planned_is_what_is_done(running: Lab, client: Client) -> None:
    """Somebody changes the lab between the plan and the way back: it is not overwritten."""
    client.create("node", "d", {"network": "db", "chassis": "hv1"})
    asked = client.rollback(1, dry_run=True)
    client.create("node", "e", {"network": "db", "chassis": "hv1"})
    with pytest.raises(StaleError):
        client.rollback(1, if_match=f'"{asked.revision}"')
    assert "e" in running.model.nodes
