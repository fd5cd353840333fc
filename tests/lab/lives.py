"""Labs that a test brings up itself, or half of them, and the topology for it; fixtures.

Enters: a topology. Leaves: an unbuilt lab, and `up` of it in a process that may be killed. Never: a lab that stays.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import TransientError
from sdn.lab import rundir
from tests.conftest import RunDirectories
from tests.lab.labs import ROOT, Lab, named, unique_name, written
from tests.lab.processes import eventually

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


@pytest.fixture
def half(unbuilt: Lab, tmp_path: Path) -> Iterator[Callable[..., HalfUp]]:
    started: list[HalfUp] = []

    def start(topology: Topology = BASE, timeout: float = 30.0) -> HalfUp:
        started.append(HalfUp(unbuilt, tmp_path, topology, timeout))
        return started[-1]

    yield start
    for each in started:
        each.close()


def patiently(command: Callable[[], object]) -> None:
    """What was killed a moment ago may hold the lab's lock for another one: that error says to try again."""

    def done() -> bool:
        try:
            command()
        except TransientError:
            return False
        return True

    eventually(done)
