"""Nodes that are on an uplink themselves: what each mode of macvlan lets through, untagged and in a VLAN."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.agent import Agent
from datapath.destroy import destroy
from datapath.events import ChassisState, Event, PortState
from datapath.linux import wiring
from datapath.spec import (
    Attachment,
    Bridged,
    HostSpec,
    Interface,
    Macvlan,
    MacvlanMode,
    Node,
    Underlay,
    Uplink,
    device_name,
    namespace,
)
from tests.lab.capture import Capture, send
from tests.lab.external import Machine, await_forwarding, machine
from tests.lab.frames import IP, UDP, Dot1Q, Ether, Packet, Raw, received, token
from tests.lab.labs import run
from tests.lab.processes import eventually

pytestmark = pytest.mark.lab

BEYOND = "02:aa:00:00:00:fe"
TAGS = pytest.mark.parametrize("vlan_id", [0, 120], ids=["untagged", "vlan"])


@dataclass
class Lab:
    """One chassis without Open vSwitch."""

    name: str
    run_dir: Path
    events: list[Event] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)

    def agent(self) -> Agent:
        self.agents.append(Agent(self.name, self.run_dir, self.events.append))
        return self.agents[-1]

    def namespace(self, name: str = "") -> str:
        return namespace(self.name, name)

    def spec(self, *nodes: Node) -> dict[str, HostSpec]:
        underlay = Underlay(IPv4Interface("172.31.0.1/24"), Mac.parse("02:00:00:00:ff:01"), 1500, ())
        uplink = Uplink("office", "up-office", 16, 1500, "phy-office")
        networks = (Bridged("desk", 1500, physnet="office", floods_unknown=True),)
        spec = HostSpec(
            self.name,
            "hv1",
            self.namespace("hv1"),
            1,
            underlay,
            (),
            (uplink,),
            nodes,
            switch="linux",
            networks=networks,
        )
        return {"hv1": spec}

    def node(self, number: int, mode: MacvlanMode | None, vlan_id: int = 0, *, tap: bool = False) -> Node:
        """`n<number>`; without a mode it goes to the switch."""
        name, mac = f"n{number}", Mac.parse(f"02:00:00:00:01:{number:02x}")
        made = Interface(
            name,
            "eth0",
            device_name("p", name, "eth0"),
            63 + number,
            mac,
            1500,
            (IPv4Interface(f"10.4.0.{number}/24"), IPv6Interface(f"fd00:4::{number}/64")),
            ready=True,
            attachments=(Attachment("desk", None, (mac,), None),),
            macvlan=Macvlan(mode, tap, "office", vlan_id) if mode else None,
        )
        return Node(name, self.namespace(name), (made,))

    def pings(self, source: str, target: str) -> bool:
        """Whether one is answered within a second."""
        command = ["ping", "-c1", "-W1", target]
        with suppress(Exception):
            run("ip", "netns", "exec", self.namespace(source), *command)
            return True
        return False

    def reaches(self, source: str, target: str) -> None:
        """Soon: who was asked for in vain is asked for again after a while."""
        eventually(lambda: self.pings(source, target))

    def link(self, name: str, device: str = "eth0") -> dict[str, object]:
        (found,) = json.loads(run("ip", "-n", self.namespace(name), "-d", "-j", "link", "show", device))
        return dict(found)

    def mode(self, name: str) -> tuple[str, str]:
        info = self.link(name)["linkinfo"]
        assert isinstance(info, dict)
        return info["info_kind"], info["info_data"]["mode"]

    @property
    def errors(self) -> tuple[str, ...]:
        return [event.errors for event in self.events if isinstance(event, ChassisState)][-1]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    name = f"t{secrets.token_hex(3)}"
    made = Lab(name, Path(os.environ.get("SDN_RUN_DIR", "/run/sdn")) / name)
    made.run_dir.mkdir(parents=True)
    try:
        yield made
    finally:
        for agent in made.agents:
            agent.close()
        destroy(name, made.run_dir)
        with suppress(FileNotFoundError):
            made.run_dir.rmdir()
        assert not [each for each in os.listdir("/run/netns") if each.startswith(namespace(name))]


@contextmanager
def beyond(lab: Lab) -> Iterator[Machine]:
    """A machine on the physical network, once that forwards everywhere."""
    with machine(lab, "phy-office", BEYOND, ["10.4.0.254/24"]) as made:  # type: ignore[arg-type]
        await_forwarding(lab.namespace(), "phy-office")
        yield made


def frame(source: str, target: str, mark: bytes, vlan_id: int) -> Packet:
    packet = IP(src="10.4.0.200", dst="10.4.0.201") / UDP(sport=1, dport=9) / Raw(mark)
    ether = Ether(src=source, dst=target)
    return ether / Dot1Q(vlan=vlan_id) / packet if vlan_id else ether / packet


def tag(packet: Packet) -> int:
    return int(packet[Dot1Q].vlan) if Dot1Q in packet else 0


def mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def listen(lab: Lab, node: str) -> Capture:
    return Capture(lab.namespace(node), "eth0")


async def both_ways(lab: Lab, outside: Machine, node: str, vlan_id: int) -> None:
    """Between a node and a machine beyond, with the network's tag on the wire."""
    out, back = token(), token()
    here = listen(lab, node)
    try:
        with outside.capture() as there:
            leaving = frame(mac(int(node[1:])), BEYOND, out, 0)
            came = arrived(there, out, lambda: send(lab.namespace(node), "eth0", [leaving]))
            assert tag(came) == vlan_id
        arriving = frame(BEYOND, mac(int(node[1:])), back, vlan_id)
        came = arrived(here, back, lambda: outside.send(arriving))
        assert tag(came) == 0
    finally:
        here.close()


def arrived(there: Capture, mark: bytes, act: Callable[[], object]) -> Packet:
    """Sent until it arrives: a device that has just been set up drops what it is given until a worker of the kernel
    has noticed its carrier (net/core/link_watch.c)."""
    for _ in range(10):
        act()
        try:
            return there.wait(received(mark), timeout=0.5)[0]
        except AssertionError as error:
            silence = error
    raise silence


class TestModes:
    @TAGS
    async def test_bridge(self, lab: Lab, vlan_id: int) -> None:
        """They talk directly: the physical network sees none of it."""
        await lab.agent().apply(lab.spec(lab.node(1, "bridge", vlan_id), lab.node(2, "bridge", vlan_id)))
        assert lab.errors == ()
        assert lab.mode("n1") == ("macvlan", "bridge")
        with beyond(lab) as outside, outside.capture() as there:
            lab.reaches("n1", "10.4.0.2")
            lab.reaches("n2", "fd00:4::1")
            direct, other = token(), token()
            send(lab.namespace("n1"), "eth0", [frame(mac(1), mac(2), direct, 0), frame(mac(1), BEYOND, other, 0)])
            there.wait(received(other))
            assert not there.matching(received(direct))
            await both_ways(lab, outside, "n1", vlan_id)

    @TAGS
    async def test_private(self, lab: Lab, vlan_id: int) -> None:
        """Never with each other, also not by way of a switch that sends back."""
        await lab.agent().apply(lab.spec(lab.node(1, "private", vlan_id), lab.node(2, "private", vlan_id)))
        with beyond(lab) as outside:
            await both_ways(lab, outside, "n1", vlan_id)
            await both_ways(lab, outside, "n2", vlan_id)
            _hairpin(lab)
            assert not lab.pings("n1", "10.4.0.2")

    @TAGS
    async def test_vepa(self, lab: Lab, vlan_id: int) -> None:
        """All of it goes to the switch beyond, which has to send it back."""
        await lab.agent().apply(lab.spec(lab.node(1, "vepa", vlan_id), lab.node(2, "vepa", vlan_id)))
        with beyond(lab) as outside:
            await both_ways(lab, outside, "n1", vlan_id)
            assert not lab.pings("n1", "10.4.0.2")
            _hairpin(lab)
            lab.reaches("n1", "10.4.0.2")

    @TAGS
    async def test_passthru(self, lab: Lab, vlan_id: int) -> None:
        """It has the uplink to itself, with frames for whatever MAC; in the other modes a node has its own only."""
        await lab.agent().apply(lab.spec(lab.node(1, "passthru", vlan_id)))
        assert lab.errors == ()
        assert lab.link("n1")["address"] == mac(1)
        with beyond(lab) as outside:
            await both_ways(lab, outside, "n1", vlan_id)
            assert await _hears_stranger(lab, outside, vlan_id)

    @TAGS
    async def test_others_frames_are_not_heard(self, lab: Lab, vlan_id: int) -> None:
        await lab.agent().apply(lab.spec(lab.node(1, "bridge", vlan_id)))
        with beyond(lab) as outside:
            assert not await _hears_stranger(lab, outside, vlan_id)

    @TAGS
    async def test_tap(self, lab: Lab, tmp_path: Path, vlan_id: int) -> None:
        """A virtual machine reads the frames from the interface's file."""
        await lab.agent().apply(lab.spec(lab.node(1, "bridge", vlan_id, tap=True)))
        assert lab.mode("n1") == ("macvtap", "bridge")
        with beyond(lab) as outside, _tap(lab, "n1", tmp_path) as file:
            mark, answer = token(), token()
            outside.send(frame(BEYOND, mac(1), mark, vlan_id))
            while mark not in _read(file):
                pass
            header = bytes(10)  # struct virtio_net_hdr: nothing left to do
            with outside.capture() as there:
                os.write(file, header + bytes(frame(mac(1), BEYOND, answer, 0)))
                (came,) = there.wait(received(answer))
                assert tag(came) == vlan_id

    async def test_two_vlans_and_none_on_one_uplink(self, lab: Lab) -> None:
        nodes = [lab.node(1, "bridge"), lab.node(2, "bridge", 120), lab.node(3, "private", 121), lab.node(4, "vepa")]
        await lab.agent().apply(lab.spec(*nodes))
        assert lab.errors == ()
        with beyond(lab) as outside:
            for name, vlan_id in (("n1", 0), ("n2", 120), ("n3", 121), ("n4", 0)):
                await both_ways(lab, outside, name, vlan_id)
        assert not lab.pings("n1", "10.4.0.2")

    async def test_beside_nodes_at_the_switch(self, lab: Lab) -> None:
        """One chassis, one physical network: the device of the macvlans is no port of the bridge."""
        await lab.agent().apply(lab.spec(lab.node(1, "bridge"), lab.node(2, None)))
        assert lab.errors == ()
        lab.reaches("n1", "10.4.0.2")
        with beyond(lab):
            lab.reaches("n1", "10.4.0.254")
            lab.reaches("n2", "10.4.0.254")


def _hairpin(lab: Lab) -> None:
    """The physical network's bridge sends frames back where they came from."""
    (pair,) = wiring.macvlan_pairs(lab.spec(lab.node(1, "vepa"))["hv1"])
    run("bridge", "-n", lab.namespace(), "link", "set", "dev", pair.far.device, "hairpin", "on")


async def _hears_stranger(lab: Lab, outside: Machine, vlan_id: int) -> bool:
    mark, end = token(), token()
    here = listen(lab, "n1")
    try:
        outside.send(frame(BEYOND, "02:cc:00:00:00:01", mark, vlan_id), frame(BEYOND, mac(1), end, vlan_id))
        here.wait(received(end))
        return bool(here.matching(received(mark)))
    finally:
        here.close()


@contextmanager
def _tap(lab: Lab, node: str, directory: Path) -> Iterator[int]:
    number = run("ip", "netns", "exec", lab.namespace(node), "sh", "-c", "cat /sys/class/net/eth0/macvtap/tap*/dev")
    path = directory / "tap"
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(*map(int, number.split(":"))))
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield file
    finally:
        os.close(file)


def _read(file: int) -> bytes:
    assert select.select([file], [], [], 5)[0], "no frame came"
    return os.read(file, 65536)


class TestKept:
    @TAGS
    async def test_again_and_by_another_agent_nothing_is_done(self, lab: Lab, vlan_id: int) -> None:
        nodes = [lab.node(1, "bridge", vlan_id), lab.node(2, "private", vlan_id), lab.node(3, "bridge", tap=True)]
        agent = lab.agent()
        await agent.apply(lab.spec(*nodes))
        assert {event.node: event.up for event in lab.events if isinstance(event, PortState)} == dict.fromkeys(
            ("n1", "n2", "n3"), True
        )
        work = agent.work
        await agent.apply(lab.spec(*nodes))
        assert agent.work == work
        agent.close()
        lab.agents.clear()
        adopting = lab.agent()
        await adopting.apply(lab.spec(*nodes))
        assert adopting.work == (0, 0)

    @pytest.mark.parametrize("change", ["mode", "tap", "vlan", "switch"])
    async def test_changes_and_back(self, lab: Lab, change: str) -> None:
        first = lab.node(1, "bridge")
        second = {
            "mode": lab.node(1, "vepa"),
            "tap": lab.node(1, "bridge", tap=True),
            "vlan": lab.node(1, "bridge", 120),
            "switch": lab.node(1, None),
        }[change]
        agent = lab.agent()
        for node in (first, second, first):
            await agent.apply(lab.spec(node))
            assert lab.errors == ()
            wish = node.interfaces[0].macvlan
            if wish is not None:
                assert lab.mode("n1") == ("macvtap" if wish.tap else "macvlan", wish.mode)
            with beyond(lab) as outside:
                await both_ways(lab, outside, "n1", wish.vlan_id if wish else 0)
        devices = {each["ifname"] for each in json.loads(run("ip", "-n", lab.namespace("hv1"), "-j", "link"))}
        assert "mv-office" in devices
        assert not devices & {"mv-office.120", device_name("p", "n1", "eth0")}

    async def test_goes_with_the_last(self, lab: Lab) -> None:
        agent = lab.agent()
        await agent.apply(lab.spec(lab.node(1, "bridge", 120), lab.node(2, None)))
        await agent.apply(lab.spec(lab.node(2, None)))
        devices = {each["ifname"] for each in json.loads(run("ip", "-n", lab.namespace("hv1"), "-j", "link"))}
        assert not [name for name in devices if name.startswith(("mv-", "tag-"))]

    async def test_mac_and_mtu_change_in_place(self, lab: Lab) -> None:
        node = lab.node(1, "bridge")
        agent = lab.agent()
        await agent.apply(lab.spec(node))
        index = lab.link("n1")["ifindex"]
        new = replace(node.interfaces[0], mac=Mac.parse("02:00:00:00:01:63"), mtu=1400)
        await agent.apply(lab.spec(replace(node, interfaces=(new,))))
        found = lab.link("n1")
        assert (found["ifindex"], found["address"], found["mtu"]) == (index, "02:00:00:00:01:63", 1400)

    @pytest.mark.parametrize("where", ["n1:eth0", "hv1:mv-office", "hv1:mv-office.120"])
    async def test_removed_by_hand_it_comes_back(self, lab: Lab, where: str) -> None:
        agent = lab.agent()
        specs = lab.spec(lab.node(1, "bridge", 120))
        await agent.apply(specs)
        place, device = where.split(":")
        run("ip", "-n", lab.namespace(place), "link", "delete", device)
        await asyncio.sleep(0)
        await agent.apply(specs)
        assert lab.errors == ()
        with beyond(lab) as outside:
            await both_ways(lab, outside, "n1", 120)

    async def test_what_cannot_be_is_said(self, lab: Lab) -> None:
        """The kernel lets a device have one macvlan in passthru mode, and none beside it."""
        await lab.agent().apply(lab.spec(lab.node(1, "passthru"), lab.node(2, "bridge")))
        assert any("n2:eth0" in error for error in lab.errors)
