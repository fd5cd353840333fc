"""Real QEMUs, without a lab: launched, adopted, plugged, snapshotted, killed. The guest is the built-in one; under TCG
it boots within three seconds on a machine that has nothing else to do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from threading import Thread

import pytest

from datapath.addr import Mac
from datapath.errors import RefusedError
from datapath.guest import qga
from datapath.guest.instance import Happening, Place
from datapath.guest.pool import disks, storage
from datapath.guest.qemu import command, monitor, process, saved
from datapath.guest.qemu.emulated import QemuMachine
from datapath.guest.qemu.machine import QemuDriver
from datapath.linux import namespaces, taps
from datapath.spec import Guest, Interface, Machine, Seed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

UUID = "6a3c1e5e-0b1d-4c8e-9e0f-5f6d7c8b9a01"
PATIENCE = 60.0
TAPS = ("sdnt-tap0", "sdnt-tap1", "sdnt-tap2")


def interface(number: int, **others: object) -> Interface:
    made = Interface(
        node="g1",
        name=f"eth{number}",
        bridge_port=TAPS[number],
        ofport=64 + number,
        mac=Mac.parse(f"02:00:00:00:00:0{number}"),
        mtu=1450,
        addresses=(ip_interface(f"10.9.{number}.1/24"),),
        ready=True,
    )
    return replace(made, **others)


def guest(*interfaces: Interface, **machine: object) -> Guest:
    return Guest("g1", UUID, replace(Machine(memory=128 << 20), **machine), interfaces)


class Bench:
    """A namespace with taps, and one guest at a time in it."""

    def __init__(self, directory: Path, namespace: str) -> None:
        self.place = Place("sdnt", "hv1", directory / "g1", namespace, vnet_hdr=True)
        self.driver = QemuDriver()
        self.happened: list[tuple[Happening, str, float]] = []
        self._stirred = asyncio.Event()

    def happen(self, what: Happening, why: str) -> None:
        self.happened.append((what, why, time.monotonic()))
        self._stirred.set()

    async def until(self, what: Happening, forget: bool = True) -> tuple[str, float]:
        """Why, and when, it happened since the last time that something was awaited."""
        async with asyncio.timeout(PATIENCE):
            while not (found := [each for each in self.happened if each[0] == what]):
                self._stirred.clear()
                await self._stirred.wait()
        if forget:
            self.happened.clear()
        return found[0][1:]

    async def launch(self, wanted: Guest) -> QemuMachine:
        return await self.driver.launch(wanted, self.place, self.happen)

    async def boot(self, wanted: Guest) -> QemuMachine:
        machine = await self.launch(wanted)
        await machine.start()
        await self.until("agent-up")
        return machine

    async def run(self, *arguments: str) -> str:
        done = await qga.Agent(self.place.directory / command.AGENT).run(arguments)
        assert not done.code, done.err
        return done.out.decode()

    @property
    def monitor(self) -> Path:
        return self.place.directory / command.MONITOR


@pytest.fixture
def namespace() -> Iterator[str]:
    """With three taps, in which nobody listens."""
    name = f"sdnt-qemu-{os.getpid()}"

    def make() -> None:
        with namespaces.home_again():
            namespaces.new()
            namespaces.publish(name, "sdnt")
            for tap in TAPS:
                taps.make(tap)

    namespaces.prepare()
    thread = Thread(target=make)
    thread.start()
    thread.join()
    yield name
    namespaces.withdraw(name)


@pytest.fixture
async def bench(tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    made = Bench(tmp_path, namespace)
    yield made
    with suppress(FileNotFoundError):
        pid = int((made.place.directory / command.PID).read_text())
        if process.is_emulator(pid, UUID, made.place.directory):
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


class TestItsLife:
    async def test_its_cpus_stand_still_until_it_is_started(self, bench: Bench) -> None:
        began = time.monotonic()
        machine = await bench.launch(guest(interface(0)))
        assert (machine.state, machine.answers, machine.chassis) == ("prepared", False, "hv1")
        assert time.monotonic() - began < 15  # the first one in this process looks for KVM, and makes the initramfs
        await machine.start()
        await bench.until("agent-up")
        assert (machine.state, machine.answers) == ("running", True)
        assert "10.9.0.1/24" in await bench.run("ip", "-4", "address", "show", "eth0")
        await machine.kill()
        machine.close()

    async def test_everything_of_it_is_root_s_alone(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        readable = [each.name for each in bench.place.directory.iterdir() if each.stat().st_mode & 0o077]
        assert not readable
        assert not bench.place.directory.stat().st_mode & 0o077
        await machine.kill()
        machine.close()

    async def test_the_next_agent_finds_it(self, bench: Bench) -> None:
        first = await bench.boot(guest(interface(0), interface(1)))
        first.close()
        found = await bench.driver.find(guest(), bench.place, bench.happen)
        assert found is not None
        assert (found.pid, found.state, found.answers) == (first.pid, "running", True)
        assert found.guest == first.guest
        assert found.started == first.started
        await found.kill()
        await bench.until("ended")
        found.close()
        assert await bench.driver.find(guest(), bench.place, bench.happen) is None

    async def test_without_its_notes_it_is_found_by_what_qemu_has(self, bench: Bench) -> None:
        first = await bench.launch(guest(interface(0), interface(1)))
        first.close()
        (bench.place.directory / saved.FILE).unlink()
        wanted = guest(interface(1), interface(2))
        found = await bench.driver.find(wanted, bench.place, bench.happen)
        assert found is not None
        assert [each.name for each in found.guest.interfaces] == ["eth1"]
        assert found.ports.nics == {"eth0": 0, "eth1": 1}
        await found.kill()
        found.close()

    async def test_it_is_not_looked_for_on_another_chassis_or_by_another_uuid(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        elsewhere = replace(bench.place, chassis="hv2")
        assert await bench.driver.find(guest(), elsewhere, bench.happen) is None
        other = replace(guest(), uuid="00000000-0000-4000-8000-000000000000")
        assert await bench.driver.find(other, bench.place, bench.happen) is None
        await machine.kill()
        machine.close()

    async def test_its_end_is_known_at_once_and_why(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        await bench.run("sh", "-c", "echo last words > /dev/console")
        killed = time.monotonic()
        os.kill(machine.pid, signal.SIGKILL)
        why, when = await bench.until("ended")
        assert when - killed < 0.5
        assert "SIGKILL" in why
        assert "last words" in why
        machine.close()

    async def test_one_that_switches_itself_off_is_told_from_one_that_dies(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        await machine.shutdown()
        await bench.until("ended", forget=False)
        assert [each[0] for each in bench.happened if each[0] in ("shutdown", "ended")] == ["shutdown", "ended"]
        machine.close()

    async def test_it_is_paused_and_goes_on(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        await machine.pause()
        await bench.until("paused")
        assert machine.state == "paused"
        await machine.resume()
        await bench.until("resumed")
        assert machine.state == "running"
        await machine.reset()
        await bench.until("reset")
        await bench.until("agent-up")
        await machine.kill()
        machine.close()

    async def test_a_lost_monitor_is_made_again(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        writer = machine._monitor._client._writer
        assert writer is not None
        writer.transport.abort()
        await bench.until("paused")  # is told when there is another one
        await machine.start()
        assert machine.state == "running"
        await machine.kill()
        machine.close()

    async def test_what_qemu_does_not_like_is_said_in_its_words(self, bench: Bench, namespace: str) -> None:
        disks.pool()
        own = storage.own_disk("sdnt", guest())
        own.write_bytes(b"no disk")
        with pytest.raises(RefusedError, match="qcow2"):
            await bench.launch(guest(interface(0)))

    async def test_nothing_of_it_remains(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        assert storage.own_disk_path("sdnt", "g1").exists()
        await machine.kill()
        machine.close()
        await bench.driver.remove("g1", bench.place)
        assert not bench.place.directory.exists()
        assert not storage.own_disk_path("sdnt", "g1").exists()


BOOT_SECTOR = (
    b"\x31\xc0\x8e\xd8\xbe\x15\x7c"  # xor ax, ax; mov ds, ax; mov si, message
    b"\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8"  # mov dx, COM1; each byte of it: out dx, al
    b"\xf4\xeb\xfd"  # hlt, for ever
    b"booted from disk\n\0"
)


class TestImages:
    async def test_the_firmware_boots_the_guest_s_own_disk_and_not_the_seed(self, bench: Bench, tmp_path: Path) -> None:
        image = tmp_path / "image.raw"
        image.write_bytes(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
        before = image.read_bytes()
        seed = Seed("me", ("ssh-ed25519 AAAA me@here",), "")
        machine = await bench.launch(guest(interface(0), image=str(image), seed=seed, disk=8 << 20))
        assert machine.ports.disks == {"root": 0, "seed": 4}
        reader, writer = await asyncio.open_unix_connection(bench.place.directory / command.SERIAL)
        await machine.start()
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"booted from disk")
        writer.close()
        assert b"booted from" in (bench.place.directory / command.CONSOLE_LOG).read_bytes()
        await asyncio.to_thread(monitor.snapshot_save, bench.monitor, "s1")
        await asyncio.to_thread(monitor.snapshot_load, bench.monitor, "s1")
        assert image.read_bytes() == before
        await machine.kill()
        machine.close()


class TestHardware:
    async def test_an_interface_is_plugged_and_has_its_address(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        wanted = guest(interface(0), interface(1))
        began = time.monotonic()
        assert await machine.adapt(wanted, wanted.interfaces) == ()
        took = time.monotonic() - began
        assert machine.guest == wanted
        assert "10.9.1.1/24" in await bench.run("ip", "-4", "address", "show", "eth1")
        assert "mtu 1450" in await bench.run("ip", "link", "show", "eth1")
        assert took < 5
        await machine.kill()
        machine.close()

    async def test_one_that_is_not_ready_is_awaited(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        wanted = guest(interface(0), interface(1))
        await machine.adapt(wanted, [interface(0)])
        assert [each.name for each in machine.guest.interfaces] == ["eth0"]
        await machine.adapt(wanted, wanted.interfaces)
        assert machine.guest == wanted
        await machine.kill()
        machine.close()

    async def test_one_that_is_another_now_takes_the_place_of_the_old_one(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0), interface(1)))
        wanted = guest(interface(0, mtu=9000), interface(1))
        await machine.adapt(wanted, wanted.interfaces)
        assert machine.ports.nics == {"eth0": 0, "eth1": 1}
        assert "mtu 9000" in await bench.run("ip", "link", "show", "eth0")
        wanted = guest(interface(1))
        await machine.adapt(wanted, wanted.interfaces)
        assert "eth0" not in await bench.run("ip", "link")
        machine.close()
        found = await bench.driver.find(wanted, bench.place, bench.happen)
        assert found is not None
        assert found.guest == wanted
        await found.kill()
        found.close()

    async def test_before_its_first_instruction_nobody_is_asked_to_let_go(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0), interface(1)))
        wanted = guest(interface(2))
        await machine.adapt(wanted, wanted.interfaces)
        assert machine.ports.nics == {"eth2": 0}
        assert machine.state == "prepared"
        await machine.kill()
        machine.close()

    async def test_a_volume_is_plugged_and_unplugged(self, bench: Bench) -> None:
        disks.pool()
        storage.make_empty(disks.pool() / "volumes" / "data.qcow2", 16 << 20)
        machine = await bench.boot(guest(interface(0)))
        wanted = guest(interface(0), volumes=("data",))
        await machine.adapt(wanted, wanted.interfaces)
        found = "until cat /sys/block/vda/serial 2> /dev/null; do sleep 0.05; done"
        assert await bench.run("sh", "-c", found) == "data"
        await machine.adapt(guest(interface(0)), [interface(0)])
        assert "vda" not in await bench.run("ls", "/sys/block")
        await machine.kill()
        machine.close()

    async def test_what_comes_with_the_next_start_is_told(self, bench: Bench) -> None:
        machine = await bench.launch(guest(interface(0)))
        wanted = guest(interface(0), memory=256 << 20, cpus=2)
        words = await machine.adapt(wanted, wanted.interfaces)
        assert words == (
            "its memory will change with the next start",
            "its number of CPUs will change with the next start",
        )
        assert machine.guest.machine.memory == 128 << 20
        await machine.kill()
        machine.close()

    async def test_several_cpus_have_a_queue_each(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0), cpus=2))
        assert "rx-1" in await bench.run("ls", "/sys/class/net/eth0/queues")
        await machine.kill()
        machine.close()


class TestSnapshots:
    async def test_a_guest_is_as_it_was_with_its_memory(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        await bench.run("sh", "-c", "echo before > /tmp/mark")
        made = await asyncio.to_thread(monitor.snapshot_save, bench.monitor, "s1")
        assert (made.name, made.size > 0) == ("s1", True)
        await bench.run("sh", "-c", "echo after > /tmp/mark")
        bench.happened.clear()
        await asyncio.to_thread(monitor.snapshot_load, bench.monitor, "s1")
        await bench.until("agent-up")
        assert await bench.run("cat", "/tmp/mark") == "before\n"
        await self._refused(bench)
        await self._other_hardware(bench, machine)
        await asyncio.to_thread(monitor.snapshot_delete, bench.monitor, "s1")
        assert await asyncio.to_thread(monitor.snapshots, bench.monitor) == ()
        await machine.kill()
        machine.close()

    async def _refused(self, bench: Bench) -> None:
        with pytest.raises(RefusedError, match="already"):
            await asyncio.to_thread(monitor.snapshot_save, bench.monitor, "s1")
        with pytest.raises(RefusedError, match="no snapshot 's2'"):
            await asyncio.to_thread(monitor.snapshot_load, bench.monitor, "s2")

    async def _other_hardware(self, bench: Bench, machine: QemuMachine) -> None:
        wanted = guest(interface(0), interface(1))
        await machine.adapt(wanted, wanted.interfaces)
        with pytest.raises(RefusedError, match="other hardware"):
            await asyncio.to_thread(monitor.snapshot_load, bench.monitor, "s1")
        assert await bench.run("cat", "/tmp/mark") == "before\n"

    async def test_the_balloon_tells_of_memory(self, bench: Bench) -> None:
        machine = await bench.boot(guest(interface(0)))
        found = await asyncio.to_thread(monitor.balloon_statistics, bench.monitor)
        assert found["actual"] == 128 << 20
        assert 0 < found["free"] < found["total"] <= 128 << 20
        await asyncio.to_thread(monitor.announce, bench.monitor)
        await machine.kill()
        machine.close()
