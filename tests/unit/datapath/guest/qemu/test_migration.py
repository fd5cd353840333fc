"""A move step by step with QEMUs that only say what QEMU says: the order, and what follows from each failure."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import MachineError, RefusedError, SdnError, TransientError
from datapath.guest.instance import OnHappening, Place
from datapath.guest.qemu import arrival, migration_modes
from datapath.guest.qemu.migration import Moved, migrate
from datapath.guest.qemu.migration_modes import choose
from datapath.guest.qemu.recovery import Seen, verdict
from datapath.spec import Accelerator, Guest, Machine

MIB = 1 << 20
KVM = Accelerator("kvm", "a guest runs in it")
TCG = Accelerator("tcg", "no /dev/kvm")


@dataclass
class Wire:
    """What both QEMUs and the network did, in order, and how they misbehave: by command of one side an exception."""

    log: list[str] = field(default_factory=list)
    refusals: dict[str, Exception] = field(default_factory=dict)
    sends: bool = True
    loads: bool = True
    wakes: bool = True
    written: int = 0
    answer: str | Exception = ""
    source: FakeQemu | None = None
    destination: FakeQemu | None = None

    def switch(self, chassis: str) -> None:
        self.log.append(f"switch {chassis}")

    async def ask(self, emulator: Any, has_agent: bool) -> str:
        self.log.append("ask" if has_agent else "ask without agent")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeQemu:
    def __init__(self, wire: Wire, guest: Guest, place: Place, on_happening: OnHappening, state: str) -> None:
        self.wire, self.guest, self.place, self.on_happening = wire, guest, place, on_happening
        self.name = "source" if state != "incoming" else "destination"
        self.state = state
        self.accelerator = TCG
        self.answers = True
        self.pid = os.getpid()
        self.started = 1
        self.alive = True
        self.is_closed = False
        self.capabilities: set[str] = set()
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []

    @property
    def chassis(self) -> str:
        return self.place.chassis

    def subscribe(self, on_event: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        self._listeners.append(on_event)
        return lambda: self._listeners.remove(on_event)

    def emit(self, name: str, **data: Any) -> None:
        stamp = {"seconds": 1000 + len(self.wire.log), "microseconds": 0}
        for each in tuple(self._listeners):
            each({"event": name, "data": data, "timestamp": stamp})

    def relocate(self, directory: Path) -> None:
        self.place = replace(self.place, directory=directory)

    async def end(self) -> None:
        self.wire.log.append(f"{self.name} killed")
        self.die()

    def die(self) -> None:
        self.alive = False
        self.on_happening("ended", "killed by SIGKILL")

    def close(self) -> None:
        self.is_closed = True

    async def execute(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        await asyncio.sleep(0)
        assert not self.is_closed, "asked after it was let go of"
        if not self.alive:
            raise TransientError("the monitor has gone")
        key = f"{self.name} {name}"
        if key in self.wire.refusals:
            self.wire.log.append(f"{key} refused")
            raise self.wire.refusals.pop(key)
        if name == "query-status":
            return {"status": self.state}
        if name == "query-blockstats":
            return [{"stats": {"wr_operations": self.wire.written}}]
        if name == "query-migrate":
            return {"status": "failed", "error-desc": "load of the devices failed"}
        if name == "migrate-set-capabilities":
            assert arguments is not None
            self.capabilities = {each["capability"] for each in arguments["capabilities"] if each["state"]}
            return {}
        if not name.startswith(("migrate-set", "announce", "migrate_cancel")):
            self.wire.log.append(key)
        action = getattr(self, "do_" + name.replace("-", "_"), None)
        if action is not None:
            action()
        return {}

    def do_stop(self) -> None:
        self.state = "paused"
        self.emit("STOP")

    def do_cont(self) -> None:
        if self.name == "source" or self.wire.wakes:
            self.state = "running"
            self.emit("RESUME")

    def do_migrate(self) -> None:
        destination = self.wire.destination
        assert destination is not None
        if not self.wire.sends:
            return
        if "pause-before-switchover" in self.capabilities:
            self.do_stop()
            self.emit("MIGRATION", status="pre-switchover")
        elif "postcopy-ram" not in self.capabilities:
            self._complete(destination)

    def do_migrate_continue(self) -> None:
        assert self.wire.destination is not None
        self._complete(self.wire.destination)

    def do_migrate_start_postcopy(self) -> None:
        destination = self.wire.destination
        assert destination is not None
        if "source migrate" not in self.wire.log:
            raise RefusedError("Postcopy must be started after migration has been started")
        self.emit("MIGRATION", status="postcopy-active")
        destination.receive()

    def _complete(self, destination: FakeQemu) -> None:
        self.emit("MIGRATION", status="completed")
        if self.wire.loads:
            destination.receive()
        else:
            destination.emit("MIGRATION", status="failed")

    def receive(self) -> None:
        self.state = "paused"
        self.emit("MIGRATION", status="completed")


class FakeDriver:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.memory = ""

    async def find(self, guest: Guest, place: Place, on_happening: OnHappening) -> Any: ...

    async def launch(self, guest: Guest, place: Place, on_happening: OnHappening) -> Any: ...

    async def remove(self, guest: str, place: Place) -> None: ...

    async def receive(self, guest: Guest, place: Place, on_happening: OnHappening, memory: str) -> FakeQemu:
        self.memory = memory
        if error := self.wire.refusals.get("receive"):
            raise error
        self.wire.log.append("destination launched")
        self.wire.destination = FakeQemu(self.wire, guest, place, on_happening, "incoming")
        return self.wire.destination


class Scene:
    """A guest g1 on hv1, and a wish that it be on hv2."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "g1"
        self.home.mkdir()
        (self.home / "console.log").write_text("hello\n")
        self.wire = Wire()
        self.driver = FakeDriver(self.wire)
        self.ended: list[str] = []
        self.machine = Machine(memory=128 * MIB)
        self.place = Place("lab", "hv1", self.home, "ns1", False)
        self.source = FakeQemu(self.wire, Guest("g1", "uuid", self.machine, ()), self.place, self.happen, "running")

    def happen(self, what: str, why: str) -> None:
        if what == "ended":
            self.ended.append(why)

    async def move(self, **machine: Any) -> Moved:
        guest = replace(self.source.guest, machine=replace(self.machine, **machine))
        place = replace(self.place, chassis="hv2", directory=arrival.beside(self.home), namespace="ns2")
        driver: Any = self.driver
        return await migrate(self.source, guest, place, driver, self.happen, self.wire.switch, self.wire.ask)

    @property
    def goes_on(self) -> bool:
        """Where it was, with nothing left of the other."""
        return self.source.alive and self.source.state == "running" and os.listdir(self.home.parent) == ["g1"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "memory_of", lambda _: "/proc/7/fd/9")


class TestOrder:
    async def test_stop_and_copy(self, scene: Scene) -> None:
        moved = await scene.move()
        assert scene.wire.log == [
            "destination launched",
            "destination migrate-incoming",
            "source stop",
            "switch hv2",
            "source migrate",
            "destination cont",
            "ask",
            "source killed",
        ]
        assert scene.driver.memory == ""
        assert moved.instance.chassis == "hv2"
        assert moved.note.startswith("moved from hv1 to hv2 in 0.0 s, paused for ")
        assert moved.note.endswith(" ms, stop-and-copy")

    @pytest.mark.usefixtures("shared")
    async def test_in_place_the_destination_maps_the_memory(self, scene: Scene) -> None:
        assert (await scene.move()).note.endswith("in-place")
        assert scene.driver.memory == "/proc/7/fd/9"

    async def test_post_copy_runs_before_it_has_its_memory(self, scene: Scene) -> None:
        moved = await scene.move(migration="post-copy")
        log = scene.wire.log
        assert log[2:8] == [
            "source stop",
            "switch hv2",
            "source migrate",
            "source migrate-start-postcopy",
            "destination cont",
            "ask",
        ]
        assert moved.note.endswith("post-copy")

    async def test_pre_copy_redirects_while_the_cpus_stand(self, scene: Scene) -> None:
        scene.source.accelerator = KVM
        await scene.move()
        log = scene.wire.log
        assert log[2:7] == ["source migrate", "switch hv2", "source migrate-continue", "destination cont", "ask"]

    async def test_pre_copy_that_does_not_converge_goes_on_as_post_copy(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migration_modes, "CONVERGE", 0.01)
        scene.source.accelerator, scene.wire.sends = KVM, False
        scene.source.do_migrate_start_postcopy = lambda: scene.source.emit(  # type: ignore[method-assign]
            "MIGRATION", status="pre-switchover"
        )
        moved = await scene.move()
        assert moved.note.endswith("post-copy")
        assert scene.wire.log[2:6] == [
            "source migrate",
            "source migrate-start-postcopy",
            "switch hv2",
            "source migrate-continue",
        ]

    async def test_pre_copy_without_userfaultfd_does_without_post_copy(self, scene: Scene) -> None:
        scene.source.accelerator = KVM
        scene.wire.refusals["destination migrate-set-capabilities"] = RefusedError("Postcopy is not supported")
        seen: list[set[str]] = []
        scene.source.do_migrate_continue = lambda: (  # type: ignore[method-assign]
            seen.append(scene.source.capabilities),
            FakeQemu.do_migrate_continue(scene.source),
        )
        await scene.move()
        assert seen == [{"events", "auto-converge", "pause-before-switchover"}]

    async def test_the_directory_takes_the_guests_name_and_the_console_goes_on(self, scene: Scene) -> None:
        before = (scene.home / "console.log").stat().st_ino
        moved = await scene.move()
        assert os.listdir(scene.home.parent) == ["g1"]
        assert (scene.home / "console.log").stat().st_ino == before
        destination: Any = moved.instance
        assert destination.place.directory == scene.home

    @pytest.mark.parametrize("mode", ["auto", "stop-and-copy", "post-copy"])
    async def test_a_paused_guest_stays_paused_and_is_not_asked(self, scene: Scene, mode: str) -> None:
        scene.source.state = "paused"
        moved = await scene.move(migration=mode)
        assert moved.note.endswith("it is paused: nobody was asked")
        assert moved.instance.state == "paused"
        assert "ask" not in scene.wire.log
        assert "source stop" not in scene.wire.log

    async def test_what_could_not_be_asked_is_said(self, scene: Scene) -> None:
        scene.source.answers = False
        scene.wire.answer = "it has no guest agent"
        assert (await scene.move()).note.endswith("stop-and-copy; it has no guest agent")
        assert "ask without agent" in scene.wire.log

    @pytest.mark.usefixtures("shared")
    async def test_afterwards_a_snapshot_has_memory_again(self, scene: Scene) -> None:
        """Under x-ignore-shared it would have none."""
        await scene.move()
        assert scene.wire.destination is not None
        assert scene.wire.destination.capabilities == set()


class TestFailure:
    """Before the destination's CPUs run."""

    async def test_no_destination(self, scene: Scene) -> None:
        scene.wire.refusals["receive"] = RefusedError("QEMU did not start: no tap")
        with pytest.raises(SdnError, match="g1 has not moved to hv2: QEMU did not start: no tap"):
            await scene.move()
        assert scene.goes_on
        assert scene.wire.log == []

    async def test_a_destination_that_nobody_knows_is_ended_before_its_directory_goes(self, scene: Scene) -> None:
        made: list[subprocess.Popen[bytes]] = []

        async def receive(_: Guest, place: Place, *__: Any) -> Any:
            words = ["qemu-system-x86_64", "-c", "echo; read -r forever"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            made.append(subprocess.Popen(words, executable="/bin/sh", cwd=place.directory, **pipes))
            assert made[0].stdout is not None
            made[0].stdout.readline()  # only a program that runs has a command line
            raise TransientError("QEMU does not greet on its monitor")

        scene.driver.receive = receive  # type: ignore[method-assign]
        try:
            with pytest.raises(SdnError, match="does not greet"):
                await scene.move()
            assert made[0].wait(1) == -9
        finally:
            made[0].kill()
            made[0].communicate()
        assert scene.goes_on

    @pytest.mark.parametrize("command", ["migrate-set-parameters", "migrate-incoming", "cont"])
    async def test_the_destination_refuses(self, scene: Scene, command: str) -> None:
        scene.wire.refusals[f"destination {command}"] = RefusedError("no such thing")
        with pytest.raises(SdnError, match="no such thing"):
            await scene.move()
        assert scene.goes_on

    @pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
    async def test_the_source_cannot_send(self, scene: Scene, mode: str) -> None:
        scene.wire.refusals["source migrate"] = RefusedError("device vfio is not migratable")
        with pytest.raises(SdnError, match="not migratable"):
            await scene.move(migration=mode)
        assert scene.goes_on
        assert scene.wire.log[-3:] == ["destination killed", "switch hv1", "source cont"]

    async def test_the_destination_cannot_load_what_it_gets(self, scene: Scene) -> None:
        scene.wire.loads = False
        with pytest.raises(SdnError, match="load of the devices failed"):
            await scene.move()
        assert scene.goes_on
        assert scene.source.capabilities == set()

    async def test_the_destination_dies_meanwhile(self, scene: Scene) -> None:
        scene.wire.sends = False
        move = asyncio.create_task(scene.move())
        while "source migrate" not in scene.wire.log:
            await asyncio.sleep(0)
        assert scene.wire.destination is not None
        scene.wire.destination.die()
        with pytest.raises(SdnError, match="QEMU on hv2 ended: killed by SIGKILL"):
            await move
        assert scene.goes_on
        assert scene.wire.log[-2:] == ["switch hv1", "source cont"]

    async def test_it_takes_too_long(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(migration_modes, "patience", lambda *_: 0.02)
        scene.wire.sends = False
        with pytest.raises(SdnError, match="has not ended in time"):
            await scene.move()
        assert scene.goes_on

    async def test_the_agent_ends_meanwhile(self, scene: Scene) -> None:
        """Nobody is asked for anything: the source's monitor is closed already, and the next agent sees both."""
        scene.wire.sends = False
        move = asyncio.create_task(scene.move())
        while "source migrate" not in scene.wire.log:
            await asyncio.sleep(0)
        done = list(scene.wire.log)
        scene.source.close()
        move.cancel()
        with pytest.raises(asyncio.CancelledError):
            await move
        destination = scene.wire.destination
        assert destination is not None
        assert scene.wire.log == done
        assert (scene.source.alive, destination.alive, destination.is_closed) == (True, True, True)
        assert sorted(os.listdir(scene.home.parent)) == ["g1", "g1.arriving"]
        assert verdict(Seen("paused", "active"), Seen("inmigrate", "active")) == "source"

    @pytest.mark.parametrize("state", ["running", "paused"])
    async def test_the_agent_ends_when_it_is_decided(self, scene: Scene, state: str) -> None:
        """Then the destination has it, paused ones too: the source is dead, by which the next agent knows."""
        scene.source.state = state
        move = asyncio.create_task(scene.move())

        async def end() -> None:
            if scene.source.alive:
                scene.source.die()
                move.cancel()
                await asyncio.sleep(0)

        scene.source.end = end  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await move
        destination = scene.wire.destination
        assert destination is not None
        assert (destination.alive, destination.is_closed) == (True, True)
        assert sorted(os.listdir(scene.home.parent)) == ["g1", "g1.arriving"]
        assert verdict(None, Seen(destination.state, "completed")) == "destination"


class TestSilence:
    """The destination runs, and does not answer."""

    async def test_with_its_memory_the_source_goes_on(self, scene: Scene) -> None:
        scene.wire.answer = SdnError("its guest agent has not answered within 10 s")
        with pytest.raises(SdnError, match="has not answered"):
            await scene.move()
        assert scene.goes_on
        assert scene.wire.log[-4:] == ["ask", "destination killed", "switch hv1", "source cont"]

    async def test_not_if_it_has_written_a_disk(self, scene: Scene) -> None:
        scene.wire.answer, scene.wire.written = SdnError("silent"), 1
        moved = await scene.move()
        assert moved.note.endswith("stop-and-copy; there was no way back when it went wrong: silent")
        assert not scene.source.alive

    @pytest.mark.usefixtures("shared")
    async def test_in_place_there_is_no_way_back(self, scene: Scene) -> None:
        scene.wire.answer = SdnError("silent")
        moved = await scene.move()
        assert moved.instance.chassis == "hv2"
        assert not scene.source.alive
        assert scene.wire.log.count("switch hv1") == 0

    async def test_nor_after_post_copy(self, scene: Scene) -> None:
        scene.wire.answer = SdnError("silent")
        assert "no way back" in (await scene.move(migration="post-copy")).note

    async def test_a_destination_that_died_is_told_where_there_is_no_way_back(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(arrival, "memory_of", lambda _: "/proc/7/fd/9")

        async def ask(emulator: Any, has_agent: bool) -> str:
            emulator.die()
            raise TransientError("its agent hung up")

        monkeypatch.setattr(scene.wire, "ask", ask)
        moved = await scene.move()
        assert "its agent hung up" in moved.note
        assert scene.ended == ["killed by SIGKILL", "killed by SIGKILL"]


class TestRefusal:
    async def test_a_device_of_the_machines(self, scene: Scene) -> None:
        with pytest.raises(MachineError, match=r"has devices of this machine for itself \(0000:03:10.2\)"):
            await scene.move(devices=("0000:03:10.2",))
        assert scene.goes_on

    async def test_a_driver_that_cannot(self, scene: Scene) -> None:
        scene.driver = object()  # type: ignore[assignment]
        with pytest.raises(MachineError, match="the driver libvirt cannot move guests"):
            await scene.move(driver="libvirt")

    async def test_other_memory(self, scene: Scene) -> None:
        with pytest.raises(MachineError, match="other memory or CPUs"):
            await scene.move(memory=256 * MIB)

    async def test_pre_copy_under_tcg(self, scene: Scene) -> None:
        with pytest.raises(MachineError, match="breaks guests that write memory"):
            await scene.move(migration="pre-copy")
        assert scene.wire.log == []


@pytest.mark.parametrize(
    ("wanted", "accelerator", "shareable", "mode"),
    [
        ("auto", KVM, True, "pre-copy"),
        ("auto", TCG, True, "in-place"),
        ("auto", TCG, False, "stop-and-copy"),
        ("stop-and-copy", TCG, True, "stop-and-copy"),
        ("post-copy", KVM, True, "post-copy"),
        ("pre-copy", KVM, False, "pre-copy"),
    ],
)
def test_modes(wanted: Any, accelerator: Accelerator, shareable: bool, mode: str) -> None:
    assert choose(wanted, accelerator, shareable) == mode


@pytest.mark.parametrize(
    ("source", "destination", "whose"),
    [
        (Seen("running"), None, "source"),
        (Seen("running", "active"), Seen("inmigrate", "active"), "source"),
        (Seen("paused"), Seen("inmigrate"), "source"),
        (Seen("postmigrate", "completed"), Seen("paused", "completed"), "source"),
        (Seen("postmigrate", "completed"), Seen("running", "completed"), "destination"),
        (Seen("postmigrate", "completed"), Seen("shutdown", "completed"), "destination"),
        (Seen("finish-migrate", "postcopy-active"), Seen("running", "postcopy-active"), "later"),
        (None, Seen("running", "completed"), "destination"),
        (None, Seen("paused", "completed"), "destination"),
        (None, Seen("inmigrate"), "source"),
        (None, None, "source"),
    ],
)
def test_whose_a_guest_is_after_an_agent_was_killed(source: Any, destination: Any, whose: str) -> None:
    assert verdict(source, destination) == whose


def test_the_memory_of_a_process_that_shares_it() -> None:
    assert arrival.memory_of(os.getpid()) == ""
    descriptor = os.memfd_create("memory-backend-memfd")
    try:
        path = arrival.memory_of(os.getpid())
        assert os.path.samestat(os.stat(path), os.fstat(descriptor))
    finally:
        os.close(descriptor)
