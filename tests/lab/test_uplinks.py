"""Machines beyond an uplink, which no topology file knows: flooded to, learned, reached, and remembered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr

import sdn.lab
from datapath import probe
from datapath.addr import Mac
from datapath.probe import Kind, Probe
from datapath.spec import device_name
from sdn.model import Port
from sdn.pipeline.classify import LEARNED_LIMIT
from sdn.pipeline.fields import OUTPORT, UPLINK
from sdn.pipeline.layout import Table
from tests.lab.capture import Capture
from tests.lab.conftest import Labs
from tests.lab.external import Machine, machine
from tests.lab.frames import (
    ARP,
    BROADCAST,
    ICMP,
    IP,
    UDP,
    Dot1Q,
    Ether,
    IPv6,
    Packet,
    Raw,
    carries,
    ip,
    is_echo_reply,
    received,
    sent,
    token,
)
from tests.lab.labs import Lab, failures

pytestmark = pytest.mark.lab

UPLINKS = """
name: uplinks
chassis:
  hv[1-2]: {}
physnets:
  office: {}
networks:
  desk: {segment: {vlan: 120, physnet: office}, subnets: [10.4.0.0/24, "fd00:4::/64"]}
  floor: {segment: {flat: office}, subnets: [10.5.0.0/24, "fd00:5::/64"]}
  web: {segment: {vxlan: 100}, subnet: 10.6.0.0/24}
nodes:
  desk[1-2]: {network: desk}
  desk3: {network: desk, chassis: hv1}
  floor[1-2]: {network: floor}
  floor3: {network: floor, chassis: hv1}
"""
MORE = UPLINKS + "  web1: {network: web, chassis: hv1}\n  floor4: {network: floor, chassis: hv1}\n"
TAG = {"desk": 120, "floor": None}
SUBNET = {"desk": ("10.4.0.250", "fd00:4::250"), "floor": ("10.5.0.250", "fd00:5::250")}
OFFICE = device_name("up-", "office")


@pytest.fixture(scope="module")
def uplinks(shared_lab: Labs) -> Lab:
    return shared_lab(UPLINKS)


@pytest.fixture(scope="module")
def host(uplinks: Lab) -> Iterator[Machine]:
    """A machine on the office's network, with a kernel that answers untagged, and raw frames with any MAC and tag."""
    with machine(
        uplinks, uplinks.physnet_bridge("office"), "02:aa:ff:00:00:01", ["10.5.0.251/24", "fd00:5::251/64"]
    ) as made:
        yield made


def stranger(number: int, network: str = "floor") -> str:
    """A MAC that nobody has spoken with before; other ones in each network, for the office's bridge learns too."""
    return f"02:aa:00:00:{TAG[network] or 0:02x}:{number:02x}"


def on_wire(frame: Packet, tag: int | None) -> Packet:
    """As the physical network carries it."""
    if tag is None:
        return frame
    return Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=tag, type=frame.type) / frame.payload


def tag_of(packet: Packet) -> int | None:
    return int(packet[Dot1Q].vlan) if Dot1Q in packet else None


def to(node: Port, mac: str, mark: bytes) -> Packet:
    """From a node to a MAC beyond the uplink."""
    there = SUBNET[node.network][0]
    return Ether(src=str(node.mac), dst=mac) / IP(src=str(ip(node)), dst=there) / UDP(sport=1, dport=9) / Raw(mark)


def shout(network: str, mac: str, mark: bytes, tag: int | None = None) -> Packet:
    """From a MAC beyond the uplink to everybody in the network, with its tag or another."""
    here = SUBNET[network][0]
    frame = Ether(src=mac, dst=BROADCAST) / IP(src=here, dst="255.255.255.255") / UDP(sport=1, dport=9) / Raw(mark)
    return on_wire(frame, tag or TAG[network])


def learned(lab: Lab, chassis: str, mac: str) -> list[int]:
    """The outports that a chassis has learned for the MAC."""
    return [
        action.value
        for entry in lab.flows(chassis)
        if entry.flow.table == Table.LEARNED
        and any((field.field, field.value) == ("eth_dst", Mac.parse(mac)) for field in entry.flow.match)
        for action in entry.flow.actions
        if getattr(action, "field", "") == OUTPORT
    ]


class Watch:
    """The nodes of a network, the uplink of hv1 and the host, all listened to at once."""

    def __init__(self, lab: Lab, host: Machine, network: str, stack: ExitStack) -> None:
        self.nodes: list[Capture] = stack.enter_context(lab.capture_all(*(f"{network}{n}" for n in (1, 2, 3))))
        self.uplink: Capture = stack.enter_context(lab.capture("hv1", OFFICE))
        self.host: Capture = stack.enter_context(host.capture())


@pytest.mark.parametrize("network", ["desk", "floor"])
class TestLearning:
    def test_flooded_until_it_speaks_then_learned(self, uplinks: Lab, host: Machine, network: str) -> None:
        node, mac = uplinks.port(f"{network}1"), stranger(1, network)
        before, word, after = token(), token(), token()
        with ExitStack() as stack:
            watch = Watch(uplinks, host, network, stack)
            uplinks.send(node.node, to(node, mac, before))
            (came,) = watch.host.wait(received(before))
            assert tag_of(came) == TAG[network]
            for other in watch.nodes[1:]:
                other.wait(received(before))
            assert learned(uplinks, "hv1", mac) == []

            host.send(shout(network, mac, word))
            for each in watch.nodes:
                (heard,) = each.wait(received(word))
                assert tag_of(heard) is None
            assert [learned(uplinks, chassis, mac) for chassis in ("hv1", "hv2")] == [[UPLINK], [UPLINK]]

            uplinks.settle()
            uplinks.send(node.node, to(node, mac, after))
            watch.host.wait(received(after))
            assert [tag_of(packet) for packet in watch.uplink.matching(carries(after))] == [TAG[network]]
            assert [other.matching(carries(after)) for other in watch.nodes[1:]] == [[], []]

    def test_what_comes_from_an_uplink_does_not_go_back(self, uplinks: Lab, host: Machine, network: str) -> None:
        """Neither a broadcast nor a frame for a MAC that is beyond the uplink itself."""
        marks = [token(), token(), token()]
        with ExitStack() as stack:
            watch = Watch(uplinks, host, network, stack)
            host.send(shout(network, stranger(2, network), token()))
            frames = [shout(network, stranger(3, network), mark) for mark in marks]
            frames[0].dst, frames[1].dst = stranger(2, network), stranger(4, network)
            host.send(*frames)
            for each in watch.nodes:
                each.wait(received(marks[2]))
            assert not [mark for mark in marks if watch.uplink.matching(sent(mark))]
            assert not [mark for mark in marks if watch.host.matching(received(mark))]
            assert not watch.nodes[0].matching(received(marks[0])), "hv1 knows that it is beyond the uplink"
            assert watch.nodes[0].matching(received(marks[1])), "nobody knows this one"

    def test_another_tag_is_another_network(self, uplinks: Lab, host: Machine, network: str) -> None:
        mark, end = token(), token()
        with ExitStack() as stack:
            watch = Watch(uplinks, host, network, stack)
            host.send(shout(network, stranger(5, network), mark, tag=121), shout(network, stranger(5, network), end))
            for each in watch.nodes:
                each.wait(received(end))
                assert not each.matching(received(mark))


class TestReach:
    """Both ways, by kernels that know nothing of a switch, and in a VLAN by frames (this kernel may lack 8021q)."""

    @pytest.mark.parametrize("kind", ["ping", "tcp"])
    def test_untagged(self, uplinks: Lab, host: Machine, kind: Kind) -> None:
        probes = []
        for name in ("floor1", "floor2", "floor3"):
            for mine in ("10.5.0.251", "fd00:5::251"):
                here = ip_address(mine)
                there, space = ip(uplinks.port(name), here.version), uplinks.namespace(name)
                probes.append(Probe(host.namespace, here, space, there, kind, 8080))
                probes.append(Probe(space, there, host.namespace, here, kind, 8080))
        assert failures(probe.run(probes)) == []

    @pytest.mark.parametrize("node", ["desk1", "desk2"])
    def test_tagged(self, uplinks: Lab, host: Machine, node: str) -> None:
        """The node's own kernel answers ARP and echo requests from beyond the uplink, with the network's tag."""
        port, mac, mark = uplinks.port(node), stranger(6), token()
        mine, its = SUBNET["desk"][0], str(ip(port))
        asks = Ether(src=mac, dst=BROADCAST) / ARP(op=1, hwsrc=mac, psrc=mine, pdst=its)
        pings = Ether(src=mac, dst=str(port.mac)) / IP(src=mine, dst=its) / ICMP(id=9, seq=1) / Raw(mark)
        with host.capture() as heard:
            host.send(on_wire(asks, 120))
            (answer,) = heard.wait(lambda p: ARP in p and p[ARP].op == 2 and p[ARP].psrc == its)
            assert (tag_of(answer), answer[ARP].hwsrc) == (120, str(port.mac))
            host.send(on_wire(pings, 120))
            (echo,) = heard.wait(lambda p: is_echo_reply(p) and received(mark)(p))
            assert (tag_of(echo), echo.dst) == (120, mac)

    @pytest.mark.parametrize("how", ["multicast", "unicast"])
    @pytest.mark.parametrize("node", ["desk1", "floor2"])
    def test_neighbour_discovery(self, uplinks: Lab, host: Machine, node: str, how: str) -> None:
        """The node's own kernel answers, to a unicast question (RFC 4861 section 7.3) without its MAC in an option."""
        port, mac = uplinks.port(node), stranger(7)
        mine, its = SUBNET[port.network][1], str(ip(port, 6))
        low = its.rsplit(":", 1)[1].rjust(4, "0")
        everyone = f"33:33:ff:00:{low[:2]}:{low[2:]}", f"ff02::1:ff00:{low}"
        to_mac, to_ip = everyone if how == "multicast" else (str(port.mac), its)
        question = (
            Ether(src=mac, dst=to_mac)
            / IPv6(src=mine, dst=to_ip, hlim=255)
            / ICMPv6ND_NS(tgt=its)
            / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        )
        with host.capture() as heard:
            host.send(on_wire(question, TAG[port.network]))
            (answer,) = heard.wait(lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == its)
        assert (tag_of(answer), answer.src, answer.dst) == (TAG[port.network], str(port.mac), mac)


def test_learned_survives_controller_and_apply(uplinks: Lab, host: Machine) -> None:
    """What a switch has learned is not ours to remove: not on reconnecting, not when the network changes."""
    mac, word, after = stranger(8), token(), token()
    node = uplinks.port("floor1")
    with ExitStack() as stack:
        watch = Watch(uplinks, host, "floor", stack)
        host.send(shout("floor", mac, word))
        for each in watch.nodes:
            each.wait(received(word))
        (controller,) = [p for p in sdn.lab.status(uplinks.name).processes if p.name == "controller"]
        os.kill(controller.pid, signal.SIGKILL)
        uplinks.apply(MORE)  # confirmed by the new controller, which has compared all flows
        assert [learned(uplinks, chassis, mac) for chassis in ("hv1", "hv2")] == [[UPLINK], [UPLINK]]
        uplinks.settle()
        uplinks.send("floor1", to(node, mac, after))
        watch.host.wait(received(after))
        assert [other.matching(carries(after)) for other in watch.nodes[1:]] == [[], []]
    uplinks.ping("floor4", "floor2")


def test_forged_senders_beyond_an_uplink_are_forgotten(lab: Labs) -> None:
    """Whoever is out there has as many MACs as it likes. It costs a bounded number of flows, nobody else a thing."""
    made = lab(UPLINKS)
    with (
        machine(made, made.physnet_bridge("office"), "02:aa:ff:00:00:02") as outside,
        made.capture("floor1") as node,
        outside.capture() as wire,
    ):
        for start in range(0, FORGED, 100):  # what has arrived is waited for: the switch's own queue is short
            outside.send(*(forged(number) for number in range(start, start + 100)))
            node.wait(received(b"forged %06d" % (start + 99)))
            node.forget()
        entries = [
            entry for entry in made.flows("hv1") if entry.flow.table == Table.LEARNED and entry.flow.idle_timeout
        ]
        assert LEARNED_LIMIT - 100 < len(entries) <= LEARNED_LIMIT
        mark, mac = token(), stranger(77)
        outside.send(shout("floor", mac, mark))
        node.wait(received(mark))
        assert learned(made, "hv1", mac) == [UPLINK]
        answer = token()
        made.send("floor3", to(made.port("floor3"), mac, answer))
        wire.wait(received(answer))


FORGED = 6000


def forged(number: int) -> bytes:
    """A broadcast of an EtherType that nobody understands (IEEE 802 local experimental 1)."""
    return b"\xff" * 6 + b"\x02\xee" + number.to_bytes(4, "big") + b"\x88\xb5" + b"forged %06d" % number + bytes(40)
