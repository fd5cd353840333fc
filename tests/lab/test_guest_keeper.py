"""Keepers with real QEMUs: the same lives as in the unit tests, where nothing is pretended.

The guest is a kernel with a shell on its serial console; its interfaces are taps in namespaces of the test's own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.events import GuestState
from datapath.guest import initramfs, kernel, life, remove
from datapath.guest.guests import Guests
from datapath.guest.qemu.machine import QemuDriver
from datapath.linux import namespaces, taps
from datapath.spec import Guest, HostSpec, Interface, Kernel, Machine, Underlay, namespace
from tests.lab.labs import unique_name
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab("qemu-system-x86_64", "busybox"), pytest.mark.timeout(120 * PATIENCE)]

SECONDS = 40 * PATIENCE
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /etc/acpi/PWRF
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for each in /modules/*; do insmod $each; done
printf '#!/bin/sh\\necho off >/dev/console; poweroff -f\\n' >/etc/acpi/PWRF/00000080; chmod +x /etc/acpi/PWRF/00000080
acpid -f -l /acpid.log -p /acpid.pid -c /etc/acpi &
stty -echo
echo up
while true; do sh; done
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """What the guests boot."""
    chosen = kernel.fetch()
    busybox = initramfs.file("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
    entries = [
        *(initramfs.directory(each) for each in ("dev", "bin", "modules")),
        *(initramfs.console(), busybox, initramfs.file("init", INIT.encode(), 0o755)),
    ]
    for number, module in enumerate(initramfs.modules(chosen, ["virtio_net", "virtio_pci", "evdev", "button"])):
        entries.append(replace(module, path=f"modules/{number:02}-{Path(module.path).name}"))
    path = tmp_path_factory.mktemp("system") / "initrd"
    path.write_bytes(initramfs.archive(entries))
    return Kernel(str(chosen.image), str(path), "console=ttyS0 quiet panic=0")


@dataclass
class Keepers:
    """Guests as an agent has them; what is told is awaited."""

    lab: str
    run_dir: Path
    boots: int = 0
    states: list[GuestState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._told = asyncio.Event()
        self.guests = Guests(self.lab, self.run_dir, lambda _: QemuDriver(), self._hear, self._look, boots=self.boots)

    def _hear(self, state: GuestState) -> None:
        self.states.append(state)
        self._told.set()

    def _look(self, _: str) -> None:
        self._told.set()

    def wish(self, *specs: HostSpec) -> None:
        self.guests.settle({each.chassis: each for each in specs}, lambda _: True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._told.clear()
                await self._told.wait()

    async def settle(self, *specs: HostSpec) -> None:
        self.wish(*specs)
        await self.until(lambda: all(self.guests.settled(each.chassis) for each in specs))

    def last(self, name: str) -> GuestState:
        return next(state for state in reversed(self.states) if state.guest == name)

    async def phase(self, name: str, phase: str) -> GuestState:
        await self.until(lambda: self.last(name).phase == phase)
        return self.last(name)


@dataclass
class Place:
    """Chassis c1 and c2 with taps, and what boots."""

    lab: str
    run_dir: Path
    system: Kernel
    keepers: list[Keepers] = field(default_factory=list)

    def agent(self, boots: int = 0) -> Keepers:
        self.keepers.append(Keepers(self.lab, self.run_dir, boots))
        return self.keepers[-1]

    async def let_go(self) -> None:
        """Of all guests; the connections to them are closed."""
        for each in self.keepers:
            each.guests.close()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)

    def nic(self, name: str, number: int = 0, ready: bool = True) -> Interface:
        mac = Mac(0x020000000000 + number)
        return Interface(name, f"eth{number}", f"{name}{number}", 64 + number, mac, 1450, (), ready=ready)

    def guest(self, name: str, *interfaces: Interface, **machine: Any) -> Guest:
        uuid = f"00000000-0000-4000-8000-{sum(name.encode()):012x}"
        given = {"memory": 96 << 20, "kernel": self.system, **machine}
        return Guest(name, uuid, Machine(**given), interfaces)

    def spec(self, *guests: Guest, chassis: str = "c1") -> HostSpec:
        underlay = Underlay(IPv4Interface("172.31.0.1/24"), Mac(0x020000000001), 1500, ())
        return HostSpec(self.lab, chassis, namespace(self.lab, chassis), 1, underlay, (), (), (), guests=guests)

    def home(self, name: str) -> Path:
        return self.run_dir / "guests" / name

    def processes(self) -> list[int]:
        found = list(remove.running(self.run_dir / "guests"))
        for descriptor in found:
            os.close(descriptor)
        return found

    @asynccontextmanager
    async def console(self, name: str) -> AsyncIterator[Console]:
        reader, writer = await asyncio.open_unix_connection(self.home(name) / "console.sock")
        try:
            yield Console(reader, writer)
        finally:
            writer.close()


@dataclass
class Console:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytes = b""

    async def expect(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while text.encode() not in self.seen:
                data = await self.reader.read(4096)
                assert data, f"the console was closed after {self.seen!r}"
                self.seen += data

    async def ask(self, command: str, answer: str) -> None:
        self.seen = b""
        self.writer.write(command.encode() + b"\n")
        await self.expect(answer)


@pytest.fixture
async def place(tmp_path: Path, system: Kernel, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    lab = unique_name()
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    # Nobody tells when a guest without an agent is up; here its console does.
    monkeypatch.setattr(life, "BOOT", 1.0)
    names = [f"{name}{number}" for name in ("web", "db") for number in range(2)]
    with _taps(namespace(lab, "c1"), names), _taps(namespace(lab, "c2"), names):
        made = Place(lab, tmp_path / "run", system)
        try:
            yield made
        finally:
            await made.let_go()
            remove.remove_all(lab, made.run_dir)
    assert not made.processes()


@contextmanager
def _taps(home: str, names: list[str]) -> Iterator[None]:
    """In a namespace that a chassis would have."""
    with ThreadPoolExecutor(1) as worker:
        worker.submit(_make, home, names).result()
    try:
        yield
    finally:
        namespaces.withdraw(home)


def _make(home: str, names: list[str]) -> None:
    namespaces.prepare()
    with namespaces.home_again():
        namespaces.new()
        for name in names:
            taps.make(name)
        namespaces.publish(home, home)


async def test_a_life(place: Place) -> None:
    """Starts with its flows, talks on its console, gets another interface, pauses, is switched off and on."""
    agent = place.agent()
    agent.wish(place.spec(place.guest("web", place.nic("web", ready=False))))
    await agent.until(lambda: bool(agent.states) and agent.last("web").pid != 0)
    assert agent.last("web").phase == "starting"
    assert agent.last("web").accelerator in ("kvm", "tcg")
    assert not agent.guests.attached("web", "eth0")

    web = place.guest("web", place.nic("web"))
    await agent.settle(place.spec(web))
    assert agent.last("web").phase == "running"
    assert agent.guests.attached("web", "eth0")
    async with place.console("web") as console, place.console("web") as other:
        await console.expect("up")
        await other.expect("up")
        await console.ask("ls /sys/class/net; echo the $((20+3))", "the 23")
        assert b"eth0" in console.seen
        await other.expect("the 23")

        await agent.settle(place.spec(place.guest("web", place.nic("web"), place.nic("web", 1))))
        assert agent.guests.attached("web", "eth1")
        await console.ask("while [ ! -e /sys/class/net/eth1 ]; do sleep 0.1; done; echo plug$((1+1))", "plug2")
        await agent.settle(place.spec(web))
        assert not agent.guests.attached("web", "eth1")

        await agent.settle(place.spec(place.guest("web", place.nic("web"), power="paused")))
        assert agent.last("web").phase == "paused"
        console.writer.write(b"echo woke$((1+1))\n")
        await agent.settle(place.spec(web))
        assert agent.last("web").phase == "running"
        await console.expect("woke2")

        await agent.settle(place.spec(place.guest("web", place.nic("web"), memory=128 << 20)))
        assert "memory" in agent.last("web").note
        await agent.settle(place.spec(place.guest("web", place.nic("web"), memory=128 << 20, power="off")))
        assert (agent.last("web").phase, agent.last("web").error) == ("off", "")
        await console.expect("off")
        assert place.processes() == []

        console.seen = b""
        await agent.settle(place.spec(place.guest("web", place.nic("web"), memory=128 << 20)))
        await console.expect("up")
    assert agent.last("web").restarts == 0


async def test_killed_panicked_and_switched_off(place: Place) -> None:
    agent = place.agent()
    web = place.guest("web", place.nic("web"))
    await agent.settle(place.spec(web))
    async with place.console("web") as console:
        await console.expect("up")
        # QEMU logs what it has passed on, a moment later.
        await console.ask("echo last words; echo and$((1+1))", "and2")
        before = agent.last("web")
        os.kill(before.pid, signal.SIGKILL)
        await agent.phase("web", "failed")
        assert "last words" in agent.last("web").error
        assert "SIGKILL" in agent.last("web").error
        assert not agent.guests.attached("web", "eth0")
        await agent.phase("web", "running")
        assert agent.last("web").restarts == 1
        assert agent.last("web").pid != before.pid
        console.seen = b""
        await console.expect("up")

        console.writer.write(b"poweroff -f\n")
        await agent.phase("web", "off")
        await agent.until(lambda: agent.guests.settled("c1") and not place.processes())
        assert agent.last("web").note == "it switched itself off"


async def test_another_agent_finds_it(place: Place) -> None:
    first = place.agent()
    web = place.guest("web", place.nic("web"))
    await first.settle(place.spec(web))
    async with place.console("web") as console:
        await console.expect("up")
        await console.ask("state=kept; echo set$((1+1))", "set2")
    first.guests.close()

    second = place.agent()
    await second.settle(place.spec(web))
    seen = second.last("web")
    assert (seen.pid, seen.phase, seen.started) == (first.last("web").pid, "running", first.last("web").started)
    async with place.console("web") as console:
        await console.expect("up")
        await console.ask("echo it is $state", "it is kept")
    os.kill(seen.pid, signal.SIGKILL)
    await second.phase("web", "failed")
    await second.phase("web", "running")


async def test_an_agent_that_ends_before_it_has_told_of_its_launch(place: Place) -> None:
    """Whether QEMU has its pidfile already or not: the next agent has one process, and nobody the other."""
    first = place.agent()
    web = place.guest("web", place.nic("web"))
    first.wish(place.spec(web))
    while not place.processes():  # the first moment at which there is one
        await asyncio.sleep(0.001)
    assert all(state.pid == 0 for state in first.states)
    first.guests.close()

    second = place.agent()
    await second.settle(place.spec(web))
    assert len(place.processes()) == 1
    assert second.last("web").restarts == 0
    async with place.console("web") as console:
        await console.expect("up")


async def test_one_that_died_and_rests_is_not_started_by_another_agent(place: Place) -> None:
    first = place.agent()
    web = place.guest("web", place.nic("web"), restart="never")
    await first.settle(place.spec(web))
    os.kill(first.last("web").pid, signal.SIGKILL)
    await first.phase("web", "failed")
    first.guests.close()
    second = place.agent()
    await second.settle(place.spec(web))
    assert second.last("web") == first.last("web")
    assert place.processes() == []


async def test_guests_take_turns_and_go_without_a_trace(place: Place) -> None:
    agent = place.agent(boots=1)
    await agent.settle(place.spec(place.guest("web", place.nic("web")), place.guest("db", place.nic("db"))))
    starts = [state for state in agent.states if state.pid and state.phase == "starting"]
    assert [state.guest for state in starts] == ["web", "db"]
    await agent.settle(place.spec(place.guest("db", place.nic("db"))))
    await agent.until(lambda: not place.home("web").exists())
    assert len(place.processes()) == 1

    agent.guests.close()
    successor = place.agent()
    await successor.settle(place.spec())
    await successor.until(lambda: not place.home("db").exists())
    assert place.processes() == []
    assert not list((place.run_dir.parent / "pool" / "labs" / place.lab).glob("*"))


async def test_a_move_is_told_step_by_step(place: Place) -> None:
    first = place.agent()
    web = place.guest("web", place.nic("web"))
    await first.settle(place.spec(web), place.spec(chassis="c2"))
    async with place.console("web") as console:
        await console.expect("up")
        await console.ask("state=kept; echo set$((1+1))", "set2")
        before = len(first.states)
        leaves, comes = replace(web, moves_to="c2"), replace(web, comes_from="c1")
        await first.settle(place.spec(leaves), place.spec(comes, chassis="c2"))
        told = [(state.phase, state.at, state.leaves) for state in first.states[before:]]
        assert told[0] == ("moving", "c1", "")
        assert ("moving", "c2", "c1") in told
        assert told[-1] == ("running", "c2", ""), first.last("web").error
        assert "c1 to c2" in first.last("web").note
        assert first.last("web").pid != first.states[before - 1].pid
        assert first.guests.attached("web", "eth0")
        await console.ask("echo it is $state", "it is kept")
    await first.settle(place.spec(), place.spec(web, chassis="c2"))
    first.guests.close()

    second = place.agent()
    await second.settle(place.spec(), place.spec(web, chassis="c2"))
    assert (second.last("web").at, second.last("web").pid) == ("c2", first.last("web").pid)
    async with place.console("web") as console:
        await console.ask("echo still $state", "still kept")
    await second.settle(place.spec(), place.spec(replace(web, machine=replace(web.machine, power="off")), chassis="c2"))
    assert second.last("web").phase == "off"
    assert place.processes() == []


async def test_a_launch_that_cannot_be(place: Place, tmp_path: Path) -> None:
    agent = place.agent()
    nothing = tmp_path / "no-kernel"
    nothing.write_bytes(b"x" * 4096)
    broken = place.guest("web", place.nic("web"), kernel=replace(place.system, image=str(nothing)))
    await agent.settle(place.spec(broken))
    assert agent.last("web").phase == "failed"
    assert agent.guests.errors("c1")
    assert place.processes() == []


async def test_everything_of_a_lab_goes_though_nobody_looks_after_it(place: Place) -> None:
    agent = place.agent()
    await agent.settle(place.spec(place.guest("web", place.nic("web"))))
    agent.guests.close()
    assert place.processes()
    remove.remove_all(place.lab, place.run_dir)
    assert place.processes() == []
    assert not (place.run_dir / "guests").exists()
