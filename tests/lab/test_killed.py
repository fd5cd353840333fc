"""Killed while it works: a ping every 10 ms goes on between chassis while each process of the lab is killed or hangs.

Flows outlive the controller, switches outlive the agent and the supervisor, and whatever died is back by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import sdn.lab
from datapath.errors import CheckError
from datapath.turns import PATIENCE
from sdn.lab.supervisor import STEADY
from sdn.model.facts import NO_ANSWER
from sdn.southbound.session import Timers
from tests.converge.truth import differences
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.pinger import Pings, pinging
from tests.lab.processes import (
    FORKED,
    PAIR,
    SUPERVISED,
    await_end,
    daemon,
    disconnected,
    eventually,
    everything,
    kill,
    pid_of,
    stopped,
    whole,
)

pytestmark = pytest.mark.lab

CHASSIS = ("hv1", "hv2", "hv3")


def topology(nodes: int = 3) -> dict[str, Any]:
    """A tunnelled and a VLAN network on three chassis: pings of both kinds, one of which only hv3 has no part in."""
    return {
        "chassis": {"hv[1-3]": {}},
        "physnets": {"office": {}},
        "networks": {
            "lan": {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"},
            "desk": {"segment": {"vlan": 20, "physnet": "office"}, "subnet": "10.8.0.0/24"},
        },
        "nodes": {f"n[1-{nodes}]": {"network": "lan"}, "d[1-2]": {"network": "desk"}},
    }


PAIRS = (("n1", "n2"), ("n2", "n3"), ("d1", "d2"))


@pytest.fixture
def running(lab: Labs) -> Lab:
    return lab(topology())


def test_nothing_is_lost_where_nobody_is_killed(running: Lab) -> None:
    """What the others are measured against: a machine that loses pings by itself would blame them."""
    with pings(running) as counts:
        progress(running)
    assert counts == [Pings(count.sent, (), count.gap) for count in counts]


@pytest.mark.parametrize("name", SUPERVISED)
def test_without_a_supervised_process(running: Lab, name: str) -> None:
    with pings(running) as counts:
        killed = kill(pid_of(running, name))
        eventually(lambda: pid_of(running, name) not in (0, killed))
        eventually(lambda: whole(running))
        progress(running)
    assert [count.lost for count in counts] == [(), (), ()]


def test_without_the_database_of_a_chassis(running: Lab) -> None:
    with pings(running) as counts:
        killed = kill(daemon(running, "hv2", "ovsdb-server"))
        eventually(lambda: daemon(running, "hv2", "ovsdb-server") not in (0, killed))
        progress(running)
    assert [count.lost for count in counts] == [(), (), ()]


def test_without_the_supervisor(running: Lab) -> None:
    """Controller and agent end with it; the next `up` takes the lab over."""
    before = {name: pid_of(running, name) for name in SUPERVISED}
    switches = {chassis: daemon(running, chassis, "ovs-vswitchd") for chassis in CHASSIS}
    with pings(running) as counts:
        kill(pid_of(running, "supervisor"))
        for name in FORKED:
            await_end(before[name])
        assert "supervisor is not running" in sdn.lab.status(running.name).troubles
        result = running.up(topology())
        assert result.changed
        progress(running)
    assert pid_of(running, "store") == before["store"], "the store was found, not started anew"
    assert {chassis: daemon(running, chassis, "ovs-vswitchd") for chassis in CHASSIS} == switches
    assert [count.lost for count in counts] == [(), (), ()]


def test_without_the_switch(running: Lab) -> None:
    """ovs-vswitchd comes back without flows: the agent starts it, the controller fills it. Others are not disturbed."""
    with pinging(running, ("n1", "n2"), ("n2", "n3")) as (through, beside):
        killed = kill(daemon(running, "hv1", "ovs-vswitchd"))
        through.wait(20)
        assert daemon(running, "hv1", "ovs-vswitchd") != killed
        assert differences(running) == []
        progress(running)
        silence = through.stop()
        print(f"ovs-vswitchd killed: {len(silence.lost)} pings lost, {silence.gap:.2f} s without an answer")
        assert silence.gap < 2.0
        assert beside.stop().lost == ()


@pytest.mark.parametrize("also", FORKED)
def test_without_the_switch_and_who_would_repair_it(running: Lab, also: str) -> None:
    with pinging(running, ("n1", "n2"), ("n2", "n3")) as (through, beside):
        kill(pid_of(running, also), daemon(running, "hv1", "ovs-vswitchd"))
        through.wait(20)
        eventually(lambda: whole(running))
        assert differences(running) == []
        progress(running)
        silence = through.stop()
        print(f"ovs-vswitchd and {also} killed: {silence.gap:.2f} s without an answer")
        assert silence.gap < 5.0
        assert beside.stop().lost == ()


def test_without_the_switch_and_its_database(running: Lab) -> None:
    with pinging(running, ("n1", "n2")) as (through,):
        kill(*(daemon(running, "hv1", name) for name in PAIR))
        through.wait(20)
        eventually(lambda: whole(running))
        assert differences(running) == []
        progress(running)
        assert through.stop().gap < 5.0


def test_everything_at_once(running: Lab) -> None:
    """What a reboot leaves behind, apart from the namespaces: files."""
    kill(pid_of(running, "supervisor"), *everything(running))
    assert not sdn.lab.is_running(running.name)
    assert running.up(topology()).changed
    assert running.mesh() == []
    assert differences(running) == []
    progress(running)


def test_everything_at_once_and_down(running: Lab) -> None:
    kill(pid_of(running, "supervisor"), *everything(running))
    assert running.down()
    assert running.leftovers() == []


def test_a_process_that_keeps_dying_is_told_of(running: Lab) -> None:
    """It is started again each time, after pauses that grow."""
    for _ in range(3):
        killed = kill(pid_of(running, "controller"))
        eventually(lambda: pid_of(running, "controller") not in (0, killed), within=STEADY)  # noqa: B023
    restarts = {process.name: process.restarts for process in sdn.lab.status(running.name).processes}
    assert restarts == {"supervisor": 0, "store": 0, "controller": 3, "agent": 0, "api": 0}
    eventually(lambda: whole(running))
    progress(running)


# ── hung, not dead ──


def test_a_hung_switch_holds_up_nobody_else(running: Lab) -> None:
    """The controller gives it up when it answers no echo request; the others go on, also to change."""
    with stopped(daemon(running, "hv3", "ovs-vswitchd")), pinging(running, ("n1", "n2"), ("d1", "d2")) as pingers:
        with pytest.raises(CheckError, match="hv3") as refused:
            sdn.lab.apply(running.parse(topology(nodes=5), running.model), timeout=1)
        assert not any(f"{chassis}: " in str(refused.value) for chassis in ("hv1", "hv2"))
        running.ping("n1", "n5")
        timers = Timers()
        patience = timers.echo_interval + timers.echo_timeout + 5
        gone = f"hv3: {NO_ANSWER}"
        eventually(lambda: any(gone in each for each in sdn.lab.status(running.name).troubles), within=patience)
        assert [pinger.stop().lost for pinger in pingers] == [(), ()]
    running.up(topology(nodes=5))
    assert differences(running) == []
    assert running.mesh() == []


def test_a_hung_switch_that_has_something_to_do(running: Lab) -> None:
    """Each of three gets a node: that of the one that hangs says so when its time is over, the others are built at
    once, and again. It is told only when it is so; what it was not told it is told when it goes on."""
    hangs = "hv3: ovs-vswitchd has not taken up its configuration"
    more = {f"m{n}": {"network": "lan", "chassis": f"hv{n}"} for n in (1, 2, 3)}
    wished = topology() | {"nodes": topology()["nodes"] | more}
    with stopped(daemon(running, "hv3", "ovs-vswitchd")), pinging(running, ("n1", "n2"), ("d1", "d2")) as pingers:
        model = running.parse(wished, running.model)
        with pytest.raises(CheckError, match="hv3") as refused:
            sdn.lab.apply(model, timeout=2 * PATIENCE)
        assert not any(f"{chassis}: " in str(refused.value) for chassis in ("hv1", "hv2"))
        assert hangs not in str(refused.value)
        assert any("has not answered yet" in note for note in running.facts.hosts["hv3"].notes)
        running.ping("m1", "m2")
        eventually(lambda: any(each.startswith(hangs) for each in sdn.lab.status(running.name).troubles), within=15)
        began = time.monotonic()
        with pytest.raises(CheckError, match=hangs):
            sdn.lab.apply(running.parse(topology(nodes=5), running.model), timeout=PATIENCE)
        print(f"the others after {time.monotonic() - began:.1f} s")
        running.ping("n1", "n5")
        assert any(each.startswith(hangs) for each in sdn.lab.status(running.name).troubles), "it hangs still"
        assert [pinger.stop().lost for pinger in pingers] == [(), ()]
    eventually(lambda: whole(running), within=15)
    assert differences(running) == []
    assert running.mesh() == []


def test_a_hung_controller(running: Lab) -> None:
    """The switches notice by themselves, and forward on."""
    pid = pid_of(running, "controller")
    with pings(running) as counts:
        with stopped(pid):
            eventually(lambda: disconnected(running, "hv1"), within=20)
        eventually(lambda: whole(running) and not disconnected(running, "hv1"))
        progress(running)
    assert pid_of(running, "controller") == pid
    assert [count.lost for count in counts] == [(), (), ()]


def test_a_hung_agent(running: Lab) -> None:
    with pings(running) as counts:
        with stopped(pid_of(running, "agent")), pytest.raises(CheckError, match="is not built yet"):
            sdn.lab.apply(running.parse(topology(nodes=4), running.model), timeout=1)
        running.up(topology(nodes=4))
        assert differences(running) == []
        running.ping("n1", "n4")
    assert [count.lost for count in counts] == [(), (), ()]


# ── what they share ──


@contextmanager
def pings(lab: Lab) -> Iterator[list[Pings]]:
    """Filled when the block ends."""
    counts: list[Pings] = []
    with pinging(lab, *PAIRS) as pingers:
        yield counts
        for pinger in pingers:
            pinger.wait(20)
        counts += [pinger.stop() for pinger in pingers]


def progress(lab: Lab) -> None:
    """The lab is whole, and works: a node comes, is reached and goes again, and then nothing is left to do."""
    more = lab.apply(topology(nodes=4))
    assert more.changed
    lab.ping("n4", "n2")
    assert lab.apply(topology()).changed
    assert not lab.apply(topology()).changed
    assert whole(lab)
    assert differences(lab) == []
