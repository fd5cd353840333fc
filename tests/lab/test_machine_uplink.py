"""An interface of the machine in a lab's physical network: frames pass, and it comes back exactly as it was.

A namespace stands for the machine (`standin`): no test touches an interface of the real one.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.errors import ConflictError, MachineError, SdnError
from datapath.linux import takeover, uplink, wiring
from datapath.linux.host import Host, Wanted, drop_all
from datapath.linux.joined import MachineUplinks
from datapath.linux.namespaces import names
from datapath.linux.netlink import Message, Refusal
from datapath.linux.takeover import give_all_back
from datapath.linux.uplink import Machine
from datapath.linux.wires import Wires
from datapath.spec import HostSpec, Underlay, Uplink, namespace
from tests.conftest import RunDirectories
from tests.lab.capture import Capture, send
from tests.lab.external import await_forwarding
from tests.lab.frames import ARP, BROADCAST, ICMP, IP, UDP, Dot1Q, Ether, Packet, Raw, ip, received, token
from tests.lab.labs import Lab, run, unique_name
from tests.lab.processes import PAIR, SUPERVISED, daemon, eventually, kill, pid_of, whole
from tests.lab.standin import BEYOND_MAC, StandIn, await_address, plug, stand_in

pytestmark = pytest.mark.lab

UPLINK = Uplink("office", "up-office", 16, 1500, "phy-office", "eth1", moves_addresses=True)
REFUSES = replace(UPLINK, moves_addresses=False)
UNDERLAY = Underlay(IPv4Interface("172.31.0.1/24"), Mac.parse("02:00:00:00:00:01"), 1500, ())

ADDRESSES = (
    "192.0.2.7/24 brd +",
    "192.0.2.8/24 label eth1:more valid_lft 3000 preferred_lft 2000",
    "198.51.100.1 peer 198.51.100.2/32 noprefixroute",
    "10.20.0.1/16 metric 300 scope link",
    "fd00:9::7/64 nodad",
    "fd00:9::8/64 nodad valid_lft 3000 preferred_lft 2000 noprefixroute",
)
ROUTES = (
    "default via 192.0.2.1 metric 100 proto dhcp",
    "default via 192.0.2.2 metric 200",
    "10.9.0.0/16 via 192.0.2.1 src 192.0.2.8 mtu 1300 proto static",
    "10.8.0.0/16 via 203.0.113.9 dev eth1 onlink table 77",
    "10.7.0.0/16 dev eth1 scope link",
    "10.6.0.0/16 nexthop via 192.0.2.1 weight 2 nexthop via 192.0.2.3 weight 5",
    "blackhole 10.5.0.0/16",
    "default via fd00:9::1 metric 50",
    "fd00:a::/64 via fe80::1 dev eth1 table 78",
    "fd00:b::/64 nexthop via fd00:9::2 nexthop via fd00:9::3",
)
NEIGHBOURS = ("192.0.2.99 lladdr 02:00:00:00:00:99", "fd00:9::99 lladdr 02:00:00:00:00:99")


@pytest.fixture
def machine() -> Iterator[StandIn]:
    with stand_in() as made:
        yield made


def furnish(machine: StandIn) -> None:
    """Everything that an interface may have."""
    for address in ADDRESSES:
        machine.ip("address", "add", *address.split(), "dev", "eth1")
    for route in ROUTES:
        machine.ip("-6" if ":" in route else "-4", "route", "add", *route.split())
    for neighbour in NEIGHBOURS:
        machine.ip("neighbour", "add", *neighbour.split(), "dev", "eth1", "nud", "permanent")
    machine.inside(lambda: Path("/proc/sys/net/ipv4/conf/eth1/rp_filter").write_text("2"))


class Office:
    """A lab's physical network without the rest of the lab, and who keeps the machine's interface in it."""

    def __init__(self, machine: StandIn, run_dir: Path) -> None:
        self.lab = unique_name()
        self.run_dir = run_dir
        self.machine = machine
        self.host = Host(self.lab, lambda _: None, lambda _: None)
        assert self.host.ensure([Wanted(namespace(self.lab), "", "lab")]) == {}
        self.uplinks = self.another()

    def spec(self, *uplinks: Uplink) -> dict[str, HostSpec]:
        return {"hv1": HostSpec(self.lab, "hv1", namespace(self.lab, "hv1"), 1, UNDERLAY, (), uplinks, ())}

    def settle(self, *uplinks: Uplink) -> tuple[str, ...]:
        """The errors."""
        specs = self.spec(*uplinks)
        Wires(self.host).raise_bridges(wiring.bridges(self.lab, specs.values()))
        self.machine.inside(lambda: self.uplinks.settle(specs))
        return self.uplinks.errors.get("hv1", ())

    def another(self) -> MachineUplinks:
        """The next agent, which knows nothing."""
        self.uplinks = self.machine.inside(lambda: MachineUplinks(self.lab, self.run_dir, self.host))
        return self.uplinks

    def down(self) -> None:
        self.machine.inside(lambda: give_all_back(self.lab, self.run_dir))

    @property
    def bridge(self) -> str:
        return uplink.bridge_name(self.lab, "office")

    def traces(self) -> list[str]:
        """What of it is in the machine's namespace."""
        ours = [
            each["ifname"] for each in json.loads(self.machine.ip("-j", "link")) if "sdn:" in each.get("ifalias", "")
        ]
        return ours + [path.name for path in self.run_dir.iterdir()]

    def close(self) -> None:
        self.uplinks.close()
        self.host.close()
        with ThreadPoolExecutor(1) as worker:
            worker.submit(drop_all, self.lab).result()


@pytest.fixture
def office(machine: StandIn, tmp_path: Path) -> Iterator[Office]:
    made = Office(machine, tmp_path)
    try:
        yield made
    finally:
        made.close()


class TestMoved:
    """`addresses: move`."""

    def test_comes_back_exactly(self, machine: StandIn, office: Office) -> None:
        furnish(machine)
        before = machine.has()
        assert office.settle(UPLINK) == ()
        assert machine.addresses("eth1") == []
        assert "192.0.2.7" in machine.ip("address", "show", "dev", office.bridge)
        assert "default via 192.0.2.1" in machine.ip("route")
        assert "eth1" not in machine.ip("route", "show", "table", "all")
        assert "sdn:" not in machine.ip("link", "show", "eth1")
        office.settle()
        assert machine.has() == before
        assert office.traces() == []

    def test_same_mac_mtu_and_settings_meanwhile(self, machine: StandIn, office: Office) -> None:
        machine.ip("link", "set", "eth1", "mtu", "1600")
        furnish(machine)
        before = json.loads(machine.ip("-j", "link", "show", "eth1"))[0]
        assert office.settle(UPLINK) == ()
        bridge = json.loads(machine.ip("-j", "link", "show", office.bridge))[0]
        assert [bridge[key] for key in ("address", "mtu")] == [before[key] for key in ("address", "mtu")]
        path = Path(f"/proc/sys/net/ipv4/conf/{office.bridge}/rp_filter")
        assert machine.inside(path.read_text).strip() == "2"

    def test_again_nothing_is_done(self, machine: StandIn, office: Office) -> None:
        furnish(machine)
        office.settle(UPLINK)
        sent = office.uplinks.sent, office.host.sent
        assert office.settle(UPLINK) == ()
        assert (office.uplinks.sent, office.host.sent) == sent
        office.another()
        assert office.settle(UPLINK) == ()
        assert (office.uplinks.sent, office.host.sent) == (0, sent[1])

    def test_record_is_roots_and_readable(self, machine: StandIn, office: Office) -> None:
        furnish(machine)
        office.settle(UPLINK)
        (record,) = office.run_dir.iterdir()
        assert record.stat().st_mode & 0o777 == 0o600
        assert "192.0.2.7/24" in json.loads(record.read_text())["for people"]

    def test_down_when_everything_is_dead(self, machine: StandIn, office: Office) -> None:
        """Also with the lab's namespace gone, and with it the other end of the wire."""
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        office.close()
        assert office.bridge in machine.devices()
        office.down()
        assert machine.has() == before
        assert office.traces() == []

    def test_run_directory_lost(self, machine: StandIn, office: Office) -> None:
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        shutil.rmtree(office.run_dir)
        office.run_dir.mkdir()
        office.down()
        assert machine.has() == before

    def test_bridge_lost(self, machine: StandIn, office: Office) -> None:
        """With all addresses: they are in the record, and go to a new one."""
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        machine.ip("link", "delete", office.bridge)
        assert office.settle(UPLINK) == ()
        assert "192.0.2.7" in machine.ip("address", "show", "dev", office.bridge)
        machine.ip("link", "delete", office.bridge)
        office.down()
        assert machine.has() == before

    def test_what_comes_meanwhile_is_kept(self, machine: StandIn, office: Office) -> None:
        """A DHCP client knows the interface, a person the bridge."""
        furnish(machine)
        office.settle(UPLINK)
        machine.ip("address", "add", "192.0.2.50/24", "dev", "eth1")
        machine.ip("address", "add", "192.0.2.51/24", "dev", office.bridge)
        machine.ip("route", "add", "10.44.0.0/16", "via", "192.0.2.1")
        assert office.settle(UPLINK) == ()
        assert "192.0.2.50" in machine.ip("address", "show", "dev", office.bridge)
        office.settle()
        found = machine.ip("address", "show", "dev", "eth1")
        assert "192.0.2.50" in found
        assert "192.0.2.51" in found
        assert "10.44.0.0/16 via 192.0.2.1 dev eth1" in machine.ip("route")

    def test_time_goes_on(self, machine: StandIn, office: Office) -> None:
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1", "valid_lft", "3000", "preferred_lft", "2000")
        office.settle(UPLINK)
        path = office.run_dir / "office.uplink.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "taken": content["taken"] - 1000}))  # an hour ago, so to say
        machine.ip("link", "delete", office.bridge)
        office.down()
        (left,) = re.findall(r"valid_lft (\d+)sec preferred_lft (\d+)sec", machine.ip("address", "show", "dev", "eth1"))
        assert 1900 < int(left[0]) <= 2000
        assert 900 < int(left[1]) <= 1000


class TestUnused:
    """`addresses: refuse`, and none there."""

    def test_comes_back_exactly(self, machine: StandIn, office: Office) -> None:
        before = machine.has()
        assert office.settle(REFUSES) == ()
        assert machine.addresses(office.bridge) == []
        office.settle()
        assert machine.has() == before
        assert office.traces() == []

    def test_down_before_is_down_after(self, machine: StandIn, office: Office) -> None:
        machine.ip("link", "set", "eth1", "down")
        before = machine.has()
        assert office.settle(REFUSES) == ()
        assert machine.is_up()
        office.down()
        assert machine.has() == before
        assert not machine.is_up()

    def test_the_machine_is_silent_there(self, machine: StandIn, office: Office) -> None:
        """An address that it has elsewhere is nobody's in the office."""
        machine.ip("address", "add", "192.0.2.77/32", "dev", "lo")
        office.settle(REFUSES)
        pinged = subprocess.run(
            ["ip", "netns", "exec", machine.beyond, "ping", "-c", "1", "-W", "1", "192.0.2.77"], check=False
        )
        assert pinged.returncode == 1


class TestFrames:
    @pytest.mark.parametrize("moves", [False, True])
    @pytest.mark.parametrize("tag", [None, 120])
    def test_pass_both_ways(self, machine: StandIn, office: Office, moves: bool, tag: int | None) -> None:
        if moves:
            furnish(machine)
        assert office.settle(UPLINK if moves else REFUSES) == ()
        inside = _inside(office)
        with ExitStack() as stack:
            beyond = stack.enter_context(machine.capture_beyond())
            here = Capture(*inside)
            stack.callback(here.close)
            out, back = token(), token()
            send(*inside, [_frame("02:aa:00:00:00:05", BROADCAST, out, tag)])
            (came,) = beyond.wait(received(out))
            assert _tag(came) == tag
            send(machine.beyond, "eth0", [_frame(BEYOND_MAC, "02:aa:00:00:00:05", back, tag)])
            (came,) = here.wait(received(back))
            assert _tag(came) == tag

    def test_machine_and_lab_reach_each_other(self, machine: StandIn, office: Office) -> None:
        furnish(machine)
        office.settle(UPLINK)
        space, device = _inside(office)
        run("ip", "-n", space, "address", "add", "192.0.2.60/24", "dev", device)
        expect_ping(machine.namespace, "192.0.2.60")
        expect_ping(space, "192.0.2.7")


def _inside(office: Office) -> tuple[str, str]:
    """Namespace and device of somebody on the physical network's bridge."""
    space = namespace(office.lab)
    run("ip", "-n", space, "link", "add", "sdntx", "type", "veth", "peer", "name", "sdnty")
    run("ip", "-n", space, "link", "set", "sdntx", "master", "phy-office", "up")
    run("ip", "-n", space, "link", "set", "sdnty", "up")
    await_forwarding(space, "phy-office")
    await_forwarding(office.machine.namespace, office.bridge)
    return space, "sdnty"


def _frame(source: str, target: str, mark: bytes, tag: int | None) -> Packet:
    packet = IP(src="192.0.2.60", dst="192.0.2.61") / UDP(sport=1, dport=9) / Raw(mark)
    ether = Ether(src=source, dst=target)
    return ether / packet if tag is None else ether / Dot1Q(vlan=tag) / packet


def _tag(packet: Packet) -> int | None:
    return int(packet[Dot1Q].vlan) if Dot1Q in packet else None


def expect_ping(space: str, target: str) -> None:
    run("ip", "netns", "exec", space, "ping", "-c", "1", "-w", "3", target)


EVERY = 0.002  # seconds between pings
GAP = 0.1
"""Seconds that the machine may be out of reach when its addresses move. IPv6's are usable when a worker of the kernel
has seen to them, which takes longer where others use the processors."""


@pytest.mark.parametrize("target", ["192.0.2.7", "fd00:9::7"])
def test_machine_stays_reachable(machine: StandIn, office: Office, target: str) -> None:
    """Taken and given back ten times while someone pings it."""
    furnish(machine)
    for _ in range(10):
        for uplinks in ((UPLINK,), ()):
            answers = _pinged_meanwhile(machine, target, lambda: office.settle(*uplinks))  # noqa: B023
            assert _longest_gap(answers) <= GAP
    assert office.traces() == []


def _pinged_meanwhile(machine: StandIn, target: str, errand: Callable[[], Any]) -> list[int]:
    """The numbers of the pings from beyond that were answered, some before and some after the errand."""
    command = ["ip", "netns", "exec", machine.beyond, "ping", "-i", str(EVERY), target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping, ThreadPoolExecutor(1) as gathering:
        try:
            assert ping.stdout is not None
            first = [ping.stdout.readline() for _ in range(10)]
            said = gathering.submit(ping.stdout.read)
            errand()
            expect_ping(machine.beyond, target)
            ping.send_signal(signal.SIGINT)
            text = "".join(first) + said.result()
        finally:
            ping.kill()
    return [int(number) for number in re.findall(r"icmp_seq=(\d+)", text)]


def _longest_gap(answered: list[int]) -> float:
    """In seconds."""
    longest = max(after - before - 1 for before, after in itertools.pairwise(answered)) * EVERY
    print(f"out of reach for {longest * 1000:.0f} ms at most; {answered[-1] - len(answered)} of {answered[-1]} lost")
    return longest


class TestKilled:
    """At each step on the way: no handler of ours runs, and whoever comes next has the kernel and the record."""

    @pytest.mark.parametrize("uplink", [UPLINK, REFUSES], ids=["move", "refuse"])
    @pytest.mark.parametrize("way", ["take", "give back"])
    @pytest.mark.parametrize("then", ["down", "again"])
    def test_at_each_step(
        self,
        machine: StandIn,
        office: Office,
        monkeypatch: pytest.MonkeyPatch,
        uplink: Uplink,
        way: str,
        then: str,
    ) -> None:
        if uplink.moves_addresses:
            furnish(machine)
        before = machine.has()
        step = 0
        while True:
            step += 1
            office.settle(*([] if way == "take" else [uplink]))
            if not _killed(monkeypatch, step, lambda: office.settle(*([uplink] if way == "take" else []))):
                break
            office.another()
            if then == "again":
                assert office.settle(uplink) == ()
                assert office.settle(uplink) == ()
            office.down()
            assert machine.has() == before, f"killed at step {step}"
            assert office.traces() == []
            office.another()
        assert step > 4


class Killed(BaseException):
    """No `except` of ours catches it."""


def _killed(monkeypatch: pytest.MonkeyPatch, step: int, errand: Callable[[], Any]) -> bool:
    """Whether there was such a step; each request, and each setting in /proc/sys, is one."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    def send(self: Machine, batch: list[Message]) -> list[Refusal]:
        if batch:
            count()
        return original_send(self, batch)

    def write(*arguments: str) -> None:
        count()
        original_write(*arguments)

    original_send, original_write = Machine.send, takeover._write
    with monkeypatch.context() as patch:
        patch.setattr(Machine, "send", send)
        patch.setattr(takeover, "_write", write)
        try:
            errand()
        except Killed:
            return True
    return False


def test_refused_half_way_is_undone(machine: StandIn, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not tried again before something is different: each try would move the addresses."""
    furnish(machine)
    before = machine.has()
    original = Machine.send

    def send(self: Machine, batch: list[Message]) -> list[Refusal]:
        refused = original(self, batch)
        return (
            [*refused, Refusal("route", 101, "it does not want to")]
            if len(batch) > 10 and not refusing.pop()
            else refused
        )

    refusing = [True, False]
    monkeypatch.setattr(Machine, "send", send)
    (error,) = office.settle(UPLINK)
    assert "it does not want to" in error
    assert machine.has() == before
    assert office.traces() == []
    sent = office.uplinks.sent
    assert office.settle(UPLINK) == (error,)
    assert office.uplinks.sent == sent
    monkeypatch.undo()
    machine.ip("route", "delete", "10.7.0.0/16")
    assert office.settle(UPLINK) == ()


class TestConflicts:
    """Told before anything is touched."""

    def refused(self, office: Office, wanted: Uplink, device: str = "eth1") -> str:
        before = office.machine.has(device) if device in office.machine.devices() else {}
        found = office.machine.inside(lambda: uplink.look(wanted.interface))
        problem = uplink.trouble(office.lab, wanted, found)
        assert isinstance(problem, SdnError)
        assert problem.remedy
        assert uplink.describe(office.lab, wanted, found) == f"refused: {problem.message}"
        assert office.settle(wanted) == (str(problem),)
        assert office.uplinks.sent == 0
        assert (office.machine.has(device) if before else {}) == before
        assert office.traces() == []
        assert isinstance(problem, ConflictError if before else MachineError)
        return problem.message

    def test_addresses(self, machine: StandIn, office: Office) -> None:
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1")
        machine.ip("route", "add", "default", "via", "192.0.2.1")
        assert "192.0.2.7/24, route default via 192.0.2.1" in self.refused(office, REFUSES)

    def test_only_a_route(self, machine: StandIn, office: Office) -> None:
        machine.ip("route", "add", "10.7.0.0/16", "dev", "eth1")
        assert "10.7.0.0/16" in self.refused(office, REFUSES)

    def test_no_such_interface(self, office: Office) -> None:
        assert "no interface eth7; it has: eth1" in self.refused(office, replace(UPLINK, interface="eth7"), "eth7")

    def test_loopback(self, office: Office) -> None:
        assert "lo" in self.refused(office, replace(UPLINK, interface="lo"), "lo")

    def test_no_ethernet(self, machine: StandIn, office: Office) -> None:
        machine.ip("tuntap", "add", "dev", "tun0", "mode", "tun")
        assert "no Ethernet device" in self.refused(office, replace(UPLINK, interface="tun0"), "tun0")

    def test_port_of_a_bridge(self, machine: StandIn, office: Office) -> None:
        machine.ip("link", "add", "br0", "type", "bridge")
        machine.ip("link", "set", "eth1", "master", "br0")
        assert "a port of br0" in self.refused(office, UPLINK)

    def test_mtu(self, office: Office) -> None:
        assert "1500 bytes, physnet office wants 9000" in self.refused(office, replace(UPLINK, mtu=9000))

    def test_policy_rule(self, machine: StandIn, office: Office) -> None:
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1")
        machine.ip("rule", "add", "iif", "eth1", "table", "77")
        assert "policy rule iif eth1" in self.refused(office, UPLINK)

    def test_nexthop_object(self, machine: StandIn, office: Office) -> None:
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1")
        machine.ip("nexthop", "add", "id", "7", "via", "192.0.2.1", "dev", "eth1")
        machine.ip("route", "add", "10.7.0.0/16", "nhid", "7")
        assert "by a nexthop object" in self.refused(office, UPLINK)

    def test_another_labs(self, machine: StandIn, office: Office, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = Office(machine, tmp_path_factory.mktemp("other"))
        try:
            assert other.settle(REFUSES) == ()
            (error,) = office.settle(REFUSES)
            assert f"belongs to physnet office of lab {other.lab}" in error
            other.down()
            assert office.settle(REFUSES) == ()
        finally:
            other.close()

    def test_anothers_device_has_our_name(self, machine: StandIn, office: Office) -> None:
        machine.ip("link", "add", office.bridge, "type", "bridge")
        (error,) = office.settle(REFUSES)
        assert f"{office.bridge} is not ours" in error
        assert machine.has()["links"][0].get("master") is None

    @pytest.mark.parametrize("kind", ["bridge", "veth"])
    def test_anothers_device_has_the_name_of_our_wire(self, machine: StandIn, office: Office, kind: str) -> None:
        """It stays as it is, on either side."""
        name = takeover.wire_name(office.lab, "office")
        machine.ip("link", "add", name, "type", kind)
        machine.ip("link", "set", name, "alias", "mine")
        before = machine.ip("-j", "link", "show", name)
        (error,) = office.settle(REFUSES)
        assert "File exists" in error
        assert machine.ip("-j", "link", "show", name) == before


class TestChanges:
    def test_another_interface(self, machine: StandIn, office: Office) -> None:
        plug(machine, "eth2", "eth9")
        await_address(machine, "eth2")
        furnish(machine)
        first, second = machine.has(), machine.has("eth2")
        assert office.settle(UPLINK) == ()
        assert office.settle(replace(UPLINK, interface="eth2")) == ()
        assert machine.has() == first
        assert json.loads(machine.ip("-j", "link", "show", "eth2"))[0]["master"] == office.bridge
        assert office.settle(replace(UPLINK, interface="")) == ()
        assert machine.has("eth2") == second

    def test_two_networks_change_interfaces(self, machine: StandIn, office: Office) -> None:
        plug(machine, "eth2", "eth9")
        floor = replace(UPLINK, physnet="floor", bridge_port="up-floor", lab_bridge="phy-floor", interface="eth2")
        assert office.settle(UPLINK, floor) == ()
        assert office.settle(replace(UPLINK, interface="eth2"), replace(floor, interface="eth1")) == ()
        master = {name: json.loads(machine.ip("-j", "link", "show", name))[0]["master"] for name in ("eth1", "eth2")}
        assert master == {"eth1": uplink.bridge_name(office.lab, "floor"), "eth2": office.bridge}

    def test_no_longer_moved(self, machine: StandIn, office: Office) -> None:
        """The file says so now, so the addresses go back, and are a conflict."""
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        found = machine.inside(lambda: uplink.look("eth1"))
        assert isinstance(uplink.trouble(office.lab, REFUSES, found), ConflictError)
        assert "192.0.2.7/24" in office.settle(REFUSES)[0]
        assert machine.has() == before
        assert office.settle(UPLINK) == ()

    def test_unplugged_and_plugged_in_again(self, machine: StandIn, office: Office) -> None:
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1")
        office.settle(UPLINK)
        machine.ip("link", "delete", "eth1")
        assert machine.inside(office.uplinks.hear)
        assert "no interface eth1" in office.uplinks.errors["hv1"][0]
        plug(machine)
        assert machine.inside(office.uplinks.hear)
        assert office.uplinks.errors == {}
        assert json.loads(machine.ip("-j", "link", "show", "eth1"))[0]["master"] == office.bridge
        office.settle()
        assert "192.0.2.7/24" in machine.ip("address", "show", "dev", "eth1")

    def test_renamed(self, machine: StandIn, office: Office) -> None:
        """It is told, and what it had is not lost."""
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        machine.ip("link", "set", "eth1", "down")
        machine.ip("link", "set", "eth1", "name", "lan0", "up")
        assert machine.inside(office.uplinks.hear)
        office.down()
        machine.ip("link", "set", "lan0", "alias", "")
        assert (
            machine.has("lan0")["addresses"][0]["addr_info"][0]["local"]
            == before["addresses"][0]["addr_info"][0]["local"]
        )

    @pytest.mark.parametrize("what", ["eth1 nomaster", "eth1 down", "bridge down", "wire gone"])
    def test_undone_by_hand(self, machine: StandIn, office: Office, what: str) -> None:
        """What the network needs is put right at once, and the machine's addresses come back with it."""
        furnish(machine)
        before = machine.has()
        office.settle(UPLINK)
        had = machine.addresses(office.bridge)
        device, word = what.split()
        name = {"bridge": office.bridge, "wire": takeover.wire_name(office.lab, "office")}.get(device, device)
        machine.ip("link", *(["delete", name] if word == "gone" else ["set", name, word]))
        machine.inside(office.uplinks.hear)
        assert json.loads(machine.ip("-j", "link", "show", "eth1"))[0]["master"] == office.bridge
        assert machine.is_up()
        assert machine.addresses(office.bridge) == had
        space, device = _inside(office)
        run("ip", "-n", space, "address", "add", "192.0.2.60/24", "dev", device)
        expect_ping(space, "192.0.2.1")
        office.down()
        assert machine.has() == before

    def test_the_labs_namespace_is_made_anew(self, machine: StandIn, office: Office) -> None:
        office.settle(REFUSES)
        run("ip", "netns", "delete", namespace(office.lab))
        assert office.host.ensure([Wanted(namespace(office.lab), "", "lab")]) == {}
        assert office.settle(REFUSES) == ()
        space, device = _inside(office)
        run("ip", "-n", space, "address", "add", "192.0.2.60/24", "dev", device)
        expect_ping(space, "192.0.2.1")


def test_others_events_are_not_heard(machine: StandIn, office: Office) -> None:
    """The machine's namespace has the devices of everybody."""
    office.settle(REFUSES)
    ours = (office.bridge, takeover.wire_name(office.lab, "office"))
    eventually(lambda: all("state UP" in machine.ip("link", "show", each) for each in ours))
    machine.inside(office.uplinks.hear)
    for number in range(20):
        machine.ip("link", "add", f"eth1x{number}", "type", "veth", "peer", "name", f"y{number}")
    assert not _readable(office.uplinks.fileno())
    machine.ip("link", "set", "eth1", "down")
    assert _readable(office.uplinks.fileno())


def _readable(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


TOPOLOGY = """
chassis:
  hv1: {datapath: linux}
  hv2: {}
physnets:
  office: {interface: eth1, addresses: move}
networks:
  floor: {segment: {flat: office}, subnet: 192.0.2.0/24}
  desk: {segment: {vlan: 120, physnet: office}, subnet: 10.4.0.0/24}
nodes:
  floor1: {network: floor, chassis: hv1, ip: 192.0.2.101}
  floor2: {network: floor, chassis: hv2, ip: 192.0.2.102}
  desk1: {network: desk, chassis: hv1, ip: 10.4.0.101}
  desk2: {network: desk, chassis: hv2, ip: 10.4.0.102}
"""
NEITHER = TOPOLOGY.replace("{interface: eth1, addresses: move}", "{}")


class Commands:
    """`sdn` on the stand-in."""

    def __init__(self, machine: StandIn, directory: Path) -> None:
        self.lab = Lab(unique_name())
        self.machine = machine
        self._file = directory / f"{self.lab.name}.yaml"

    def __call__(self, command: str, topology: str = "") -> tuple[int, str]:
        """Exit code, and all that it says."""
        if topology:
            self._file.write_text(f"name: {self.lab.name}\n{topology}")
        done = self.machine.sdn(command, self._file if topology else self.lab.name)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def sdn(machine: StandIn, tmp_path: Path, run_directories: RunDirectories) -> Iterator[Commands]:
    made = Commands(machine, tmp_path)
    run_directories.add(made.lab.run.path)
    try:
        yield made
    finally:
        run_directories.discard(made.lab.run.path)
        if made.lab.run.path.exists():
            made("down")
        assert made.lab.leftovers() == []


class TestWhole:
    """By the commands, with both kinds of chassis."""

    def test_up_and_down(self, machine: StandIn, sdn: Commands) -> None:
        furnish(machine)
        before = machine.has()
        code, said = sdn("plan", TOPOLOGY)
        assert code == 0, said
        assert "joins physnet office; its addresses 10.20.0.1/16, 192.0.2.7/24" in " ".join(said.split())
        assert machine.has() == before
        answers = _pinged_meanwhile(machine, "192.0.2.7", lambda: sdn("up", TOPOLOGY))
        assert _longest_gap(answers) <= GAP
        await_forwarding(sdn.lab.namespace(), sdn.lab.physnet_bridge("office"))
        for node in ("192.0.2.101", "192.0.2.102"):
            expect_ping(machine.beyond, node)
            expect_ping(machine.namespace, node)
        _tagged_both_ways(machine, sdn.lab, "desk1")
        _tagged_both_ways(machine, sdn.lab, "desk2")
        assert sdn("up", TOPOLOGY)[0] == sdn("apply", TOPOLOGY)[0] == 0
        answers = _pinged_meanwhile(machine, "192.0.2.7", lambda: sdn("down"))
        assert _longest_gap(answers) <= GAP
        assert machine.has() == before

    def test_refused_before_anything_is_touched(self, machine: StandIn, sdn: Commands) -> None:
        furnish(machine)
        before = machine.has()
        code, said = sdn("up", TOPOLOGY.replace("move", "refuse"))
        assert code == 1
        assert "interface eth1 is in use by this machine: 10.20.0.1/16, 192.0.2.7/24" in said
        assert "remedy: `addresses: move`" in said
        assert machine.has() == before
        assert sdn.lab.leftovers() == []

    def test_everything_killed(self, machine: StandIn, sdn: Commands) -> None:
        """The machine is reachable, nodes too; `down` puts everything back."""
        furnish(machine)
        before = machine.has()
        assert sdn("up", TOPOLOGY)[0] == 0
        expect_ping(machine.beyond, "192.0.2.101")
        running = ["supervisor", *SUPERVISED]
        kill(*[pid_of(sdn.lab, name) for name in running], *[daemon(sdn.lab, "hv2", name) for name in PAIR])
        expect_ping(machine.beyond, "192.0.2.7")
        expect_ping(machine.beyond, "192.0.2.101")
        assert sdn("down")[0] == 0
        assert machine.has() == before

    def test_namespaces_deleted(self, machine: StandIn, sdn: Commands) -> None:
        furnish(machine)
        before = machine.has()
        assert sdn("up", TOPOLOGY)[0] == 0
        for name in names(namespace(sdn.lab.name)):
            run("ip", "netns", "delete", name)
        expect_ping(machine.beyond, "192.0.2.7")
        assert sdn("up", TOPOLOGY)[0] == 0
        expect_ping(machine.beyond, "192.0.2.101")
        assert sdn("down")[0] == 0
        assert machine.has() == before

    def test_a_killed_agent_adopts(self, machine: StandIn, sdn: Commands) -> None:
        furnish(machine)
        assert sdn("up", TOPOLOGY)[0] == 0
        devices = machine.devices()
        killed = kill(pid_of(sdn.lab, "agent"))
        eventually(lambda: pid_of(sdn.lab, "agent") not in (0, killed) and whole(sdn.lab))
        assert machine.devices() == devices

    def test_a_lease_is_renewed(self, machine: StandIn, sdn: Commands) -> None:
        """By a client that knows the interface only: what it sets there moves on at once."""
        machine.ip("address", "add", "192.0.2.7/24", "dev", "eth1", "valid_lft", "60", "preferred_lft", "60")
        assert sdn("up", TOPOLOGY)[0] == 0
        machine.ip("address", "replace", "192.0.2.7/24", "dev", "eth1", "valid_lft", "3000", "preferred_lft", "3000")
        eventually(lambda: "192.0.2.7" not in machine.ip("address", "show", "dev", "eth1"))
        (bridge,) = [name for name in machine.devices() if name.startswith("sdn-")]
        (address,) = json.loads(machine.ip("-j", "-4", "address", "show", "dev", bridge))[0]["addr_info"]
        assert address["valid_life_time"] > 2000
        expect_ping(machine.beyond, "192.0.2.7")

    def test_dropped_from_the_file(self, machine: StandIn, sdn: Commands) -> None:
        furnish(machine)
        before = machine.has()
        assert sdn("up", TOPOLOGY)[0] == 0
        assert sdn("apply", NEITHER)[0] == 0
        assert machine.has() == before
        assert sdn("apply", TOPOLOGY)[0] == 0
        expect_ping(machine.beyond, "192.0.2.102")

    def test_unplugged(self, machine: StandIn, sdn: Commands) -> None:
        """It is told while it is so, and taken again when it is back."""
        assert sdn("up", TOPOLOGY.replace("move", "refuse"))[0] == 0
        machine.ip("link", "delete", "eth1")
        eventually(lambda: "no interface eth1" in str(sdn.lab.facts.hosts["hv1"].errors))
        plug(machine)
        machine.ip_beyond("address", "add", "192.0.2.1/24", "dev", "eth0")
        eventually(lambda: whole(sdn.lab))
        expect_ping(machine.beyond, "192.0.2.101")


def _tagged_both_ways(machine: StandIn, lab: Lab, node: str) -> None:
    """Frames of a VLAN between a node and the network beyond the machine's interface."""
    port, asks = lab.port(node), token()
    question = Ether(src=BEYOND_MAC, dst=BROADCAST) / Dot1Q(vlan=120)
    ping = Ether(src=BEYOND_MAC, dst=str(port.mac)) / Dot1Q(vlan=120) / IP(src="10.4.0.250", dst=str(ip(port)))
    with machine.capture_beyond() as beyond:
        send(machine.beyond, "eth0", [question / ARP(op=1, hwsrc=BEYOND_MAC, psrc="10.4.0.250", pdst=str(ip(port)))])
        (answer,) = beyond.wait(lambda packet: ARP in packet and packet[ARP].psrc == str(ip(port)))
        assert _tag(answer) == 120
        send(machine.beyond, "eth0", [ping / ICMP(id=9, seq=1) / Raw(asks)])
        (echo,) = beyond.wait(lambda packet: received(asks)(packet) and packet[ICMP].type == 0)
        assert _tag(echo) == 120
