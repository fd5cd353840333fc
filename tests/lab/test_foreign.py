"""What is not ours: namespaces, ports and flows of others are named where they are in the way, and left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sdn.lab
from datapath.errors import SdnError
from datapath.linux.namespaces import DIRECTORY
from datapath.spec import INTEGRATION_BRIDGE
from sdn.model import Model
from tests.converge.truth import differences, links, ports
from tests.lab.conftest import Labs
from tests.lab.labs import Lab, run
from tests.lab.lives import BASE, unbuilt, with_changes
from tests.lab.processes import FORKED, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab
__all__ = ["unbuilt"]


@pytest.fixture
def foreign() -> Iterator[Callable[[str], str]]:
    """Makes namespaces without our mark."""
    made: list[str] = []

    def make(name: str) -> str:
        run("ip", "netns", "add", name)
        made.append(name)
        return name

    yield make
    for name in made:
        run("ip", "netns", "delete", name)


def test_down_leaves_what_is_not_ours(unbuilt: Lab, foreign: Callable[[str], str]) -> None:
    """A name that begins as ours do is no mark."""
    unbuilt.up(BASE)
    beside = foreign(unbuilt.namespace("foreign"))
    run("ip", "-n", beside, "link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
    process = subprocess.Popen(["ip", "netns", "exec", beside, "sleep", "60"])
    try:
        unbuilt.apply(with_changes(lambda t: t["nodes"].pop("w3")))
        assert unbuilt.down()
        assert set(links(beside)) == {"lo", "v0", "v1"}
        assert process.poll() is None
        assert unbuilt.leftovers() == [beside]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["", "hv2", "n2"])
def test_a_namespace_in_the_way(unbuilt: Lab, name: str) -> None:
    """It is named, and left alone; when it has gone the lab comes up by itself."""
    taken = unbuilt.namespace(name)
    run("ip", "netns", "add", taken)
    inode = (DIRECTORY / taken).stat().st_ino
    try:
        with pytest.raises(SdnError, match=rf"{taken}\b.* is not ours"):
            unbuilt.up(BASE)
        assert any(taken in trouble for trouble in sdn.lab.status(unbuilt.name).troubles)
        assert (DIRECTORY / taken).stat().st_ino == inode
        assert set(links(taken)) == {"lo"}
    finally:
        run("ip", "netns", "delete", taken)
    eventually(lambda: whole(unbuilt), within=15)
    assert differences(unbuilt) == []


FOREIGN_FLOW = "table=0,priority=65000,dl_type=0x88b5,cookie=0x1234,actions=drop"


def test_ports_and_flows_of_others_stay(lab: Labs) -> None:
    """On our own bridge, through changes and new agents and controllers."""
    running = lab(BASE)
    running.vsctl("hv1", "add-port", INTEGRATION_BRIDGE, "mine", "--", "set", "interface", "mine", "type=internal")
    running.vsctl("hv1", "add-br", "br-mine")
    running.ofctl("hv1", "add-flow", FOREIGN_FLOW)
    running.apply(with_changes(lambda t: t["nodes"].update(n3={"network": "lan", "chassis": "hv1"})))
    for name in FORKED:
        killed = kill(pid_of(running, name))
        eventually(lambda: pid_of(running, name) not in (0, killed) and whole(running))  # noqa: B023
    running.apply(BASE)
    assert "mine" in running.vsctl("hv1", "list-ports", INTEGRATION_BRIDGE).split()
    assert "mine" not in ports(running, "hv1")
    assert "br-mine" in running.vsctl("hv1", "list-br").split()
    assert [flow for flow in running.flows("hv1") if flow.flow.cookie == 0x1234]
    assert differences(running) == []


def test_a_port_in_the_way(lab: Labs) -> None:
    """Somebody's port has the name that one of ours will have: said, and left alone."""
    running = lab(with_changes(lambda t: t["nodes"].pop("w1")))
    model = running.parse(BASE, running.model)
    taken = next(i.bridge_port for i in sdn_interfaces(model) if i.node == "w1")
    running.vsctl("hv1", "add-port", INTEGRATION_BRIDGE, taken, "--", "set", "interface", taken, "external_ids:by=user")
    with pytest.raises(SdnError, match=rf"{taken}\b.* is not ours"):
        running.apply(BASE)
    assert "user" in running.vsctl("hv1", "get", "interface", taken, "external_ids:by")
    running.ping("n1", "n2")
    running.vsctl("hv1", "del-port", taken)
    eventually(lambda: whole(running), within=15)
    assert differences(running) == []


def sdn_interfaces(model: Model) -> list[Any]:
    from sdn.compile import host_specs

    return [interface for spec in host_specs(model, model.ports).values() for interface in spec.interfaces]
