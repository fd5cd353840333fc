"""A lab's life: `up` killed half-way, labs side by side, what is not ours, changes while others go on, drift.

Whatever was left half-done the next `up` completes and `down` removes; nothing of others is touched.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import sdn.lab
from datapath.errors import SdnError, TransientError
from datapath.linux.namespaces import DIRECTORY
from datapath.openflow.flow import Flow
from datapath.openflow.text import format_match
from datapath.spec import INTEGRATION_BRIDGE, alias
from sdn.lab import rundir
from sdn.model import Model
from sdn.pipeline.fields import COOKIE_MARK
from tests.conftest import RunDirectories
from tests.converge.truth import differences, links, ports
from tests.lab.conftest import Labs
from tests.lab.labs import ROOT, Lab, named, run, unique_name, written
from tests.lab.pinger import pinging
from tests.lab.processes import FORKED, await_end, daemon, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab

Topology = dict[str, Any]

BASE: Topology = {
    "chassis": {"hv[1-2]": {}},
    "physnets": {"office": {}},
    "networks": {
        "lan": {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"},
        "web": {"segment": {"nvgre": 5000}, "subnet": "10.9.0.0/24"},
        "desk": {"segment": {"vlan": 20, "physnet": "office"}, "subnet": "10.8.0.0/24"},
    },
    "nodes": {
        "n1": {"network": "lan", "chassis": "hv1"},
        "n2": {"network": "lan", "chassis": "hv2"},
        "d1": {"network": "desk", "chassis": "hv1"},
        "d2": {"network": "desk", "chassis": "hv2"},
        "w1": {"network": "web", "chassis": "hv1", "ip": "10.9.0.11"},
        "w2": {"network": "web", "chassis": "hv2", "ip": "10.9.0.12"},
        "w3": {"network": "web", "chassis": "hv2", "ip": "10.9.0.13"},
    },
}


def with_changes(change: Callable[[Topology], object]) -> Topology:
    """BASE with a change made in place."""
    changed = deepcopy(BASE)
    change(changed)
    return changed


@pytest.fixture
def unbuilt(run_directories: RunDirectories) -> Iterator[Lab]:
    """A lab that the test brings up itself, or half of it."""
    lab = Lab(unique_name())
    run_directories.add(lab.run.path)
    try:
        yield lab
    finally:
        run_directories.discard(lab.run.path)
        lab.down()
        assert left_of(lab) == []


def left_of(lab: Lab) -> list[str]:
    """Namespaces, processes, files; also those beside the lab's own directory."""
    return lab.leftovers() + [str(path) for path in rundir.base().glob(f".{lab.name}*")]


# ── half-way ──


class HalfUp:
    """`up` in a process of its own."""

    def __init__(self, lab: Lab, directory: Path, topology: Topology, timeout: float = 30.0) -> None:
        file = directory / f"{lab.name}.yaml"
        file.write_text(named(written(topology)[0], lab.name))
        command = [sys.executable, "-m", "tests.lab.half_up", str(file), str(timeout)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def reaches(self, phase: str) -> bool:
        """Returns when it says so, False when it ended without."""
        assert self.process.stdout is not None
        return any(line.strip() == phase for line in self.process.stdout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


PHASES = ("start 0/1", "start 1/1", "chassis 0/2", "chassis 1/2", "chassis 2/2")
RANDOM = random.Random(20261121)
DELAYS = tuple(round(RANDOM.uniform(0.0, 0.35), 3) for _ in range(10))
"""Seconds after "start 0/1", before which nothing of the lab is there; it is whole after some 0.4."""


@pytest.fixture
def half(unbuilt: Lab, tmp_path: Path) -> Iterator[Callable[..., HalfUp]]:
    started: list[HalfUp] = []

    def start(topology: Topology = BASE, timeout: float = 30.0) -> HalfUp:
        started.append(HalfUp(unbuilt, tmp_path, topology, timeout))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("phase", PHASES)
def test_up_killed_at_a_phase(unbuilt: Lab, half: Callable[..., HalfUp], phase: str) -> None:
    killed = half()
    killed.reaches(phase)  # the last ones may be skipped: chassis that confirm together
    killed.kill()
    completed(unbuilt)


@pytest.mark.parametrize("delay", DELAYS)
def test_up_killed_after_a_while(unbuilt: Lab, half: Callable[..., HalfUp], delay: float) -> None:
    killed = half()
    assert killed.reaches("start 0/1")
    time.sleep(delay)
    killed.kill()
    completed(unbuilt)


@pytest.mark.parametrize("delay", DELAYS[::2])
def test_up_killed_after_a_while_and_down(unbuilt: Lab, half: Callable[..., HalfUp], delay: float) -> None:
    killed = half()
    assert killed.reaches("start 0/1")
    time.sleep(delay)
    killed.kill()
    patiently(unbuilt.down)
    assert left_of(unbuilt) == []


@pytest.mark.parametrize("delay", DELAYS[::2])
def test_up_and_its_supervisor_killed(unbuilt: Lab, half: Callable[..., HalfUp], delay: float) -> None:
    """And with it controller and agent, in the midst of their work."""
    killed = half()
    assert killed.reaches("start 1/1")
    children = [pid_of(unbuilt, name) for name in FORKED]
    supervisor = pid_of(unbuilt, "supervisor")
    time.sleep(delay)
    killed.kill()
    kill(supervisor)
    for pid in children:
        await_end(pid)
    completed(unbuilt)


@pytest.mark.parametrize("delay", DELAYS[1::3])
def test_the_agent_killed_in_the_midst(unbuilt: Lab, half: Callable[..., HalfUp], delay: float) -> None:
    """`up` notices nothing: the supervisor starts the agent again, which finds what the first has made."""
    coming = half()
    assert coming.reaches("start 1/1")
    time.sleep(delay)
    kill(pid_of(unbuilt, "agent"))
    assert coming.process.wait(30) == 0
    assert differences(unbuilt) == []


def test_an_apply_killed_in_the_midst(lab: Labs, tmp_path: Path) -> None:
    """Its intent is in the store as a whole or not at all; what is in the store comes true without it."""
    running = lab(BASE)
    more = with_changes(lambda t: t["nodes"].update({f"more{i}": {"network": "lan"} for i in range(4)}))
    for topology, delay in zip((more, BASE, more, BASE), (0.0, 0.02, 0.05, 0.1), strict=True):
        killed = HalfUp(running, tmp_path, topology)
        killed.reaches("chassis 0/2")
        time.sleep(delay)
        killed.close()
        eventually(lambda: whole(running) and not differences(running))
    assert not running.apply(BASE).changed


def completed(lab: Lab) -> None:
    patiently(lambda: lab.up(BASE))
    assert sdn.lab.status(lab.name).troubles == ()
    assert differences(lab) == []
    lab.ping("n1", "n2")
    assert not lab.apply(BASE).changed
    lab.down()
    assert left_of(lab) == []


def patiently(command: Callable[[], object]) -> None:
    """What was killed a moment ago may hold the lab's lock for another one: that error says to try again."""

    def done() -> bool:
        try:
            command()
        except TransientError:
            return False
        return True

    eventually(done)


# ── several ──


def test_two_labs_of_the_same_file(lab: Labs) -> None:
    """Names, subnets, tunnel ids and VLANs are the same, and neither sees the other."""
    one, other = lab(BASE), lab(BASE)
    with pinging(one, ("n1", "n2"), ("d1", "d2")) as here, pinging(other, ("n1", "n2"), ("d1", "d2")):
        assert one.mesh() == []
        assert other.mesh() == []
        assert other.down()
        assert left_of(other) == []
        for pinger in here:
            pinger.wait(20)
        assert [pinger.stop().lost for pinger in here] == [(), ()]
    assert whole(one)
    assert differences(one) == []


def test_two_commands_at_once(unbuilt: Lab, half: Callable[..., HalfUp]) -> None:
    first = half()
    assert first.reaches("start 0/1")
    os.kill(first.process.pid, signal.SIGSTOP)
    try:
        for command in (lambda: unbuilt.up(BASE), unbuilt.down):
            with pytest.raises(TransientError, match=f"another sdn command is working on lab {unbuilt.name}"):
                command()
    finally:
        os.kill(first.process.pid, signal.SIGCONT)
    assert first.process.wait(30) == 0
    assert differences(unbuilt) == []


# ── what is not ours ──


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


# ── changes while others go on ──

CHANGES: dict[str, Callable[[Topology], object]] = {
    "a node comes": lambda t: t["nodes"].update(w4={"network": "web", "chassis": "hv1"}),
    "a node in the others' network comes": lambda t: t["nodes"].update(n3={"network": "lan", "chassis": "hv1"}),
    "a node goes": lambda t: t["nodes"].pop("w3"),
    "a node moves": lambda t: t["nodes"]["w2"].update(chassis="hv1"),
    "a node is renamed": lambda t: t["nodes"].update(renamed=t["nodes"].pop("w3")),
    "a node has another address": lambda t: t["nodes"]["w2"].update(ip="10.9.0.77"),
    "a node gets a second network": lambda t: t["nodes"].update(
        w1={"chassis": "hv1", "ports": [{"network": "web", "ip": "10.9.0.11"}, {"network": "lan"}]}
    ),
    "a trunk comes": lambda t: t["nodes"].update(fw={"chassis": "hv2", "trunk": {"native": "web", 20: "lan"}}),
    "a network comes": lambda t: (
        t["networks"].update(new={"segment": {"geneve": 7}, "subnet": "10.10.0.0/24"}),
        t["nodes"].update({"g1": {"network": "new", "chassis": "hv1"}, "g2": {"network": "new", "chassis": "hv2"}}),
    ),
    "a network goes": lambda t: (t["networks"].pop("web"), [t["nodes"].pop(f"w{i}") for i in (1, 2, 3)]),
    "a network has another id": lambda t: t["networks"]["web"].update(segment={"nvgre": 5001}),
    "a network has another encapsulation": lambda t: t["networks"]["web"].update(segment={"geneve": 5000}),
    "a network has another MTU": lambda t: t["networks"]["web"].update(mtu=1280),
    "a network gets IPv6": lambda t: t["networks"]["web"].update(subnet=None, subnets=["10.9.0.0/24", "fd00:9::/64"]),
    "a chassis comes": lambda t: (
        t["chassis"].update(hv3={}),
        t["nodes"].update({"w4": {"network": "web", "chassis": "hv3"}, "n3": {"network": "lan", "chassis": "hv3"}}),
    ),
    "the underlay has another MTU": lambda t: t.update(underlay={"mtu": 1600}),
    "a physical network comes": lambda t: (
        t["physnets"].update(floor={}),
        t["networks"].update(flat={"segment": {"flat": "floor"}, "subnet": "10.11.0.0/24"}),
        t["nodes"].update({"f1": {"network": "flat", "chassis": "hv1"}, "f2": {"network": "flat", "chassis": "hv2"}}),
    ),
}


@pytest.fixture(scope="module")
def living(shared_lab: Labs) -> Lab:
    return shared_lab(BASE)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_disturbs_nobody_else(living: Lab, change: str) -> None:
    """There and back again. Nothing that is not concerned is made anew; a second time is no change, and quick."""
    living.up(BASE)
    before = identities(living)
    with pinging(living, ("n1", "n2"), ("d1", "d2")) as pingers:
        for topology in (with_changes(CHANGES[change]), BASE):
            assert living.apply(topology).changed
            assert differences(living) == []
            again = living.apply(topology)
            assert not again.changed
            assert again.seconds < 5.0
            for pinger in pingers:
                pinger.wait(10)
        assert [pinger.stop().lost for pinger in pingers] == [(), ()]
    assert identities(living) == before


def identities(lab: Lab) -> dict[str, object]:
    """Of what no change here concerns: daemons, processes, namespaces, devices."""
    found: dict[str, object] = {name: pid_of(lab, name) for name in ("supervisor", "store", *FORKED)}
    for node in ("n1", "n2", "d1", "d2"):
        space = lab.namespace(node)
        device = links(space)["eth0"]
        found[node] = ((DIRECTORY / space).stat().st_ino, device["ifindex"], device["address"], device["addr_info"])
    for chassis in ("hv1", "hv2"):
        found[chassis] = daemon(lab, chassis, "ovs-vswitchd"), daemon(lab, chassis, "ovsdb-server")
    return found


def test_flows_that_stay_are_not_sent_again(living: Lab) -> None:
    """A flow that is added again begins to count its seconds anew."""
    living.up(BASE)
    before = {stats.flow: stats for stats in living.flows("hv1")}
    living.apply(with_changes(CHANGES["a network comes"]))
    after = {stats.flow: stats for stats in living.flows("hv1")}
    assert set(before) < set(after)
    assert [flow for flow, stats in before.items() if after[flow].duration < stats.duration] == []


def test_an_interface_is_up_only_with_its_flows(living: Lab) -> None:
    """The first packet of a node that has just come gets through."""
    living.up(BASE)
    for _ in range(3):
        living.apply(with_changes(CHANGES["a node comes"]))
        living.ping("w4", "w2")
        living.apply(BASE)


# ── drift ──


def test_drift_is_repaired_when_the_controller_is_back(lab: Labs) -> None:
    """Deleted, changed and added while it hangs. (While it works it is told: tests/lab/test_drift.py.)"""
    running = lab(BASE)
    assert differences(running) == []
    os.kill(hung := pid_of(running, "controller"), signal.SIGSTOP)
    running.ofctl("hv1", "del-flows", "table=0")
    running.ofctl("hv2", "add-flow", f"{match_of(some_flow(running, 'hv2'))},cookie={OURS:#x},actions=drop")
    running.ofctl("hv2", "add-flow", f"table=0,priority=7,dl_type=0x88b5,cookie={OURS:#x},actions=drop")
    assert len(differences(running)) > 3
    kill(hung)
    eventually(lambda: pid_of(running, "controller") not in (0, hung))
    eventually(lambda: not differences(running))
    running.ping("n1", "n2")


def test_a_flow_in_the_place_of_ours_is_told_of(lab: Labs) -> None:
    """It is somebody's, by its cookie: it stays, and the switch is not as it should be as long as it does."""
    running = lab(BASE)
    taken = some_flow(running, "hv2")
    running.ofctl("hv2", "add-flow", f"{match_of(taken)},cookie=0x1234,actions=drop")
    kill(pid_of(running, "controller"))
    eventually(lambda: any("is not ours and stays" in trouble for trouble in troubles(running)))
    assert len(differences(running)) == 1
    running.ofctl("hv2", "del-flows", "cookie=0x1234/-1")
    kill(pid_of(running, "controller"))
    eventually(lambda: not differences(running) and whole(running))


OURS = COOKIE_MARK << 48 | 3 << 40 | 99


def some_flow(lab: Lab, chassis: str) -> Flow:
    """By which a port comes into the pipeline."""
    return next(stats.flow for stats in lab.flows(chassis) if stats.flow.table == 0 and "in_port" in str(stats.flow))


def match_of(flow: Flow) -> str:
    return f"table={flow.table},priority={flow.priority},{format_match(flow.match)}"


def troubles(lab: Lab) -> tuple[str, ...]:
    return sdn.lab.status(lab.name).troubles


def test_devices_behind_its_back(lab: Labs) -> None:
    """What somebody took away of ours is put back by the next change or by a new agent."""
    running = lab(BASE)
    assert links(running.namespace("w3"))["eth0"]["ifalias"] == alias(running.name, "w3:eth0")
    run("ip", "-n", running.namespace("w3"), "link", "delete", "eth0")
    run("ip", "-n", running.namespace("w2"), "address", "flush", "dev", "eth0")
    run("ip", "netns", "delete", running.namespace("w1"))
    killed = kill(pid_of(running, "agent"))
    eventually(lambda: pid_of(running, "agent") not in (0, killed))
    eventually(lambda: not differences(running))
    running.ping("w1", "w3")
    running.ping("w2", "w3")
