"""Chassis without Open vSwitch beside one that has it: the same networks, and the same bytes between them.

What a datapath must do does not depend on its kind, so these tests ask what those of Open vSwitch ask (test_wire.py),
on both sides. tests/machine runs them again where the kernel has everything: NVGRE, VLAN filtering, 8021q.
"""

from __future__ import annotations

import json
import random
import select
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import Any

import pytest

from datapath.spec import device_name
from sdn.model import ENCAPSULATION_OVERHEAD
from tests.lab.conftest import Labs
from tests.lab.frames import (
    ARP,
    IP,
    UDP,
    Dot1Q,
    Ether,
    arp_request,
    carries,
    datagram,
    full_echo,
    group,
    ip,
    is_echo_reply,
    opened,
    received,
    sent,
    token,
)
from tests.lab.labs import Lab
from tests.lab.pinger import pinging
from tests.lab.processes import SUPERVISED, eventually, kill, pid_of, whole
from tests.lab.test_wire import MULTICAST, inner_arp, is_question, target

pytestmark = pytest.mark.lab

OVERLAY_ID = 16711935  # 0xff00ff: all three bytes of a VNI or VSID
TOPOLOGY = """
name: linux
chassis:
  hv1: {}
  hv[2-4]: {datapath: linux}
physnets:
  office: {}
networks:
  red: {segment: {KIND: 16711935}, subnets: [10.1.0.0/24, "fd00:1::/64"]}
  pink: {segment: {KIND: 16711934}, subnets: [10.6.0.0/24, "fd00:6::/64"]}
  desk: {segment: {vlan: 120, physnet: office}, subnets: [10.4.0.0/24, "fd00:4::/64"], mtu: 1450}
  floor: {segment: {flat: office}, subnets: [10.5.0.0/24, "fd00:5::/64"]}
nodes:
  red[1-3]: {network: red}          # on hv1 (Open vSwitch), hv2, hv3; hv4 does not have the network
  red4: {network: red, chassis: hv2}
  pink1: {network: pink, chassis: hv1}
  pink2: {network: pink, chassis: hv2}
  desk[1-3]: {network: desk}
  floor[1-3]: {network: floor}
  trunk1: {trunk: {native: red, 20: pink, 120: desk}, chassis: hv1}
  trunk2: {trunk: {native: red, 20: pink, 120: desk}, chassis: hv2}
"""
CHASSIS = ("hv1", "hv2", "hv3", "hv4")
ACROSS = [("red1", "red2"), ("red2", "red1"), ("red2", "red3")]
"""From Open vSwitch to a Linux chassis, the other way, and between two Linux chassis."""
UPLINK = device_name("up-", "office")


@pytest.fixture(scope="module")
def wire(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY.replace("KIND", "vxlan"))


def chassis_of(wire: Lab, node: str) -> str:
    return wire.model.nodes[node].chassis


def bridge(wire: Lab, chassis: str, *arguments: str) -> list[dict[str, Any]]:
    """What iproute2's `bridge` shows on a chassis."""
    found: list[dict[str, Any]] = json.loads(wire.execute(chassis, "bridge", "-json", "-details", *arguments))
    return found


def test_every_node_reaches_what_it_shall_and_nothing_else(wire: Lab) -> None:
    assert wire.mesh() == []


def test_status_says_which_switch_and_why(wire: Lab) -> None:
    hosts = wire.facts.hosts
    assert [hosts[name].datapath_type for name in CHASSIS[1:]] == ["linux"] * 3
    assert hosts["hv1"].datapath_type != "linux"
    assert all(any("bridge" in note for note in hosts[name].notes) for name in CHASSIS[1:])


# ── tunnels ──


class TestTunnels:
    @pytest.mark.parametrize(("source", "target"), ACROSS)
    def test_the_bytes_on_the_underlay(self, wire: Lab, source: str, target: str) -> None:
        """RFC 7348 section 5, RFC 7637 section 3.2."""
        mark = token()
        here, there = wire.port(source), wire.port(target)
        frame = datagram(here, there, mark)
        with wire.capture(chassis_of(wire, source)) as underlay, wire.capture(target) as node:
            wire.send(source, frame)
            (packet,) = underlay.wait(sent(mark))
            (arrived,) = node.wait(received(mark))
        (inner,) = opened([packet])
        assert bytes(arrived) == bytes(inner.frame) == bytes(frame)
        chassis, segment = wire.model.chassis, wire.model.networks["red"].segment
        vteps = chassis[here.chassis], chassis[there.chassis]
        assert (inner.kind, inner.id) == (segment.kind, OVERLAY_ID)
        assert (inner.source, inner.target) == tuple(str(vtep.vtep.ip) for vtep in vteps)
        assert (packet[Ether].src, packet[Ether].dst) == tuple(str(vtep.mac) for vtep in vteps)
        header = bytes(packet[IP].payload)
        number = OVERLAY_ID.to_bytes(3, "big")
        if segment.kind == "vxlan":
            assert header[2:4] == (4789).to_bytes(2, "big")
            assert header[8:16] == bytes.fromhex("08000000") + number + b"\0"
        else:
            assert header[:8] == bytes.fromhex("20006558") + number + bytes([inner.entropy])
            assert inner.entropy == 0, "a gretap compares the whole key"

    @pytest.mark.parametrize(("source", "target"), ACROSS)
    def test_one_copy_to_whom_it_is_for(self, wire: Lab, source: str, target: str) -> None:
        """A known address is never flooded."""
        mark, end = token(), token()
        here, there = wire.port(source), wire.port(target)
        others = [node for node in ("red1", "red2", "red3", "red4") if node != source]
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all(*others) as nodes:
            wire.send(source, datagram(here, there, mark), group(here, end))
            for node in nodes:
                node.wait(carries(end))
            vtep = str(wire.model.chassis[here.chassis].vtep.ip)  # what comes back quotes what it answers
            seen = {
                name: sum(packet[IP].src == vtep for packet in underlay.matching(carries(mark)))
                for name, underlay in zip(CHASSIS, underlays, strict=True)
            }
            assert seen == {name: int(name in (here.chassis, there.chassis)) for name in CHASSIS}
            assert [name for name, node in zip(others, nodes, strict=True) if node.matching(received(mark))] == [target]

    @pytest.mark.parametrize("source", ["red1", "red2", "red3"])
    @pytest.mark.parametrize("how", MULTICAST)
    def test_once_to_each_chassis_of_the_network(self, wire: Lab, source: str, how: str) -> None:
        """Head-end replication; who got it from a tunnel gives it to its nodes and to no tunnel."""
        mark, end = token(), token()
        destination, version = MULTICAST[how]
        here = wire.port(source)
        nodes = [node for node in ("red1", "red2", "red3", "red4") if node != source]
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all(*nodes, source) as ends:
            wire.send(source, group(here, mark, destination, version), group(here, end, destination, version))
            for node in ends[:-1]:
                node.wait(received(end))
            others = sorted({"hv1", "hv2", "hv3"} - {here.chassis})
            for name, underlay in zip(CHASSIS, underlays, strict=True):
                passed = Counter(packet.direction for packet in underlay.matching(carries(mark)))
                assert passed == ({"out": 2} if name == here.chassis else {"in": 1} if name in others else {}), name
            assert [len(node.matching(received(mark))) for node in ends] == [1] * len(nodes) + [0]

    @pytest.mark.parametrize("source", ["red1", "red2"])
    def test_unknown_unicast_goes_nowhere(self, wire: Lab, source: str) -> None:
        mark, end = token(), token()
        here = wire.port(source)
        stray = datagram(here, wire.port("red3"), mark)
        stray.dst = "02:de:ad:be:ef:01"
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("red1", "red2", "red3", "red4") as nodes:
            wire.send(source, stray, group(here, end))
            for node in nodes:
                node.wait(carries(end))
            assert not [u.where for u in underlays if u.matching(carries(mark))]
            assert not [node.where for node in nodes if node.matching(received(mark))]

    def test_nobody_beyond_hears_who_asks_for_an_address(self, wire: Lab) -> None:
        """ARP and ND by the nodes' own kernels, their caches empty: the bridge answers for who is elsewhere."""
        for node in ("red2", "red1"):
            wire.execute(node, "ip", "neighbour", "flush", "dev", "eth0")
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("red2", "red3") as ends:
            wire.ping("red2", "red3")
            wire.ping("red2", "red1")
            asked = [packet for packet in ends[0].matching(bool) if is_question(packet) and packet.direction == "out"]
            assert {"arp" if ARP in packet else "nd" for packet in asked} == {"arp", "nd"}
            about = [str(address) for node in ("red1", "red3") for address in wire.port(node).ips]
            inner = [t.frame for underlay in underlays for t in tunnels(underlay.matching(bool))]
            assert inner
            assert not [frame for frame in inner if is_question(frame) and target(frame) in about]

    def test_arp_is_answered_at_once(self, wire: Lab) -> None:
        mark = token()
        here, known = wire.port("red2"), wire.port("red3")
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("red2", "red3") as ends:
            wire.send("red2", arp_request(here, ip(known)), group(here, mark))
            (answer,) = ends[0].wait(lambda packet: ARP in packet and packet[ARP].op == 2)
            assert answer[ARP].hwsrc == str(known.mac)
            ends[1].wait(received(mark))
            assert not ends[1].matching(lambda packet: ARP in packet)
            assert not [packet for underlay in underlays for packet in underlay.matching(inner_arp)]

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize(("source", "target"), ACROSS)
    def test_a_full_packet_passes_whole(self, wire: Lab, source: str, target: str, version: int) -> None:
        network = wire.model.networks["red"]
        request, mark = full_echo(wire.port(source), wire.port(target), network.mtu, version)
        with wire.capture(source) as node, wire.capture(chassis_of(wire, source)) as underlay:
            wire.send(source, request)
            node.wait(lambda packet: is_echo_reply(packet) and received(mark)(packet))
            on_wire = underlay.matching(carries(mark))
        assert {len(packet) for packet in on_wire} == {network.mtu + 14 + ENCAPSULATION_OVERHEAD[network.segment.kind]}
        assert len(on_wire) == 2

    def test_tcp_in_both_directions(self, wire: Lab) -> None:
        """Checksums that a virtual device leaves to be computed are there when a packet arrives."""
        for pair in ACROSS:
            assert all(outcome.passed for outcome in wire.probe(*pair, "tcp", 5001)), pair

    def test_addresses_are_programmed_not_learned(self, wire: Lab) -> None:
        """Every MAC of the network is a static entry; the tunnel device knows behind which vtep it is."""
        model = wire.model
        entries = bridge(wire, "hv2", "fdb", "show")
        behind = {entry["mac"]: entry.get("dst") for entry in entries if "master" not in entry and "dst" in entry}
        of_bridge = [entry for entry in entries if entry.get("master")]
        static = {entry["mac"] for entry in of_bridge if entry["state"] in ("static", "permanent")}
        for name in ("red1", "red3"):
            port = wire.port(name)
            assert str(port.mac) in static
            if model.networks["red"].segment.kind == "vxlan":
                assert behind[str(port.mac)] == str(model.chassis[port.chassis].vtep.ip)
        assert {str(wire.port(name).mac) for name in ("red2", "red4")} <= static
        learned = [entry["mac"] for entry in of_bridge if not entry["state"]]
        assert not {str(wire.port(name).mac) for name in ("red1", "red2", "red3", "red4")} & set(learned)


def tunnels(packets: list[Any]) -> list[Any]:
    from tests.lab.frames import tunnelled

    return [found for packet in packets if (found := tunnelled(packet))]


# ── physical networks, access and trunk ports ──


class TestTags:
    @pytest.mark.parametrize(("network", "tag"), [("desk", 120), ("floor", None)])
    @pytest.mark.parametrize(("source", "target"), [("1", "2"), ("2", "1"), ("2", "3")])
    def test_physical_networks(self, wire: Lab, network: str, tag: int | None, source: str, target: str) -> None:
        """The network's tag on the uplink, none for flat, none inside the nodes."""
        mark = token()
        here, there = wire.port(f"{network}{source}"), wire.port(f"{network}{target}")
        frame = datagram(here, there, mark)
        with (
            wire.capture(here.chassis, UPLINK) as leaving,
            wire.capture(there.chassis, UPLINK) as arriving,
            wire.capture(there.node) as node,
        ):
            wire.send(here.node, frame)
            (untagged,) = node.wait(received(mark))
            on_wire = [*leaving.wait(sent(mark)), *arriving.wait(received(mark))]
        assert bytes(untagged) == bytes(frame)
        assert [packet[Dot1Q].vlan if Dot1Q in packet else None for packet in on_wire] == [tag, tag]

    @pytest.mark.parametrize("where", ["trunk1", "trunk2"])
    @pytest.mark.parametrize(
        ("port", "tag", "peers"),
        [
            ("eth0", None, ("red1", "red2", "red3")),
            ("eth0.20", 20, ("pink1", "pink2")),
            ("eth0.120", 120, ("desk1", "desk2", "desk3")),
        ],
    )
    def test_a_trunk_carries_each_network_by_its_tag(
        self, wire: Lab, where: str, port: str, tag: int | None, peers: tuple[str, ...]
    ) -> None:
        """Out of the trunk with its tag and into an access port without, and back."""
        here = wire.port(f"{where}:{port}")
        for peer in peers:
            there, mark, answer = wire.port(peer), token(), token()
            out = datagram(here, there, mark)
            with wire.capture(where) as trunk, wire.capture(peer) as access:
                wire.send(where, with_tag(out, tag))
                (arrived,) = access.wait(received(mark))
                assert bytes(arrived) == bytes(out)
                wire.send(peer, datagram(there, here, answer))
                (returned,) = trunk.wait(received(answer))
            assert (returned[Dot1Q].vlan if Dot1Q in returned else None) == tag

    @pytest.mark.parametrize("source", ["red2", "pink2", "desk2", "floor2"])
    def test_a_tag_on_an_access_port_goes_nowhere(self, wire: Lab, source: str) -> None:
        """Not to another network either, which VLAN hopping is after."""
        here = wire.port(source)
        marks = [token() for _ in range(4)]
        nodes = list(wire.model.nodes)
        forged = [with_tag(group(here, mark), tag) for mark, tag in zip(marks, (20, 120, 1, 0), strict=True)]
        forged.append(with_tag(with_tag(group(here, marks[0]), 20), 120))
        end = token()
        with wire.capture_all(*nodes) as ends, wire.listen(here.chassis, UPLINK) as uplink:
            wire.send(source, *forged, group(here, end))
            for node, capture in zip(nodes, ends, strict=True):
                if node in peers_of(wire, source):
                    capture.wait(received(end))
            heard = [(c.where, m) for c in ends for m in marks[:3] if c.matching(received(m))]
            assert heard == []
            assert not [m for m in marks[:3] if uplink.matching(carries(m))]

    @pytest.mark.parametrize("tag", [30, 120])
    def test_two_tags_go_nowhere(self, wire: Lab, tag: int) -> None:
        mark, end = token(), token()
        here = wire.port("trunk2:eth0.20")
        double = with_tag(with_tag(group(here, mark), tag), 20)
        with wire.capture_all("pink1", "pink2", "desk1", "desk2", "red1", "red2") as ends:
            wire.send("trunk2", double, with_tag(group(here, end), 20))
            for node in ends[:2]:
                node.wait(received(end))
            assert not [node.where for node in ends if node.matching(carries(mark))]

    def test_an_unknown_tag_on_a_trunk_goes_nowhere(self, wire: Lab) -> None:
        mark, end = token(), token()
        here = wire.port("trunk2:eth0.20")
        with wire.capture_all("pink1", "pink2", "desk1", "red1", "red2") as ends:
            wire.send("trunk2", with_tag(group(here, mark), 99), with_tag(group(here, end), 20))
            for node in ends[:2]:
                node.wait(received(end))
            assert not [node.where for node in ends if node.matching(carries(mark))]


def with_tag(frame: Any, tag: int | None) -> Any:
    """The frame with a tag of IEEE 802.1Q before what it has."""
    if tag is None:
        return frame
    inner = frame.copy()
    outer = Ether(src=inner.src, dst=inner.dst) / Dot1Q(vlan=tag, type=inner.type)
    return outer / inner.payload


def peers_of(wire: Lab, node: str) -> set[str]:
    network = wire.port(node).network
    return {port.node for port in wire.model.ports_of[network] if port.node != node and port.tag is None}


# ── lives ──

LIVES = """
chassis:
  hv1: {}
  hv[2-3]: {datapath: linux}
networks:
  lan: {segment: {vxlan: 100}, subnets: [10.1.0.0/24, "fd00:1::/64"]}
  other: {segment: {vxlan: 200}, subnet: 10.2.0.0/24}
nodes:
  n[1-3]: {network: lan}
  m2: {network: lan, chassis: hv2}
  o[1-3]: {network: other}
"""
PINGED = [("n2", "m2"), ("n2", "n3"), ("n1", "n2")]


@pytest.fixture(scope="module")
def living(shared_lab: Labs) -> Lab:
    return shared_lab(LIVES)


def told_of(lab: Lab, chassis: str, act: Callable[[], object]) -> list[str]:
    """What the kernel tells of devices, addresses and routes of a chassis meanwhile."""
    command = ["ip", "netns", "exec", lab.namespace(chassis), "ip", "-oneline", "monitor", "link", "address", "route"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        try:
            assert monitor.stdout is not None
            lines = iter(monitor.stdout.readline, "")
            eventually(lambda: nudged(lab, chassis, monitor))
            next(lines)
            act()
            lab.execute(chassis, "ip", "link", "set", "lo", "mtu", str(LAST))
            return [line for line in takewhile(lambda line: f"mtu {LAST} " not in line, lines) if ": lo:" not in line]
        finally:
            lab.execute(chassis, "ip", "link", "set", "lo", "mtu", "65536")
            monitor.terminate()


LAST = 65530


def nudged(lab: Lab, chassis: str, monitor: subprocess.Popen[str]) -> bool:
    """Whether the monitor listens already: it tells of a change then."""
    lab.execute(chassis, "ip", "link", "set", "lo", "mtu", str(random.randrange(60000, LAST)))
    return bool(select.select([monitor.stdout], [], [], 0.1)[0])


def test_applying_it_again_changes_nothing(living: Lab) -> None:
    result = living.apply(LIVES)
    assert not result.changed
    assert result.seconds < 1.0


@pytest.mark.parametrize("chassis", ["hv1", "hv2"])
def test_looking_again_touches_nothing(living: Lab, chassis: str) -> None:
    assert told_of(living, chassis, lambda: living.up(LIVES)) == []


@pytest.mark.parametrize("process", ["agent", "controller"])
def test_nothing_is_lost_without(living: Lab, process: str) -> None:
    """Killed, and there again: what forwards is the kernel."""
    with pinging(living, *PINGED) as pingers:
        for pinger in pingers:
            pinger.wait(10)
        killed = kill(pid_of(living, process))
        eventually(lambda: pid_of(living, process) not in (0, killed) and whole(living), within=20)
        for pinger in pingers:
            pinger.wait(20)
        assert [pinger.stop().lost for pinger in pingers] == [(), (), ()]


CHANGES: dict[str, tuple[str, str]] = {
    "a node comes": ("  m2:", "  m3: {network: lan, chassis: hv3}\n  m2:"),
    "a node of the other network comes": ("  m2:", "  p2: {network: other, chassis: hv2}\n  m2:"),
    "the other network has another id": ("vxlan: 200", "vxlan: 201"),
    "the other network goes": ("  o[1-3]: {network: other}\n", ""),
    "a trunk comes": ("  m2:", "  t2: {trunk: {native: lan, 7: other}, chassis: hv2}\n  m2:"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_disturbs_nobody_else(living: Lab, change: str) -> None:
    """There and back again."""
    with pinging(living, *PINGED) as pingers:
        for topology in (LIVES.replace(*CHANGES[change]), LIVES):
            assert living.apply(topology).changed
            assert living.mesh() == []
            for pinger in pingers:
                pinger.wait(10)
        assert [pinger.stop().lost for pinger in pingers] == [(), (), ()]


def test_a_node_moves_from_one_kind_to_the_other_and_back(living: Lab) -> None:
    """Its MAC is behind another vtep then, for everybody."""
    for chassis in ("hv1", "hv3", "hv2"):
        living.apply(LIVES.replace("m2: {network: lan, chassis: hv2}", f"m2: {{network: lan, chassis: {chassis}}}"))
        assert living.mesh() == []


def test_a_chassis_gets_another_switch_and_back(lab: Labs) -> None:
    running = lab(LIVES)
    for topology in (LIVES.replace("hv1: {}", "hv1: {datapath: linux}"), LIVES):
        assert running.apply(topology).changed
        assert running.mesh() == []
    assert not running.apply(LIVES).changed


def test_a_chassis_gets_another_switch_while_all_are_dead(lab: Labs) -> None:
    """Who comes then has to see what there was."""
    running = lab(LIVES)
    for topology in (LIVES.replace("hv[2-3]: {datapath: linux}", "hv[2-3]: {}"), LIVES):
        supervised = [pid_of(running, name) for name in ("supervisor", *SUPERVISED)]
        kill(*supervised)
        running.up(topology)
        assert running.mesh() == []
        holders = json.loads(running.execute("hv2", "ip", "-json", "-4", "address", "show"))
        vtep = str(running.model.chassis["hv2"].vtep.ip)
        has = [device["ifname"] for device in holders for ip in device["addr_info"] if ip["local"] == vtep]
        assert len(has) == 1, has
        tables = running.execute("hv2", "nft", "list", "tables")
        assert bool(tables) == (topology == LIVES)


@pytest.mark.parametrize("setting", ["arp_ignore", "rp_filter"])
def test_settings_are_looked_at_again(living: Lab, setting: str) -> None:
    """Nobody tells of them."""
    file = f"/proc/sys/net/ipv4/conf/all/{setting}"
    living.execute("hv2", "sh", "-c", f"echo 0 > {file}")
    living.up(LIVES)
    assert living.execute("hv2", "cat", file).strip() == "1"


def test_nothing_is_forwarded_again(living: Lab) -> None:
    living.execute("hv2", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    living.up(LIVES)
    assert living.execute("hv2", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_what_is_taken_away_comes_back(lab: Labs) -> None:
    """An entry, a port out of its bridge, a whole device: `up` looks again."""
    running = lab(LIVES)
    (bridge_, *_), (tunnel, *_) = devices(running, "bridge"), devices(running, "vxlan")
    for damage in (
        f"bridge fdb flush dev {tunnel}",
        f"ip link set {device_name('p', 'n2', 'eth0')} nomaster",
        f"ip link delete {tunnel}",
        "ip neighbour flush all nud permanent",
        "nft flush ruleset",
        f"ip link delete {bridge_}",
    ):
        with suppress(subprocess.CalledProcessError):  # `ip neighbour flush` gives up on what is put back meanwhile
            running.execute("hv2", *damage.split())
        running.up(LIVES)
        assert running.mesh() == [], damage


SHARED = """
chassis:
  hv1: {}
  hv[2-3]: {datapath: linux}
networks:
  lan: {segment: {vxlan: 100}, subnet: 10.1.0.0/24}
nodes:
  router[1-3]: {network: lan, allowed_addresses: [{ip: 10.1.0.254, mac: "00:00:5e:00:01:05"}]}
  client[1-3]: {network: lan}
"""


def test_a_shared_mac_is_where_it_was_heard_last(lab: Labs) -> None:
    """VRRP (RFC 5798 section 7.3): the router that takes over announces the virtual address from the virtual MAC."""
    running, mac = lab(SHARED), "00:00:5e:00:01:05"
    for client in ("client1", "client2", "client3"):  # nobody has spoken: everybody may be meant
        with running.capture_all("router1", "router2", "router3") as ends:
            mark = token()
            frame = datagram(running.port(client), running.port("router1"), mark)
            frame.dst = mac
            running.send(client, frame)
            for end in ends:
                end.wait(received(mark))
    routers = [f"router{number}" for number in (1, 2, 3, 2, 1)]
    for master in routers:
        here = running.port(master)
        announcement = arp_request(here, "10.1.0.254", hwsrc=mac, psrc="10.1.0.254")
        announcement.src = mac
        for client in ("client1", "client2", "client3"):
            with running.capture_all(client, *dict.fromkeys(routers)) as (asking, *ends):
                running.send(master, announcement)
                asking.wait(lambda packet: ARP in packet and packet[ARP].psrc == "10.1.0.254")
                mark = token()
                frame = datagram(running.port(client), here, mark)
                frame.dst = mac
                running.send(client, frame)
                by_name = dict(zip(dict.fromkeys(routers), ends, strict=True))
                by_name[master].wait(received(mark))


def devices(lab: Lab, kind: str) -> list[str]:
    shown = json.loads(lab.execute("hv2", "ip", "-json", "link", "show", "type", kind))
    return sorted(device["ifname"] for device in shown)


def test_forged_senders_are_dropped(living: Lab) -> None:
    """The guard of Open vSwitch, by nftables; tests/lab/test_linux_guard.py has all its rows."""
    mark, end = token(), token()
    here, there, victim = living.port("n2"), living.port("n3"), living.port("m2")
    frames = [datagram(here, there, mark) for _ in range(2)]
    frames[0].src = str(victim.mac)
    frames[1][IP].src = str(ip(victim))
    del frames[1][IP].chksum, frames[1][UDP].chksum
    with living.capture("n3") as node:
        living.send("n2", *frames, datagram(here, there, end))
        node.wait(received(end))
        assert not node.matching(received(mark))


def test_known_addresses_beyond_an_uplink_are_not_flooded(wire: Lab) -> None:
    """Also of those who have not spoken yet; only strangers are learned."""
    of_bridge = [entry for entry in bridge(wire, "hv2", "fdb", "show") if entry.get("master")]
    fixed = {entry["mac"]: entry["ifname"] for entry in of_bridge if entry["state"] == "static"}
    for name in ("desk1", "desk3", "floor1", "floor3"):
        assert fixed[str(wire.port(name).mac)].startswith(UPLINK)
