"""A QEMU that was to receive a guest and does not come up leaves no process, whatever ends the attempt."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import TransientError
from datapath.guest.instance import Place
from datapath.guest.qemu import emulated, machine, process
from datapath.guest.qemu.command import Arrival, Ports
from datapath.guest.qemu.saved import Saved
from datapath.spec import Accelerator, Guest, Machine

GUEST = Guest("g1", "uuid", Machine(memory=128 << 20), ())
ARRIVAL = Arrival(Ports({}, {}, 1, 1), "")


class Launches:
    """Processes that never greet, each from a thread that may be held up."""

    def __init__(self, directory: Path) -> None:
        self.place = Place("lab", "hv2", directory, "ns2", False)
        self.pids: list[int] = []
        self.begun = threading.Event()
        self.may_spawn = threading.Event()
        self.may_spawn.set()

    def started(self, guest: Guest, place: Place, incoming: Arrival | None) -> tuple[Saved, bytes, int]:
        self.begun.set()
        assert self.may_spawn.wait(10)
        pid = process.spawn("/bin/sleep", ["60"], place.directory, place.directory / "log", ())
        self.pids.append(pid)
        return Saved(guest, place.chassis, Accelerator("tcg", ""), 1, ARRIVAL.ports), b"", pid

    async def run(self, incoming: Arrival | None) -> Any:
        return await machine.QemuDriver()._run(GUEST, self.place, lambda *_: None, incoming)

    @property
    def runs(self) -> bool:
        """Also one that nobody has reaped."""
        return Path(f"/proc/{self.pids[0]}").exists()


@pytest.fixture
def launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    made = Launches(tmp_path)
    monkeypatch.setattr(machine, "_started", made.started)
    yield made
    for pid in made.pids:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, 9)
            os.waitpid(pid, 0)


async def _until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


def _hangs(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when it is being connected to, which takes for ever."""
    connecting = asyncio.Event()

    async def connect(_: Any) -> None:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(emulated.QemuMachine, "connect", connect)
    return connecting


async def test_one_that_does_not_greet_is_killed(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Any) -> None:
        raise TransientError("QEMU does not greet on its monitor")

    monkeypatch.setattr(emulated.QemuMachine, "connect", connect)
    with pytest.raises(TransientError, match="guest g1: QEMU does not greet"):
        await launches.run(ARRIVAL)
    assert not launches.runs


@pytest.mark.parametrize("incoming", [ARRIVAL, None], ids=["receive", "launch"])
async def test_called_off_while_it_is_connected_to(
    launches: Launches, monkeypatch: pytest.MonkeyPatch, incoming: Arrival | None
) -> None:
    connecting = _hangs(launches, monkeypatch)
    task = asyncio.ensure_future(launches.run(incoming))
    await connecting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert launches.runs is (incoming is None)


@pytest.mark.parametrize("times", [1, 2])
async def test_called_off_before_it_is_spawned(launches: Launches, times: int) -> None:
    launches.may_spawn.clear()
    task = asyncio.ensure_future(launches.run(ARRIVAL))
    await _until(launches.begun)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    launches.may_spawn.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not launches.runs


async def test_called_off_before_a_start_that_fails(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        launches.begun.set()
        assert launches.may_spawn.wait(10)
        raise TransientError("no tap")

    monkeypatch.setattr(machine, "_started", fails)
    launches.may_spawn.clear()
    task = asyncio.ensure_future(launches.run(ARRIVAL))
    await _until(launches.begun)
    task.cancel()
    await asyncio.sleep(0)
    launches.may_spawn.set()
    with pytest.raises(asyncio.CancelledError):
        await task
