"""What a QEMU is told when the wish changes; it only pretends to be one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from datapath.guest.instance import Place
from datapath.guest.qemu import plugs
from datapath.guest.qemu.command import Ports
from datapath.guest.qemu.emulated import QemuMachine
from datapath.guest.qemu.process import Process
from datapath.guest.qemu.qmp import Qmp
from datapath.guest.qemu.saved import Saved
from datapath.spec import Accelerator, Guest, Interface
from tests.unit.datapath.guest.fakes import guest, nic

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


def machine(directory: Path, launched: Guest) -> QemuMachine:
    saved = Saved(launched, "hv1", Accelerator("tcg", ""), 1, Ports({"eth0": 0}))
    place = Place("lab", "hv1", directory, "ns1", False)
    made = QemuMachine(saved, place, cast("Process", object()), lambda *_: None)
    made._qmp = cast("Qmp", object())
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
