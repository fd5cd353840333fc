"""A guest of libvirt's: what its keeper is told, and what libvirt is asked. libvirt itself is in tests/lab."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.errors import ConflictError, TransientError
from datapath.guest.instance import Place
from datapath.guest.libvirt import domain, hardware, libvirt_files, libvirt_instance, libvirtd, libvirtd_home
from datapath.guest.libvirt import driver as libvirt
from datapath.guest.libvirt.domain import Files, TapPlug
from datapath.guest.libvirt.libvirt_instance import Domain, LibvirtInstance
from datapath.guest.libvirt.libvirtd_home import Home, home_of
from datapath.guest.libvirt.virt import BY_HOST, Event
from datapath.guest.qemu import outfit
from datapath.guest.qemu.command import Disk, Outfit
from datapath.guest.qemu.process import Process
from datapath.spec import Accelerator, Guest, Interface, Machine

UUID = "6f1d8f0e-5b7a-4b0e-9f5e-2d3a7b1c9e02"


def interface(number: int) -> Interface:
    mac = Mac(0x525400112230 + number)
    return Interface("web1", f"eth{number}", f"p-web1-eth{number}", 64, mac, 1450, (), ready=True)


def guest(*numbers: int, memory: int = 128) -> Guest:
    return Guest("web1", UUID, Machine(memory << 20, driver="libvirt"), tuple(map(interface, numbers)))


class Libvirtd:
    """A Service whose libvirtd has the one domain, and does what it is told at once."""

    def __init__(self, of: Guest) -> None:
        self.asked: list[str] = []
        self.refuses: set[str] = set()
        self.holds = False
        """The guest lets go of nothing."""
        self.status = "prelaunch"
        self.open = False
        self.severed: set[str] = set()
        """Taps that its QEMU has lost."""
        plugs = [TapPlug(each.bridge_port, 2, True) for each in of.interfaces]
        self.root = domain.domain(of, "sdn-t-web1", {"lab": "t", **hardware.fixed(of.machine)}, "tcg", Files(), plugs)
        self.listening: list[str] = []

    def log_of(self, domain: str) -> Path:
        return Path("/nowhere", domain)

    def listen(self, uuid: str, _: object) -> None:
        self.listening.append(uuid)

    def forget(self, uuid: str, _: object) -> None:
        self.listening = [each for each in self.listening if each != uuid]

    async def call(self, function: Callable[..., Any], uuid: str, *arguments: str) -> Any:
        assert uuid == UUID
        name = function.__name__
        self.asked.append(name)
        if name in self.refuses:
            raise TransientError(f"{name} does not work")
        return getattr(self, f"do_{name}", lambda *_: None)(*arguments)

    def do_xml(self) -> str:
        return self.root

    def taps(self, _: int) -> set[str]:
        return hardware.names(hardware.read(self.root)) - self.severed

    def do_attach(self, device: str) -> None:
        self.severed.clear()
        self.root = self.root.replace("</devices>", f"{device}</devices>")

    def do_detach(self, device: str) -> None:
        if not self.holds:
            found = hardware.read(self.root)
            (gone,) = [each for each in (*found.nics.values(), *found.volumes.values()) if domain.text(each) == device]
            self.root = self.root.replace(_as_written(gone, self.root), "")

    def do_monitor(self, command: str) -> str:
        answers = {
            "query-status": {"status": self.status},
            "query-chardev": [{"label": domain.AGENT_DEVICE, "frontend-open": self.open}],
        }
        return json.dumps({"return": answers[json.loads(command)["execute"]]})


def _as_written(device: Any, xml: str) -> str:
    """That part of the text of which `device` was read: it has the same first lines."""
    tag = device.tag
    parts = [f"<{tag}{part.partition(f'</{tag}>')[0]}</{tag}>" for part in xml.split(f"<{tag}")[1:]]
    (found,) = [part for part in parts if f'dev="{hardware.name(device)}"' in part]
    return found


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    """One that runs until somebody ends it."""
    child = subprocess.Popen(["sleep", "60"])
    made = Process(child.pid, os.pidfd_open(child.pid))
    try:
        yield made
    finally:
        made.close()
        child.kill()
        child.wait()


Make = Callable[..., tuple[LibvirtInstance, Libvirtd]]


@pytest.fixture
def make(tmp_path: Path, process: Process, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(outfit, "volume", lambda name: Disk(name, Path(f"/pool/volumes/{name}.qcow2"), "qcow2"))
    monkeypatch.setattr(outfit, "settings", lambda _: b"")

    def made(*numbers: int) -> tuple[LibvirtInstance, Libvirtd]:
        of = guest(*numbers)
        service = Libvirtd(of)
        monkeypatch.setattr(libvirt_instance, "taps_of", service.taps)
        place = Place("t", "hv1", tmp_path, "sdn-t-hv1", True)
        accelerator = Accelerator("tcg", "a test")
        instance = LibvirtInstance(
            service,  # type: ignore[arg-type]
            of,
            place,
            Domain("sdn-t-web1", UUID, accelerator),
            process,
            lambda what, why: told.append((what, why)),
        )
        return instance, service

    return made


async def test_its_life_as_libvirt_tells_it(make: Make, told: list[tuple[str, str]]) -> None:
    instance, service = make(0)
    instance.hear(Event(UUID, "suspended", "0"))
    assert (instance.state, told) == ("prepared", [])
    await instance.start()
    instance.hear(Event(UUID, "resumed", "0"))
    instance.hear(Event(UUID, "VSERPORT_CHANGE", json.dumps({"id": domain.AGENT_PORT, "open": True})))
    instance.hear(Event(UUID, "VSERPORT_CHANGE", json.dumps({"id": "another", "open": True})))
    assert (instance.state, instance.answers) == ("running", True)
    instance.hear(Event(UUID, "reboot"))
    instance.hear(Event(UUID, "suspended", "0"))
    assert instance.state == "paused"
    instance.hear(Event(UUID, "shutdown", "1"))
    assert instance.state == "off"
    assert [what for what, _ in told] == ["resumed", "agent-up", "reset", "paused", "shutdown"]
    assert service.asked == ["resume"]
    instance.close()
    assert service.listening == []


async def test_what_we_destroy_has_not_switched_itself_off(make: Make, told: list[tuple[str, str]]) -> None:
    instance, _ = make()
    instance.hear(Event(UUID, "shutdown", BY_HOST))
    assert told == []
    instance.close()


async def test_its_end_is_seen_at_its_process(make: Make, told: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("".join(f"line {number}\n\n" for number in range(9)) + "Kernel panic\n")
    instance, service = make()
    service.refuses = {"destroy"}
    await asyncio.wait_for(instance.kill(), 5)
    (what, why), *others = told
    assert (what, others) == ("ended", [])
    assert why.splitlines()[1:] == [*(f"console: line {number}" for number in range(5, 9)), "console: Kernel panic"]
    assert (instance.state, service.listening) == ("off", [])
    instance.close()


async def test_an_end_that_nobody_watched_is_told_afterwards(
    make: Make, told: list[tuple[str, str]], tmp_path: Path
) -> None:
    place = Place("t", "hv1", tmp_path, "sdn-t-hv1", True)
    assert not libvirt_files.has_run(place)
    libvirt_files.note_start(place)
    assert libvirt_files.has_run(place)
    assert not libvirt_files.has_run(replace(place, chassis="hv2"))
    libvirt_files.note_end(replace(place, chassis="hv2"))
    made = Domain("sdn-t-web1", UUID, Accelerator("tcg", "a test"))
    ended = await libvirt._ended(make()[1], guest(), place, made, lambda what, why: told.append((what, why)))  # type: ignore[arg-type]
    assert (ended.state, told) == ("off", [("ended", "while nobody watched")])
    await asyncio.wait_for(ended.kill(), 5)
    assert not libvirt_files.has_run(place), "it is told once"
    assert len(told) == 1


async def test_a_panic_is_its_end_and_no_pause(make: Make, told: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("Kernel panic - not syncing: for a test\nCPU: 0\n")
    instance, service = make()
    service.refuses = {"destroy"}
    await instance.start()
    for event in (Event(UUID, "GUEST_PANICKED", "{}"), Event(UUID, "suspended", "0")):
        instance.hear(event)
    assert (instance.state, told) == ("running", [])
    await instance.kill()
    assert told == [("ended", "its kernel panicked\nconsole: Kernel panic - not syncing: for a test")]


async def test_another_agent_sees_how_it_is(make: Make, told: list[tuple[str, str]]) -> None:
    instance, service = make()
    service.status, service.open = "running", True
    await instance.take_in()
    assert (instance.state, instance.answers, told) == ("running", True, [])
    service.status, service.open = "io-error", False
    await instance.look()
    assert (instance.state, told) == ("paused", [("paused", ""), ("agent-down", "")])
    service.status = "shutdown"
    await instance.take_in()
    assert instance.state == "off"
    instance.close()


async def test_interfaces_come_and_go(make: Make) -> None:
    instance, service = make(0)
    wanted = guest(0, 1, memory=256)
    assert await instance.adapt(wanted, [interface(0)]) == ("its memory will change with the next start",)
    assert [each.name for each in instance.guest.interfaces] == ["eth0"]
    await instance.adapt(wanted, wanted.interfaces)
    assert [each.name for each in instance.guest.interfaces] == ["eth0", "eth1"]
    assert await instance.adapt(guest(1), [interface(1)]) == ()
    assert [nic.device for nic in hardware.read(service.root).nics] == ["p-web1-eth1"]
    assert [name for name in service.asked if name in ("attach", "detach")] == ["attach", "detach"]
    instance.close()


async def test_a_tap_that_was_made_anew_is_plugged_anew(make: Make) -> None:
    instance, service = make(0, 1)
    instance.applied = b"told"
    service.severed = {"p-web1-eth0"}
    await instance.adapt(guest(0, 1), [interface(1)])
    assert instance.guest.interfaces == (interface(1),)
    assert not {"attach", "detach"} & set(service.asked)
    assert instance.applied
    await instance.adapt(guest(0, 1), guest(0, 1).interfaces)
    assert instance.guest == guest(0, 1)
    assert [name for name in service.asked if name in ("attach", "detach")] == ["detach", "attach"]
    assert not instance.applied, "in the guest it is a new one"
    instance.close()


async def test_a_guest_that_does_not_let_go(make: Make) -> None:
    instance, service = make(0, 1)
    service.holds = True
    with pytest.raises(TransientError, match="has not let go of p-web1-eth1"):
        await instance.adapt(guest(0), [interface(0)])
    instance.close()


async def test_volumes_come_and_go(make: Make) -> None:
    instance, service = make()
    await instance.adapt(replace(guest(), machine=replace(guest().machine, volumes=("data",))), ())
    assert set(hardware.read(service.root).volumes) == {"/pool/volumes/data.qcow2"}
    await instance.adapt(guest(), ())
    assert not hardware.read(service.root).volumes
    instance.close()


# ── the daemon ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_daemon_is_known_by_its_pidfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirtd_home, "program", lambda: "/usr/sbin/libvirtd")
    home = home_of(Path("/run/sdn/t"), "hv1")
    assert home.is_of(home.command())
    assert not home.is_of(home_of(Path("/run/sdn/t"), "hv2").command())
    assert not home.is_of(["/usr/sbin/libvirtd", "--daemon"])
    assert not home.is_of([""])
    assert home.uri == "qemu+unix:///system?socket=/run/sdn/t/hv1/libvirt/libvirt-sock&mode=direct"


def test_a_pidfile_of_somebody_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert libvirtd.adopt(home) is None
    home.pidfile.write_text(str(os.getpid()))
    assert libvirtd.adopt(home) is None
    home.pidfile.write_text("nonsense")
    assert libvirtd.adopt(home) is None


def test_remove_all_of_a_lab_without_libvirt(tmp_path: Path) -> None:
    libvirt.remove_all("t", tmp_path)


def test_remove_all_removes_the_directories(tmp_path: Path) -> None:
    (tmp_path / "hv1" / "libvirt" / "run").mkdir(parents=True)
    (tmp_path / "hv2").mkdir()
    libvirt.remove_all("t", tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["hv2"]


# ── the driver ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_where_no_libvirtd_ever_ran_nothing_is_found_and_none_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirtd, "ensure", lambda *_: pytest.fail("a libvirtd was started"))
    place = Place("t", "hv1", tmp_path / "guests" / "web1", "sdn-t-hv1", True)
    driver = libvirt.LibvirtDriver()
    assert await driver.find(guest(), place, lambda *_: None) is None
    assert driver.can_migrate is False
    driver.close()


@pytest.mark.parametrize("mark", [{}, {"lab": "another"}])
def test_somebody_elses_domain_is_left_alone(mark: dict[str, str]) -> None:
    found = hardware.read(domain.domain(guest(), "sdn-t-web1", mark, "tcg", Files(Outfit()), []))
    with pytest.raises(ConflictError, match="not ours"):
        libvirt._claim(found, "t", "sdn-t-web1")


def test_one_queue_is_not_enough_for_our_taps(tmp_path: Path) -> None:
    place = Place("t", "hv1", tmp_path, "sdn-t-hv1", False)
    assert libvirt_files.tap(guest(0), interface(0), place) == TapPlug("p-web1-eth0", 2, False)
