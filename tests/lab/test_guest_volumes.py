"""Volumes that guests of a lab hand on, or lose and get back: what passes by itself is no error of an apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datapath.guest.pool import disks
from sdn.cli.main import main
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.processes import eventually, kill
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


SECONDS = 5 * PATIENCE


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    assert main(["volume", "create", "data1", "--size", "8M"]) == 0


def topology(**guests: dict[str, Any]) -> dict[str, Any]:
    return {
        "chassis": {"hv[1-2]": {"datapath": "linux"}},
        "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
        "guests": {name: {"network": "web", **guest} for name, guest in guests.items()},
    }


def has(lab: Lab, guest: str) -> bool:
    return lab.execute(guest, "sh", "-c", "cat /sys/block/vd*/serial; true").split() == ["data1"]


def test_a_volume_goes_from_one_guest_to_another_in_one_apply(lab: Labs) -> None:
    """The one that gets it is tried before the other has let go of it; neither apply may fail for that."""
    here, there = {"chassis": "hv1"}, {"chassis": "hv2"}
    running = lab(topology(g1={**here, "volumes": ["data1"]}, g2=there))
    for g1, g2 in ((here, {**there, "volumes": ["data1"]}), ({**here, "volumes": ["data1"]}, there)):
        running.apply(topology(g1=g1, g2=g2))
        holders = ("volumes" in g1, "volumes" in g2)
        # plugged is when QEMU has it; the guest's kernel finds it a moment later
        eventually(lambda holders=holders: (has(running, "g1"), has(running, "g2")) == holders, SECONDS)
        assert all(not seen.error for seen in running.facts.guests.values())


def test_an_apply_tries_at_once_what_was_cured_outside_of_the_file(lab: Labs) -> None:
    wish = topology(g1={"chassis": "hv1", "volumes": ["data1"]})
    running = lab(wish)
    volume = disks.disk("data1")
    away = volume.rename(volume.with_suffix(".away"))
    kill(running.facts.guests["g1"].pid)
    eventually(lambda: "launch: " in running.facts.guests["g1"].error, 20 * PATIENCE)
    away.rename(volume)
    running.apply(wish)
    seen = running.facts.guests["g1"]
    assert (seen.phase, seen.error, seen.answers) == ("running", "", True)
    eventually(lambda: has(running, "g1"), SECONDS)
