"""Guests move between real QEMUs, over two taps on one Linux bridge: what becomes of their memory, disks, devices and
packets, and of those whose move fails.

The guest is a kernel with a shell. It rewrites 16 MiB of memory and a disk without pause, looks whether it finds what
it has written, and says so on its console. It has no agent; with one, and whole labs: test_guests_move.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.errors import SdnError
from datapath.guest import initramfs, kernel, remove
from datapath.guest.instance import Place
from datapath.guest.qemu import arrival, migration
from datapath.guest.qemu.emulated import QemuMachine
from datapath.guest.qemu.machine import QemuDriver
from datapath.guest.qemu.migration import migrate
from datapath.guest.qemu.recovery import recover
from datapath.linux import namespaces, taps
from datapath.spec import Guest, Interface, Kernel, Machine, namespace
from tests.lab.labs import unique_name
from tests.lab.pinger import Pinger
from tests.lab.processes import kill
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab("qemu-system-x86_64", "busybox"), pytest.mark.timeout(120 * PATIENCE)]

SECONDS = 40 * PATIENCE
HERE, GUEST = "10.9.0.1", "10.9.0.2"
MEMORY = 112 << 20

MODES = ("auto", "stop-and-copy", "post-copy")
LONGEST = 5 * PATIENCE
"""Seconds without an answer after which a move has not been one. How short they are, the bench measures."""

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
for each in /modules/*; do insmod $each; done
ip link set eth0 up; ip address add 10.9.0.2/24 dev eth0
dd if=/dev/urandom of=/tmp/a bs=1M count=8 2>/dev/null
sum=$(md5sum </tmp/a); start=$(head -c 262144 /tmp/a | md5sum)
check() {
  while :; do
    n=$((n+1))
    cat /tmp/a >/tmp/b; cat /tmp/b >/tmp/a
    dd if=/tmp/a of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null
    echo 1 >/proc/sys/vm/drop_caches
    disk=$(dd if=/dev/vda bs=64k count=4 2>/dev/null | md5sum)
    [ "$(md5sum </tmp/a) $disk" = "$sum $start" ] && echo "ok $n" || echo "BAD $n"
  done
}
check &
while true; do sh; done
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """What the guest boots."""
    chosen = kernel.fetch()
    busybox = initramfs.file("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
    entries = [
        *(initramfs.directory(each) for each in ("dev", "bin", "modules")),
        *(initramfs.console(), busybox, initramfs.file("init", INIT.encode(), 0o755)),
    ]
    modules = initramfs.modules(chosen, ["virtio_pci", "virtio_net", "virtio_blk", "virtio_balloon"])
    entries += [replace(each, path=f"modules/{nr:02}-{Path(each.path).name}") for nr, each in enumerate(modules)]
    path = tmp_path_factory.mktemp("system") / "initrd"
    path.write_bytes(initramfs.archive(entries))
    return Kernel(str(chosen.image), str(path), "console=ttyS0 quiet panic=0")


@dataclass
class Ground:
    """Chassis hv1 and hv2 are taps h1n0, h2n0, ... on one bridge in one namespace, where we are 10.9.0.1."""

    home: Path
    namespace: str
    guest: Guest
    machines: list[QemuMachine] = field(default_factory=list)
    happened: list[tuple[str, str]] = field(default_factory=list)
    switched: list[str] = field(default_factory=list)
    driver: QemuDriver = field(default_factory=QemuDriver)

    def place(self, chassis: str, directory: Path | None = None) -> Place:
        return Place(self.namespace, chassis, directory or self.home, self.namespace, True)

    def at(self, chassis: str, **machine: Any) -> Guest:
        nics = tuple(
            replace(nic, bridge_port=f"h{chassis[-1]}n{number}") for number, nic in enumerate(self.guest.interfaces)
        )
        return replace(self.guest, interfaces=nics, machine=replace(self.guest.machine, **machine))

    def happen(self, what: str, why: str) -> None:
        self.happened.append((what, why))

    def switch(self, chassis: str) -> None:
        self.switched.append(chassis)

    async def start(self, chassis: str = "hv1") -> QemuMachine:
        machine = await self.driver.launch(self.at(chassis), self.place(chassis), self.happen)
        self.machines.append(machine)
        await machine.start()
        await self.says(2)
        return machine

    async def move(self, source: QemuMachine, to: str, mode: str = "auto", **changed: Any) -> tuple[QemuMachine, str]:
        changed = {"on_switch": self.switch, "driver": self.driver, **changed}
        guest, place = self.at(to, migration=mode), self.place(to, arrival.beside(self.home))
        moved = await migrate(source, guest, place, changed["driver"], self.happen, changed["on_switch"])
        machine: Any = moved.instance
        self.machines.append(machine)
        return machine, moved.note

    @property
    def log(self) -> str:
        return (self.home / "console.log").read_text(errors="replace")

    async def says(self, more: int) -> None:
        """As many times more has it found what it had written; and never anything else. It is read in QEMU's log, which
        tells nobody that it grows."""
        aim = self.count + more
        async with asyncio.timeout(SECONDS):
            while self.count < aim:
                assert not re.search("BAD|panic|Oops", self.log), self.log[-2000:]
                await asyncio.sleep(0.05)

    @property
    def count(self) -> int:
        found = re.findall(r"ok (\d+)", self.log) if (self.home / "console.log").exists() else []
        assert [int(each) for each in found] == list(range(1, len(found) + 1))
        return len(found)

    async def shell(self, command: str, answer: str) -> None:
        """At the serial console."""
        reader, writer = await asyncio.open_unix_connection(self.home / "serial.sock")
        writer.write(command.encode() + b"\n")
        seen = b""
        async with asyncio.timeout(SECONDS):
            while answer.encode() not in seen:
                data = await reader.read(4096)
                assert data, seen
                seen += data
        writer.close()

    def processes(self) -> int:
        found = list(remove.running(self.home.parent))
        for descriptor in found:
            os.close(descriptor)
        return len(found)

    def abandon(self) -> None:
        """As an agent that is killed: its connections go, and what it has launched stays."""
        for machine in self.machines:
            machine.close()
        self.machines.clear()

    async def found(self) -> QemuMachine:
        """By the next agent."""
        await recover(self.home, runs=True)
        for chassis in ("hv1", "hv2"):
            machine = await self.driver.find(self.at(chassis), self.place(chassis), self.happen)
            if machine is not None:
                self.machines.append(machine)
                return machine
        raise AssertionError("there is no guest")

    @contextmanager
    def pinging(self) -> Iterator[Pinger]:
        pinger = Pinger(self.namespace, HERE, GUEST)
        try:
            pinger.wait(20, SECONDS)
            yield pinger
        finally:
            pinger.close()


@pytest.fixture
async def ground(tmp_path: Path, system: Kernel, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    lab = unique_name()
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    _make_volume(tmp_path / "pool" / "volumes" / "data.qcow2")
    machine = Machine(memory=MEMORY, kernel=system, volumes=("data",))
    nic = Interface("g1", "eth0", "", 64, Mac(0x020000000002), 1500, (IPv4Interface(f"{GUEST}/24"),), ready=True)
    guest = Guest("g1", "00000000-0000-4000-8000-000000000001", machine, (nic,))
    home = namespace(lab, "ground")
    made = Ground(tmp_path / "guests" / "g1", home, guest)
    with ThreadPoolExecutor(1) as worker:
        worker.submit(_network, home).result()
    try:
        yield made
    finally:
        made.abandon()
        await remove.end(tmp_path / "guests" / "g1", arrival.beside(made.home))
        await remove.end(tmp_path / "guests")
        namespaces.withdraw(home)
    assert not made.processes()


def _make_volume(path: Path) -> None:
    from datapath.guest.pool.storage import make_empty

    path.parent.mkdir(parents=True)
    make_empty(path, 16 << 20)


def _network(name: str) -> None:
    from pyroute2 import IPRoute

    namespaces.prepare()
    with namespaces.home_again():
        namespaces.new()
        with IPRoute() as route:
            route.link("add", ifname="br0", kind="bridge", br_forward_delay=0)
            (bridge,) = route.link_lookup(ifname="br0")
            route.addr("add", index=bridge, address=HERE, prefixlen=24)
            route.link("set", index=bridge, state="up")
            for tap in ("h1n0", "h2n0", "h1n1", "h2n1"):
                taps.make(tap)
                (index,) = route.link_lookup(ifname=tap)
                route.link("set", index=index, master=bridge, state="up")
        namespaces.publish(name, name)


@pytest.mark.parametrize("mode", MODES)
async def test_a_guest_that_writes_all_the_time_moves_there_and_back(
    ground: Ground, mode: str, record_property: Any
) -> None:
    machine = await ground.start()
    for number, chassis in enumerate(("hv2", "hv1", "hv2")):
        with ground.pinging() as pinger:
            machine, note = await ground.move(machine, chassis, mode)
            pinger.wait(50, SECONDS)
            pinger.stop()
            gap = pinger.silence()
        print(f"{mode}: gap {gap * 1000:.0f} ms; {note}")
        record_property(f"gap{number}", round(gap * 1000))
        assert machine.chassis == chassis
        assert machine.state == "running"
        assert gap < LONGEST
        await ground.says(3)
        assert ground.processes() == 1
        assert os.listdir(ground.home.parent) == ["g1"]
    assert ground.switched == ["hv2", "hv1", "hv2"]
    assert {what for what, _ in ground.happened if what == "ended"} == {"ended"}


async def test_what_was_plugged_goes_along(ground: Ground) -> None:
    machine = await ground.start()
    second = replace(ground.guest.interfaces[0], name="eth1", mac=Mac(0x020000000003))
    ground.guest = replace(ground.guest, interfaces=(*ground.guest.interfaces, second))
    await machine.adapt(ground.at("hv1"), ground.at("hv1").interfaces)
    await ground.shell("while [ ! -e /sys/class/net/eth1 ]; do sleep 0.1; done; echo plug$((1+1))", "plug2")
    machine, _ = await ground.move(machine, "hv2")
    assert [interface.name for interface in machine.guest.interfaces] == ["eth0", "eth1"]
    await ground.shell("ip address add 10.9.0.3/24 dev eth1; ip link set eth1 up; echo up$((1+1))", "up2")
    ground.guest = replace(ground.guest, interfaces=ground.guest.interfaces[:1])
    await machine.adapt(ground.at("hv2"), ground.at("hv2").interfaces)
    await ground.shell("while [ -e /sys/class/net/eth1 ]; do sleep 0.1; done; echo gone$((1+1))", "gone2")
    await ground.says(2)


async def test_a_snapshot_after_a_move_has_memory_in_it(ground: Ground) -> None:
    machine = await ground.start()
    machine, _ = await ground.move(machine, "hv2")
    capabilities = await machine.execute("query-migrate-capabilities")
    assert not [each for each in capabilities if each["state"] and each["capability"] != "xbzrle"]
    await ground.says(1)


async def test_a_paused_guest_moves_paused(ground: Ground) -> None:
    machine = await ground.start()
    await machine.pause()
    machine, note = await ground.move(machine, "hv2")
    assert machine.state == "paused"
    assert note.endswith("it is paused: nobody was asked")
    await machine.resume()
    await ground.says(2)


HAS_MOVED = pytest.mark.parametrize("has_moved", [False, True], ids=["first", "second"])
"""A guest that has moved before has the name of its destination's directory on its command line."""


@pytest.mark.parametrize("mode", MODES)
@HAS_MOVED
async def test_a_destination_that_dies_in_the_middle(ground: Ground, mode: str, has_moved: bool) -> None:
    machine = await ground.start()
    here, there = ("hv2", "hv1") if has_moved else ("hv1", "hv2")
    if has_moved:
        machine, _ = await ground.move(machine, here, mode)
        ground.switched.clear()

    def switch(chassis: str) -> None:
        ground.switch(chassis)
        if chassis == there:
            kill(int((arrival.beside(ground.home) / "pid").read_text()))

    with ground.pinging() as pinger:
        with pytest.raises(SdnError, match=f"g1 has not moved to {there}"):
            await ground.move(machine, there, mode, on_switch=switch)
        pinger.wait(20, SECONDS)
    assert ground.switched == [there, here]
    assert os.listdir(ground.home.parent) == ["g1"]
    await ground.says(2)
    machine, _ = await ground.move(machine, there, mode)
    await ground.says(2)


async def test_a_destination_that_cannot_start(ground: Ground) -> None:
    machine = await ground.start()
    ground.namespace, there = "sdnt-nowhere", ground.namespace
    with pytest.raises(SdnError, match="g1 has not moved to hv2"):
        await ground.move(machine, "hv2")
    ground.namespace = there
    assert ground.switched == []
    assert machine.state == "running"
    await ground.says(2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("moment", ["launched", "stopped", "asked"])
@HAS_MOVED
async def test_an_agent_that_is_killed_in_the_middle(
    ground: Ground, mode: str, moment: str, has_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await ground.start()
    here, there = ("hv2", "hv1") if has_moved else ("hv1", "hv2")
    if has_moved:
        machine, _ = await ground.move(machine, here, mode)

    class KilledError(BaseException):
        pass

    async def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    def kill(_: str) -> None:
        raise KilledError

    step = {"launched": "over", "stopped": "_redirect", "asked": "asked"}[moment]
    monkeypatch.setattr(migration._Move, step, kill if step == "_redirect" else killed)
    receive = ground.driver.receive

    async def receiving(*arguments: Any) -> QemuMachine:
        ground.machines.append(await receive(*arguments))
        return ground.machines[-1]

    monkeypatch.setattr(ground.driver, "receive", receiving)
    with pytest.raises(KilledError):
        await ground.move(machine, there, mode)
    ground.abandon()
    assert ground.processes() == 2
    machine = await ground.found()
    assert machine.chassis == (there if moment == "asked" else here)
    assert machine.state == "running"
    assert ground.processes() == 1
    assert os.listdir(ground.home.parent) == ["g1"]
    with ground.pinging():
        await ground.says(2)


async def test_a_killed_agent_whose_next_one_finds_neither(ground: Ground) -> None:
    """Nothing is left of the guest, and nothing in the way of its next start."""
    await ground.start()
    arrival.prepare(ground.home, arrival.beside(ground.home))
    with suppress(SdnError):
        await ground.machines[0].end()
    ground.abandon()
    await recover(ground.home, runs=True)
    assert os.listdir(ground.home.parent) == ["g1"]
