"""Drift that nobody tells of, as whoever would hear it hangs or has died: it is put right by the next one."""

from __future__ import annotations

import os
import signal

import pytest

import sdn.lab
from datapath.openflow.flow import Flow
from datapath.openflow.text import format_match
from datapath.spec import alias
from sdn.pipeline.fields import COOKIE_MARK
from tests.converge.truth import differences, links
from tests.lab.conftest import Labs
from tests.lab.labs import Lab, run
from tests.lab.lives import BASE
from tests.lab.processes import eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab


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
