"""What a QEMU is told when the wish changes; it only pretends to be one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from datapath.guest.instance import Happening, Place
from datapath.guest.qemu import plugs
from datapath.guest.qemu.command import CONSOLE_LOG, Ports
from datapath.guest.qemu.emulated import QemuMachine
from datapath.guest.qemu.process import Process
from datapath.guest.qemu.qmp import Qmp
from datapath.guest.qemu.saved import Saved
from datapath.spec import Accelerator, Guest, Interface
from tests.unit.datapath.guest.fakes import calm, guest, nic

Done = list[tuple[str, str]]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What is plugged and unplugged."""
    found: Done = []

    async def plug(_: Qmp, ports: Ports, interface: Interface, *__: object) -> Ports:
        found.append(("plug", interface.name))
        return replace(ports, nics={**ports.nics, interface.name: 0})

    async def unplug(_: Qmp, ports: Ports, name: str, __: bool) -> Ports:
        found.append(("unplug", name))
        return replace(ports, nics={})

    monkeypatch.setattr(plugs, "plug_nic", plug)
    monkeypatch.setattr(plugs, "unplug_nic", unplug)
    monkeypatch.setattr(plugs, "open_tap", lambda *_: [])
    return found


class FakeQemu:
    """Its monitor and its process. It quits when it is told to."""

    exit = ""

    def __init__(self, status: str = "running") -> None:
        self.told: list[str] = []
        self._status = status
        self._gone = asyncio.Event()
        self._on_end: Callable[[str], None] = lambda _: None

    async def execute(self, command: str, **_: object) -> Any:
        return await self.issue(command, {})

    async def issue(self, command: str, _: Mapping[str, object]) -> Any:
        if command.startswith("query"):
            return {"status": self._status} if command == "query-status" else []
        self.told.append(command)
        if command == "quit":
            self.exit = "exit status 0"
            self._gone.set()
            self._on_end(self.exit)
        return {}

    async def ended(self) -> None:
        await self._gone.wait()

    end = ended

    def watch(self, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end


Happened = list[tuple[Happening, str]]


def machine(
    directory: Path, launched: Guest, qemu: FakeQemu | None = None, happened: Happened | None = None
) -> QemuMachine:
    saved = Saved(launched, "hv1", Accelerator("tcg", ""), 1, Ports({"eth0": 0}))
    place = Place("lab", "hv1", directory, "ns1", False)
    it = qemu or FakeQemu()
    heard: Happened = [] if happened is None else happened
    made = QemuMachine(saved, place, cast("Process", it), lambda what, why: heard.append((what, why)))
    made._qmp = cast("Qmp", it)
    return made


def on(tap: int, **changes: Any) -> Guest:
    return guest("web", replace(nic("web"), tap=tap, **changes))


async def test_a_tap_that_was_made_anew_is_plugged_anew(tmp_path: Path, done: Done) -> None:
    it = machine(tmp_path, on(5))
    await it.adapt(on(5, ready=False), ())
    assert done == []
    await it.adapt(on(0, ready=False), ())
    await it.adapt(on(6, ready=False), ())
    assert done == [], "its successor has no flows yet"
    assert it.guest.interfaces[0].tap == 5
    wish = on(6)
    await it.adapt(wish, wish.interfaces)
    assert done == [("unplug", "eth0"), ("plug", "eth0")]
    assert it.guest.interfaces[0].tap == 6
    await it.adapt(wish, wish.interfaces)
    assert len(done) == 2


async def test_a_tap_that_an_older_agent_has_not_noted_is_taken_to_be_the_one(tmp_path: Path, done: Done) -> None:
    it = machine(tmp_path, on(0))
    wish = on(6)
    await it.adapt(wish, wish.interfaces)
    assert done == []
    assert it.guest == wish


async def test_a_kernel_that_panics_is_a_death_with_its_last_words(tmp_path: Path) -> None:
    happened: Happened = []
    qemu = FakeQemu("guest-panicked")
    it = machine(tmp_path, guest("web"), qemu, happened)
    (tmp_path / CONSOLE_LOG).write_text("up\r\nKernel panic - not syncing: no more\r\nCall Trace:\r\n <TASK>\r\n")
    it.watch()
    it._on_event({"event": "STOP"})
    it._on_event({"event": "GUEST_PANICKED", "data": {"action": "pause"}})
    await calm()
    assert "quit" in qemu.told
    assert happened == [("ended", "its kernel panicked\nconsole: up\nconsole: Kernel panic - not syncing: no more")]


@pytest.mark.parametrize("status", ["guest-panicked", "running"])
async def test_one_that_panicked_while_nobody_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    happened: Happened = []
    qemu = FakeQemu(status)
    it = machine(tmp_path, guest("web"), qemu, happened)

    async def greeted() -> Qmp:
        return cast("Qmp", qemu)

    async def seen(_: Qmp) -> Ports:
        return it.ports

    monkeypatch.setattr(it, "_greeted", greeted)
    monkeypatch.setattr(plugs, "seen", seen)
    await it.connect()
    it.watch()
    assert it.state == "running"
    await calm()
    assert happened == ([] if status == "running" else [("ended", "its kernel panicked")])
