"""A lab that wants more memory than the machine has is told so before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.spec import Machine
from sdn.lab import capacity
from sdn.model import Guest, Model
from tests.topologies import model_of

GIB = 1 << 30
FILE = {
    "name": "random",
    "chassis": {"hv1": {}},
    "networks": {"red": {"segment": {"vxlan": 1}}},
    "nodes": {"g1": {"network": "red"}, "g2": {"network": "red"}},
}


@pytest.fixture(autouse=True)
def three_gigabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9999999 kB\nMemFree: 12 kB\nMemAvailable: {3 * GIB // 1024} kB\n")
    monkeypatch.setattr(capacity, "_MEMINFO", meminfo)
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))


def model(*memory: int) -> Model:
    made = model_of(FILE)
    names = list(made.nodes)[: len(memory)]
    guests = {n: Guest(n, Machine(size), (), made.nodes[n].source) for n, size in zip(names, memory, strict=True)}
    return replace(made, guests=guests)


def test_what_fits_is_started() -> None:
    capacity.check(model(GIB, GIB))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MachineError, match=r"2 guests want 4224 MiB .* 3072 MiB are available"):
        capacity.check(model(2 * GIB, 2 * GIB))


def test_what_is_off_needs_none() -> None:
    found = model(2 * GIB, 2 * GIB)
    off = replace(found.guests["g2"], machine=Machine(2 * GIB, power="off"))
    capacity.check(replace(found, guests=found.guests | {"g2": off}))


def test_what_runs_has_its_memory_already(tmp_path: Path) -> None:
    (tmp_path / "run" / "random" / "guests" / "g1").mkdir(parents=True)
    (tmp_path / "run" / "random" / "guests" / "g1" / "pid").write_text("1")
    capacity.check(model(2 * GIB, 2 * GIB))
