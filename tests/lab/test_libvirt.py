"""Guests of a real libvirtd with QEMU, in a namespace of its own; virsh is the witness."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from datapath.addr import Mac
from datapath.errors import ConflictError, RefusedError, SdnError
from datapath.guest import qga
from datapath.guest.instance import Happening, Place
from datapath.guest.libvirt import driver as libvirt
from datapath.guest.libvirt.domain import BridgePlug, Files
from datapath.guest.libvirt.driver import LibvirtDriver, domain, hardware, libvirtd
from datapath.guest.libvirt.libvirt_instance import LibvirtInstance
from datapath.guest.libvirt.libvirtd_home import Home, home_of
from datapath.guest.libvirt.virt import Connection
from datapath.guest.qemu import monitor, outfit
from datapath.guest.qemu.command import MONITOR, Outfit
from datapath.linux import namespaces, taps
from datapath.spec import Guest, Interface, Machine, Vlan, device_name
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.ovs import private_ovs, run
from tests.lab.processes import eventually, kill, pid_of, whole

pytestmark = [pytest.mark.lab("libvirtd", "virsh", "qemu-system-x86_64"), pytest.mark.timeout(300)]

MACHINE = Machine(128 << 20, driver="libvirt")
UUID = "6f1d8f0e-5b7a-4b0e-9f5e-2d3a7b1c9e02"
DOMAIN = "sdn-sdnt-web1"


def interface(number: int) -> Interface:
    mac, address = Mac(0x525400112230 + number), ip_interface(f"10.99.{number}.2/24")
    return Interface("web1", f"eth{number}", f"p-web1-eth{number}", 64 + number, mac, 1450, (address,), ready=True)


def guest(*numbers: int) -> Guest:
    return Guest("web1", UUID, MACHINE, tuple(map(interface, numbers)))


@dataclass
class Chassis:
    """A namespace with taps, as the agent makes them, and a run directory."""

    namespace: str
    run_dir: Path
    told: list[Happening] = field(default_factory=list)
    why: str = ""
    """What was said last of a happening."""
    drivers: list[LibvirtDriver] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def place(self) -> Place:
        return Place("sdnt", "hv1", self.run_dir / "guests" / "web1", self.namespace, False)

    @property
    def home(self) -> Home:
        return home_of(self.run_dir, "hv1")

    def make_tap(self, number: int) -> None:
        device = interface(number).bridge_port
        worker = threading.Thread(target=self._inside, args=(lambda: taps.make(device),))
        worker.start()
        worker.join()
        run("ip", "-n", self.namespace, "address", "add", f"10.99.{number}.1/24", "dev", device)
        run("ip", "-n", self.namespace, "link", "set", device, "up")

    def _inside(self, errand: Callable[[], None]) -> None:
        descriptor = os.open(namespaces.DIRECTORY / self.namespace, os.O_RDONLY)
        with namespaces.inside(descriptor):
            errand()
        os.close(descriptor)

    def driver(self) -> LibvirtDriver:
        """An agent's."""
        made = LibvirtDriver()
        self.drivers.append(made)
        return made

    async def launch(self, of: Guest) -> LibvirtInstance:
        return await self.driver().launch(of, self.place, self.hear)

    def hear(self, what: Happening, why: str) -> None:
        self.told.append(what)
        self.why = why or self.why
        self.stirred.set()

    async def until(self, *what: Happening) -> None:
        """They have been told since the last time."""
        async with asyncio.timeout(120):
            while not set(what) <= set(self.told):
                self.stirred.clear()
                await self.stirred.wait()
        self.told.clear()

    async def pings(self, number: int) -> None:
        async with asyncio.timeout(120):
            while True:
                command = ["ip", "netns", "exec", self.namespace, "ping", "-c1", "-W1", f"10.99.{number}.2"]
                child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
                if await child.wait() == 0:
                    return

    def virsh(self, *arguments: str) -> str:
        return run("virsh", "--connect", self.home.uri, *arguments)

    def libvirtd(self) -> int:
        return int(self.home.pidfile.read_text())


@pytest.fixture
async def chassis(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chassis]:
    made = Chassis(f"sdnt-{os.getpid()}-lv", Path(tempfile.mkdtemp(prefix="sdnt-")))
    monkeypatch.setenv("SDN_POOL", str(made.run_dir / "pool"))
    run("ip", "netns", "add", made.namespace)
    try:
        made.make_tap(0)
        yield made
    finally:
        for driver in made.drivers:
            driver.close()
        libvirt.remove_all("sdnt", made.run_dir)
        run("ip", "netns", "del", made.namespace)
        shutil.rmtree(made.run_dir)


def ours(run_dir: Path) -> list[int]:
    """Processes that name the run directory in their command lines."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if str(run_dir).encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
    return found


def mounts(run_dir: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(run_dir) in line]


async def test_its_life(chassis: Chassis) -> None:
    instance = await chassis.launch(guest(0))
    assert (instance.state, chassis.virsh("domstate", DOMAIN).strip()) == ("prepared", "paused")
    assert str(instance.pid) == chassis.home.pidfile_of(DOMAIN).read_text()
    await instance.start()
    await chassis.until("agent-up")
    assert (instance.state, instance.answers) == ("running", True)
    await chassis.pings(0)
    done = await qga.Agent(chassis.place.directory / "agent.sock").run(["cat", "/sys/class/net/eth0/address"])
    assert done.out.decode().strip() == str(interface(0).mac)

    memory = await asyncio.to_thread(monitor.balloon_statistics, chassis.place.directory / MONITOR)
    assert memory["actual"] == MACHINE.memory
    assert 0 < memory["free"] < memory["total"] < memory["actual"]
    assert "rss" in chassis.virsh("dommemstat", DOMAIN)

    chassis.make_tap(1)
    assert await instance.adapt(guest(0, 1), guest(0, 1).interfaces) == ()
    assert "p-web1-eth1" in chassis.virsh("domiflist", DOMAIN)
    await chassis.pings(1)
    later = await instance.adapt(replace(guest(0), machine=replace(MACHINE, memory=256 << 20)), guest(0).interfaces)
    assert later == ("its memory will change with the next start",)
    assert "p-web1-eth1" not in chassis.virsh("domiflist", DOMAIN)
    run("ip", "-n", chassis.namespace, "link", "show", "p-web1-eth1")  # the tap is the agent's

    await instance.pause()
    await chassis.until("paused")
    assert instance.state == "paused"
    await instance.resume()
    await chassis.until("resumed")
    await instance.shutdown()
    await chassis.until("shutdown", "ended")
    assert instance.state == "off"
    eventually(lambda: chassis.virsh("domstate", DOMAIN).strip() == "shut off")


async def test_another_agent_finds_it_and_a_libvirtd_that_dies_takes_nothing_with_it(chassis: Chassis) -> None:
    first = await chassis.launch(guest(0))
    chassis.drivers[0].close()
    found = await chassis.driver().find(guest(0), chassis.place, chassis.hear)
    assert found is not None
    assert (found.pid, found.state, found.guest) == (first.pid, "prepared", guest(0))

    died = kill(chassis.libvirtd())
    await found.start()
    await chassis.until("resumed")
    assert chassis.libvirtd() != died
    chassis.virsh("suspend", DOMAIN)  # what others do is heard too
    await chassis.until("paused")
    assert (found.pid, found.state) == (first.pid, "paused")

    await found.kill()
    await chassis.until("ended")
    await chassis.drivers[1].remove("web1", chassis.place)
    assert (ours(chassis.run_dir), chassis.home.directory.exists()) == ([], False)


async def test_its_tap_is_removed_and_made_anew(chassis: Chassis) -> None:
    """Also where another agent finds it so."""
    instance = await chassis.launch(guest(0))
    await instance.start()
    await chassis.until("agent-up")
    await chassis.pings(0)
    run("ip", "-n", chassis.namespace, "link", "delete", interface(0).bridge_port)
    await instance.adapt(guest(0), ())
    assert instance.guest.interfaces == ()
    chassis.make_tap(0)
    chassis.drivers[0].close()
    found = await chassis.driver().find(guest(0), chassis.place, chassis.hear)
    assert found is not None
    assert found.guest.interfaces == ()
    assert await found.adapt(guest(0), guest(0).interfaces) == ()
    assert (found.guest, found.pid) == (guest(0), instance.pid)
    await chassis.pings(0)
    assert await found.adapt(guest(0), guest(0).interfaces) == ()


async def test_it_dies(chassis: Chassis) -> None:
    instance = await chassis.launch(guest(0))
    kill(instance.pid)
    await chassis.until("ended")
    assert await chassis.driver().find(guest(0), chassis.place, chassis.hear) is None
    again = await chassis.launch(guest(0))
    assert again.state == "prepared"


async def test_it_dies_while_nobody_watches(chassis: Chassis) -> None:
    """The next agent is told, once."""
    instance = await chassis.launch(guest(0))
    chassis.drivers[0].close()
    instance.close()
    kill(instance.pid)
    eventually(lambda: chassis.virsh("domstate", DOMAIN).strip() == "shut off")
    found = await chassis.driver().find(guest(0), chassis.place, chassis.hear)
    assert found is not None
    assert (found.state, chassis.told, chassis.why.splitlines()[0]) == ("off", ["ended"], "while nobody watched")
    await asyncio.wait_for(found.kill(), 10)
    assert await chassis.driver().find(guest(0), chassis.place, chassis.hear) is None


async def test_it_switches_itself_off_while_nobody_watches(chassis: Chassis) -> None:
    instance = await chassis.launch(guest(0))
    await instance.start()
    await chassis.until("agent-up")
    chassis.drivers[0].close()
    instance.close()
    chassis.virsh("shutdown", DOMAIN)
    eventually(lambda: chassis.virsh("domstate", DOMAIN).strip() == "shut off", 60)
    chassis.told.clear()
    assert await chassis.driver().find(guest(0), chassis.place, chassis.hear) is not None
    assert chassis.told == ["shutdown", "ended"]


async def test_its_kernel_panics(chassis: Chassis) -> None:
    """libvirt ends it, and what is told has the panic's own words."""
    instance = await chassis.launch(guest(0))
    await instance.start()
    await chassis.until("agent-up")
    agent = qga.Agent(chassis.place.directory / "agent.sock")
    with suppress(SdnError):  # nobody is left to answer
        await agent.run(["sh", "-c", "echo c > /proc/sysrq-trigger"], timeout=1)
    await chassis.until("ended")
    assert chassis.why.splitlines()[0] == "its kernel panicked"
    assert chassis.why.endswith("Kernel panic - not syncing: sysrq triggered crash")
    assert instance.state == "off"
    eventually(lambda: chassis.virsh("domstate", "--reason", DOMAIN).strip() == "shut off (crashed)")
    again = await chassis.launch(guest(0))
    assert again.state == "prepared"


async def test_everything_is_killed_and_nothing_is_left(chassis: Chassis) -> None:
    instance = await chassis.launch(guest(0))
    assert len(ours(chassis.run_dir)) >= 2
    kill(chassis.libvirtd())
    libvirt.remove_all("sdnt", chassis.run_dir)
    eventually(lambda: not ours(chassis.run_dir))
    await chassis.until("ended")
    assert instance.state == "off"
    assert (mounts(chassis.run_dir), chassis.home.directory.exists()) == ([], False)


async def test_a_domain_of_somebody_else_is_left_alone(chassis: Chassis) -> None:
    os.close(libvirtd.ensure(chassis.home, namespaces.DIRECTORY / chassis.namespace))
    xml = domain.domain(guest(), DOMAIN, {}, "tcg", Files(), [])
    path = chassis.run_dir / "theirs.xml"
    path.write_text(xml)
    chassis.virsh("define", str(path))
    with pytest.raises(ConflictError, match="not ours"):
        await chassis.launch(guest(0))
    assert DOMAIN in chassis.virsh("list", "--all", "--name")


async def test_a_libvirtd_in_a_namespace_that_has_lost_its_name_is_replaced(chassis: Chassis) -> None:
    os.close(libvirtd.ensure(chassis.home, namespaces.DIRECTORY / chassis.namespace))
    before = chassis.libvirtd()
    run("ip", "netns", "del", chassis.namespace)
    run("ip", "netns", "add", chassis.namespace)
    os.close(libvirtd.ensure(chassis.home, namespaces.DIRECTORY / chassis.namespace))
    assert chassis.libvirtd() != before


async def test_a_libvirtd_that_is_there_already(chassis: Chassis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used where the environment names it, and only our domains go from it."""
    theirs = Home(chassis.run_dir / "theirs")
    os.close(libvirtd.ensure(theirs, namespaces.DIRECTORY / chassis.namespace))
    monkeypatch.setenv("SDN_LIBVIRT_URI", theirs.uri)
    path = chassis.run_dir / "another.xml"
    path.write_text(domain.domain(replace(guest(), uuid=UUID[:-1] + "3"), "another", {}, "tcg", Files(), []))
    run("virsh", "--connect", theirs.uri, "define", str(path))

    launched = await chassis.launch(guest(0))
    found = await chassis.driver().find(guest(0), chassis.place, chassis.hear)
    assert found is not None
    assert found.pid == launched.pid
    assert not chassis.home.directory.exists()
    libvirt.remove_all("sdnt", chassis.run_dir)
    await chassis.until("ended")
    assert run("virsh", "--connect", theirs.uri, "list", "--all", "--name").split() == ["another"]
    monkeypatch.delenv("SDN_LIBVIRT_URI")
    descriptor = libvirtd.adopt(theirs)
    assert descriptor is not None
    libvirtd.end(descriptor)


# ── exported ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def switch(artifacts: Path) -> Iterator[tuple[Connection, Callable[..., str]]]:
    """A libvirtd beside an Open vSwitch, as on a host of somebody's own, and ovs-vsctl of the latter."""
    with private_ovs(artifacts) as ovs:
        ovs.add_bridge("br-int")
        home = Home(ovs.rundir / "libvirt")
        os.close(libvirtd.ensure(home, namespaces.DIRECTORY / ovs.ns))
        connection = Connection(home.uri, lambda _: None)
        try:
            yield connection, ovs.vsctl
        finally:
            for uuid in connection.domains():
                with suppress(SdnError):
                    connection.destroy(uuid)
            connection.close()
            descriptor = libvirtd.adopt(home)
            assert descriptor is not None
            libvirtd.end(descriptor)


def test_open_vswitch_gets_the_port_of_an_exported_guest(
    switch: tuple[Connection, Callable[..., str]],
) -> None:
    connection, vsctl = switch
    nic = replace(interface(0), vlans=(Vlan(20, 1400, ()), Vlan(30, 1400, ())))
    identity = domain.port_identity("sdnt", nic)
    exported = Guest("web1", UUID, MACHINE, (nic,))
    plug = BridgePlug("br-int", identity, domain.trunk(nic, untagged=True))
    files = Files(Outfit(kernel=outfit.kernel(exported)))
    connection.define(domain.domain(exported, "web1", {"lab": "sdnt"}, "tcg", files, [plug]))
    connection.create_paused(UUID)

    (port,) = vsctl("list-ports", "br-int").split()
    assert vsctl("get", "port", port, "trunks").strip() == "[0, 20, 30]"
    keys = {key: vsctl("get", "interface", port, f"external_ids:{key}").strip().strip('"') for key in KEYS}
    assert keys == {
        "iface-id": identity,
        "attached-mac": str(nic.mac),
        "vm-id": UUID,
        "iface-status": "active",
    }
    xml = connection.xml(UUID) or ""
    assert hardware.read(xml).mark == {"lab": "sdnt"}
    assert fromstring(xml).find("devices/interface/mtu").get("size") == "1450"
    connection.destroy(UUID)
    assert vsctl("list-ports", "br-int") == ""


KEYS = ("iface-id", "attached-mac", "vm-id", "iface-status")
"""What libvirt writes of a guest's port; our own rows have the same."""


def test_libvirt_refuses_what_is_not_a_domain(switch: tuple[Connection, Callable[..., str]]) -> None:
    connection, _ = switch
    with pytest.raises(RefusedError, match="validate against schema"):
        connection.define("<domain type='qemu'><name>x</name><nonsense/></domain>")
    assert connection.state(UUID) is None


# ── a lab ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lab_has_them_on_both_datapaths(lab: Labs) -> None:
    """Also after the agent and a libvirtd have been killed, and with one interface more."""
    topology: dict[str, Any] = {
        "chassis": {"hv1": {"datapath": "ovs"}, "hv2": {"datapath": "linux"}},
        "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
        "nodes": {"n1": {"chassis": "hv1", "network": "web"}},
        "guests": {
            "g1": {"chassis": "hv1", "driver": "libvirt", "nics": [{"network": "web"}]},
            "g2": {"chassis": "hv2", "driver": "libvirt", "nics": [{"network": "web"}]},
        },
    }
    running = lab(topology)
    before = {name: facts.pid for name, facts in running.facts.guests.items()}
    expect_reached(running, "g1:eth0", "g2:eth0")

    libvirtds = [int(home_of(running.run.path, chassis).pidfile.read_text()) for chassis in ("hv1", "hv2")]
    kill(pid_of(running, "agent"), *libvirtds)
    eventually(lambda: whole(running) and pid_of(running, "agent") > 0, 60)
    assert {name: facts.pid for name, facts in running.facts.guests.items()} == before

    topology["guests"]["g1"]["nics"].append({"network": "web"})
    running.apply(topology)
    assert "g1:eth1" in running.model.ports
    assert running.facts.guests["g1"].pid == before["g1"]
    expect_reached(running, "g1:eth0", "g2:eth0")


def test_one_that_is_not_to_restart_stays_dead_though_nobody_watched(lab: Labs) -> None:
    running = lab(
        {
            "chassis": {"hv1": {"datapath": "ovs"}},
            "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
            "guests": {"g1": {"driver": "libvirt", "network": "web", "restart": "never"}},
        }
    )
    agent = pid_of(running, "agent")
    os.kill(agent, signal.SIGSTOP)
    kill(running.facts.guests["g1"].pid)
    kill(agent)
    eventually(lambda: running.facts.guests["g1"].phase == "failed", 60)
    assert running.facts.guests["g1"].error.startswith("it died: while nobody watched")


@pytest.mark.parametrize("datapath", ["ovs", "linux"])
def test_a_guest_whose_tap_somebody_deletes_gets_another(lab: Labs, datapath: str) -> None:
    running = lab(
        {
            "chassis": {"hv1": {"datapath": datapath}},
            "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
            "nodes": {"n1": {"network": "web"}},
            "guests": {"g1": {"driver": "libvirt", "network": "web"}},
        }
    )
    before, tap = running.facts.guests["g1"].pid, device_name("p", "g1", "eth0")
    old = index(running, tap)
    running.execute("hv1", "ip", "link", "delete", tap)
    eventually(lambda: index(running, tap) not in (0, old), 30)
    eventually(lambda: running.facts.ports["g1:eth0"].up, 60)
    expect_reached(running, "g1:eth0")
    assert running.facts.guests["g1"].pid == before


def index(lab: Lab, tap: str) -> int:
    """0 while there is none."""
    links = json.loads(lab.execute("hv1", "ip", "-j", "link"))
    return next((int(link["ifindex"]) for link in links if link["ifname"] == tap), 0)


def expect_reached(lab: Lab, *ports: str) -> None:
    for port in ports:
        lab.execute("n1", "ping", "-c", "1", "-w", "6", str(lab.model.ports[port].ips[0]))
