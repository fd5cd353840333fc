"""Somebody undoes what is put right, again and again: that is one drift, said while it lasts, and right in the end."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

import sdn.lab
from sdn.model.facts import Drift
from tests.lab.conftest import Labs
from tests.lab.drifts import drifts, times
from tests.lab.labs import Lab
from tests.lab.processes import eventually
from tests.lab.test_drift import DAMAGES, TOPOLOGY, Damage
from tests.machine.pace import PATIENCE

pytestmark = pytest.mark.lab

SECONDS = 3.0
FOUGHT = (
    "flows",
    "flow",
    "tunnel port",
    "tunnel",
    "bridge",
    "addresses",
    "routes",
    "lo",
    "link",
    "interface",
    "namespace",
    "vtep",
    "wires",
    "Linux address",
    "Linux bridge",
    "Linux tunnel",
    "Linux vtep",
    "Linux firewall",
)


@pytest.fixture(scope="module")
def fought(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


@contextmanager
def fighting(lab: Lab, damage: Damage) -> Iterator[None]:
    """Somebody with a script: as fast as the machine goes."""
    is_over = threading.Event()

    def fight() -> None:
        while not is_over.is_set():
            with suppress(subprocess.CalledProcessError, AssertionError):  # not put right yet
                damage.do(lab)

    thread = threading.Thread(target=fight)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def unrepaired(lab: Lab) -> list[Drift]:
    return [drift for drift in drifts(lab) if not drift.repaired]


@pytest.mark.parametrize("what", FOUGHT)
def test_what_is_fought_for_is_right_soon_after(what: str, fought: Lab) -> None:
    before, found = len(drifts(fought)), times(fought)
    with fighting(fought, DAMAGES[what]):
        time.sleep(SECONDS)  # that is how long the script runs
    ended = time.monotonic()
    eventually(lambda: not unrepaired(fought) and fought.mesh() == [], within=10 * PATIENCE)
    print(
        f"{what}: right {time.monotonic() - ended:.2f} s later; "
        f"{times(fought) - found} times in {len(drifts(fought)) - before} drifts"
    )
    fought.settle()
    assert fought.mesh() == []
    assert len(drifts(fought)) - before <= 8
    assert times(fought) - found <= 20 * SECONDS * PATIENCE, "it is slowed down"
    assert not fought.up(TOPOLOGY).changed
    assert fought.mesh() == []


@pytest.mark.parametrize("what", ["flow", "addresses"])
def test_a_fight_is_said_while_it_lasts(what: str, fought: Lab) -> None:
    def said() -> bool:
        status = sdn.lab.status(fought.name)
        facts = status.facts
        texts = [*(f.note for f in facts.flows.values()), *(n for f in facts.hosts.values() for n in f.notes)]
        return any("somebody fights with sdn: " in text for text in texts)

    with fighting(fought, DAMAGES[what]):
        eventually(said, within=5 * PATIENCE)
    eventually(lambda: not said(), within=15 * PATIENCE)
    assert unrepaired(fought) == []


def test_a_bridge_is_made_again_as_often_as_it_is_told(fought: Lab) -> None:
    """Its ports go with it: who hears of that has them looked at, which must not be faster than the fight is."""

    def configurations() -> int:
        return int(fought.vsctl("hv1", "get", "Open_vSwitch", ".", "next_cfg"))

    before, found = configurations(), times(fought)
    with fighting(fought, DAMAGES["bridge"]):
        time.sleep(SECONDS)
    eventually(lambda: not unrepaired(fought), within=10 * PATIENCE)
    made = (configurations() - before) // 2  # as many were removed
    told = times(fought) - found
    print(f"made {made} times, told {told} times")
    assert made <= 3 * told, "the rows are looked at three times at most"
