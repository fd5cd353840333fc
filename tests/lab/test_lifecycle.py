"""A lab's life: `up` killed half-way, labs side by side, two commands at once.

Whatever was left half-done the next `up` completes and `down` removes.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sdn.lab
from datapath.errors import TransientError
from tests.converge.truth import differences
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.lives import BASE, HalfUp, half, left_of, patiently, unbuilt, with_changes
from tests.lab.pinger import pinging
from tests.lab.processes import FORKED, await_end, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab
__all__ = ["half", "unbuilt"]

PHASES = ("start 0/1", "start 1/1", "chassis 0/2", "chassis 1/2", "chassis 2/2")

RANDOM = random.Random(20261121)

DELAYS = tuple(round(RANDOM.uniform(0.0, 0.35), 3) for _ in range(10))
"""Seconds after "start 0/1", before which nothing of the lab is there; it is whole after some 0.4. These moments are
what is tested."""


@pytest.mark.parametrize("phase", PHASES)
def test_up_killed_at_a_phase(unbuilt: Lab, half: Callable[..., HalfUp], phase: str) -> None:
    killed = half()
    killed.reaches(phase)  # the last ones may be skipped: chassis that confirm together
    killed.kill()
    expect_completed(unbuilt)


@pytest.mark.parametrize("delay", DELAYS)
def test_up_killed_after_a_while(unbuilt: Lab, half: Callable[..., HalfUp], delay: float) -> None:
    killed = half()
    assert killed.reaches("start 0/1")
    time.sleep(delay)
    killed.kill()
    expect_completed(unbuilt)


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
    expect_completed(unbuilt)


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


def expect_completed(lab: Lab) -> None:
    patiently(lambda: lab.up(BASE))
    assert sdn.lab.status(lab.name).troubles == ()
    assert differences(lab) == []
    lab.ping("n1", "n2")
    assert not lab.apply(BASE).changed
    lab.down()
    assert left_of(lab) == []


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
