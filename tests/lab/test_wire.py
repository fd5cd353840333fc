"""The bytes between chassis: encapsulations as their RFCs say, whom a frame is copied to, and whom it never reaches."""

from __future__ import annotations

import errno
import fcntl
import json
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest

from datapath.spec import device_name
from sdn.model import ENCAPSULATION_OVERHEAD
from tests.lab.conftest import Labs
from tests.lab.frames import (
    ARP,
    GENEVE,
    GRE,
    IP,
    UDP,
    VXLAN,
    Dot1Q,
    Ether,
    IPv6,
    Packet,
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
    tunnelled,
)
from tests.lab.labs import Lab, run

pytestmark = pytest.mark.lab

WIRE = """
name: wire
chassis:
  hv[1-4]: {}
physnets:
  office: {}
networks:
  red: {segment: {vxlan: 16711935}, subnets: [10.1.0.0/24, "fd00:1::/64"]}     # 0xff00ff: all three bytes of a VNI
  green: {segment: {nvgre: 16711935}, subnets: [10.2.0.0/24, "fd00:2::/64"]}
  blue: {segment: {geneve: 16711935}, subnets: [10.3.0.0/24, "fd00:3::/64"]}
  desk: {segment: {vlan: 120, physnet: office}, subnets: [10.4.0.0/24, "fd00:4::/64"]}
  floor: {segment: {flat: office}, subnets: [10.5.0.0/24, "fd00:5::/64"]}
  pink: {segment: {vxlan: 16711936}, subnets: [10.6.0.0/24, "fd00:6::/64"]}    # red's neighbour in the id space
nodes:
  red[1-3]: {network: red}          # on hv1, hv2, hv3; hv4 does not have the network
  red4: {network: red, chassis: hv2}
  green[1-2]: {network: green}
  green[3-6]: {network: green, chassis: hv2}
  blue[1-2]: {network: blue}
  desk[1-2]: {network: desk}
  floor[1-2]: {network: floor}
  pink1: {network: pink, chassis: hv1}
  pink4: {network: pink, chassis: hv4}
"""
CHASSIS = ("hv1", "hv2", "hv3", "hv4")
PAIRS = ("red", "green", "blue", "desk", "floor")
ID = 16711935
UPLINK = device_name("up-", "office")
MULTICAST = {"ipv4": ("01:00:5e:00:00:fb", 4), "ipv6": ("33:33:00:00:00:01", 6), "broadcast": ("ff:ff:ff:ff:ff:ff", 4)}
SIOCGIFMTU = 0x8921
PI_WARN = 0x600000  # epan/proto.h of Wireshark: warnings and errors, not notes and chats


@pytest.fixture(scope="module")
def wire(shared_lab: Labs) -> Lab:
    return shared_lab(WIRE)


def across(wire: Lab, network: str, payload: bytes) -> Packet:
    """A datagram from the network's node on hv1 to that on hv2."""
    return datagram(wire.port(f"{network}1"), wire.port(f"{network}2"), payload)


# ── the encapsulations ──


class TestEncapsulation:
    def test_vxlan(self, wire: Lab) -> None:
        """RFC 7348 section 5."""
        mark = token()
        frame = across(wire, "red", mark)
        with wire.capture("hv1") as underlay:
            wire.send("red1", frame)
            (packet,) = underlay.wait(sent(mark))
        self.check_outer(wire, packet)
        assert packet[UDP].dport == 4789
        assert bytes(packet[VXLAN])[:8] == bytes.fromhex("08000000") + ID.to_bytes(3, "big") + b"\0"
        assert bytes(packet[VXLAN].payload) == bytes(frame)

    def test_nvgre(self, wire: Lab) -> None:
        """RFC 7637 section 3.2: K bit alone, Transparent Ethernet Bridging, VSID and FlowID."""
        mark = token()
        frame = across(wire, "green", mark)
        with wire.capture("hv1") as underlay:
            wire.send("green1", frame)
            (packet,) = underlay.wait(sent(mark))
        self.check_outer(wire, packet)
        assert packet[IP].proto == 47
        assert bytes(packet[GRE])[:7] == bytes.fromhex("20006558") + ID.to_bytes(3, "big")
        assert packet[GRE].key >> 8 == ID
        assert bytes(packet[GRE].payload) == bytes(frame)

    def test_geneve(self, wire: Lab) -> None:
        """RFC 8926 section 3.4: version 0, no options, not critical."""
        mark = token()
        frame = across(wire, "blue", mark)
        with wire.capture("hv1") as underlay:
            wire.send("blue1", frame)
            (packet,) = underlay.wait(sent(mark))
        self.check_outer(wire, packet)
        assert packet[UDP].dport == 6081
        assert bytes(packet[GENEVE])[:8] == bytes.fromhex("00006558") + ID.to_bytes(3, "big") + b"\0"
        assert bytes(packet[GENEVE].payload) == bytes(frame)

    def check_outer(self, wire: Lab, packet: Packet) -> None:
        chassis = wire.model.chassis
        here, there = chassis["hv1"], chassis["hv2"]
        assert (packet[Ether].src, packet[Ether].dst) == (str(here.mac), str(there.mac))
        assert (packet[IP].src, packet[IP].dst) == (str(here.vtep.ip), str(there.vtep.ip))
        checksum = packet[IP].chksum
        del packet[IP].chksum
        assert Ether(packet.build())[IP].chksum == checksum

    @pytest.mark.parametrize("network", ["red", "blue"])
    def test_the_source_port_spreads_flows(self, wire: Lab, network: str) -> None:
        """RFC 7348 section 5: a hash of the inner headers; one flow keeps to one path of the underlay."""
        ports = range(5000, 5016)
        marks = {sport: token() for sport in ports}
        source, target = wire.port(f"{network}1"), wire.port(f"{network}2")
        frames = [datagram(source, target, marks[sport], sport) for sport in ports]
        with wire.capture("hv1") as underlay:
            wire.send(source.node, *frames, *frames, *frames)
            for sport in ports:
                underlay.wait(sent(marks[sport]), 3)
            outer = {s: {t.entropy for t in opened(underlay.matching(sent(marks[s])))} for s in ports}
        assert all(len(used) == 1 for used in outer.values()), "one inner flow used several source ports"
        spread = set.union(*outer.values())
        assert len(spread) > len(ports) // 2
        # RFC 7348 wants a port of the dynamic range; RFC 8926 (3.3) leaves Geneve all, and the kernel uses them.
        whole = network == "blue" and wire.facts.hosts["hv1"].datapath_type == "system"
        assert min(spread) >= (1 if whole else 0x8000)

    def test_the_flow_id_spreads_pairs_of_macs(self, wire: Lab) -> None:
        """One pair of MACs keeps its FlowID, whatever it says; other pairs have others, by source and by target."""
        here = wire.port("green1")
        there = [wire.port(f"green{number}") for number in range(2, 7)]
        marks = {port.name: token() for port in there}
        with wire.capture("hv1") as underlay:
            for port in there:
                wire.send("green1", *(datagram(here, port, marks[port.name], sport) for sport in (1, 2, 3)))
                wire.send(port.node, *(datagram(port, here, marks[port.name], sport) for sport in (1, 2, 3)))
            flow_ids = {}
            for port in there:
                packets = underlay.wait(carries(marks[port.name]), 6)
                for packet in opened(packets):
                    flow_ids.setdefault((packet.frame.src, packet.frame.dst), set()).add(packet.entropy)
        assert len(flow_ids) == 2 * len(there)
        assert all(len(used) == 1 for used in flow_ids.values())
        from_here = {next(iter(used)) for (source, _), used in flow_ids.items() if source == str(here.mac)}
        to_here = {next(iter(used)) for (_, target), used in flow_ids.items() if target == str(here.mac)}
        assert len(from_here) > 1, from_here
        assert len(to_here) > 1, to_here

    @pytest.mark.parametrize(("network", "tag"), [("desk", 120), ("floor", None)])
    def test_physical_networks(self, wire: Lab, network: str, tag: int | None) -> None:
        """IEEE 802.1Q: the network's tag on the uplink, none for flat, none inside the nodes."""
        mark = token()
        frame = across(wire, network, mark)
        with (
            wire.capture("hv1", UPLINK) as leaving,
            wire.capture("hv2", UPLINK) as arriving,
            wire.capture(f"{network}2") as node,
        ):
            wire.send(f"{network}1", frame)
            (untagged,) = node.wait(received(mark))
            on_wire = [*leaving.wait(sent(mark)), *arriving.wait(received(mark))]
        assert bytes(untagged) == bytes(frame)
        assert [packet[Dot1Q].vlan if Dot1Q in packet else None for packet in on_wire] == [tag, tag]
        for packet in on_wire:
            assert bytes(packet)[-len(frame) + 14 :] == bytes(frame)[14:]

    @pytest.mark.lab("tshark")
    def test_another_dissector_agrees(self, wire: Lab, artifacts: Path) -> None:
        """Everything that scapy was asked above, asked Wireshark."""
        with wire.capture("hv1") as underlay, wire.capture("hv1", UPLINK) as uplink:
            marks = {}
            for network in PAIRS:
                marks[network] = token()
                wire.send(f"{network}1", across(wire, network, marks[network]))
            for network in ("red", "green", "blue"):
                underlay.wait(sent(marks[network]))
            for network in ("desk", "floor"):
                uplink.wait(sent(marks[network]))
            # not the answers, which quote what they answer
            underlay.seen = [p for p in underlay.seen + uplink.seen if any(sent(m)(p) for m in marks.values())]
            pcap = underlay.write(artifacts / "wire.pcap")
        dissected = tshark(pcap)
        found = {network: self.of(dissected, mark) for network, mark in marks.items()}
        assert found["red"]["frame.protocols"][0].startswith("eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:udp")
        assert (found["red"]["udp.dstport"][0], found["red"]["vxlan.vni"]) == ("4789", [str(ID)])
        assert found["green"]["frame.protocols"][0].startswith("eth:ethertype:ip:gre:eth:ethertype:ip:udp")
        assert int(found["green"]["gre.key"][0], 16) >> 8 == ID
        assert found["blue"]["frame.protocols"][0].startswith("eth:ethertype:ip:udp:geneve:eth:ethertype:ip:udp")
        assert (found["blue"]["udp.dstport"][0], int(found["blue"]["geneve.vni"][0], 16)) == ("6081", ID)
        assert found["desk"]["vlan.id"] == ["120"]
        assert found["floor"]["frame.protocols"][0].startswith("eth:ethertype:ip:udp")

    def of(self, dissected: list[dict[str, list[str]]], mark: bytes) -> dict[str, list[str]]:
        (layers,) = [layers for layers in dissected if mark.hex() in layers.get("data.data", [""])[0]]
        return layers


def tshark(pcap: Path) -> list[dict[str, list[str]]]:
    """The fields of each packet; expert messages of a severity of warning and above would be complaints."""
    fields = ("frame.protocols", "udp.dstport", "vxlan.vni", "gre.key", "geneve.vni", "vlan.id", "data.data")
    options = [option for field in fields for option in ("-e", field)]
    checks = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    answer = run("tshark", "-n", "-r", str(pcap), "-T", "json", *checks, *options)
    wrong = run("tshark", "-n", "-r", str(pcap), *checks, "-Y", f"_ws.expert.severity >= {PI_WARN}")
    assert wrong == ""
    return [packet["_source"]["layers"] for packet in json.loads(answer)]


# ── whom a frame reaches ──


class TestReplication:
    @pytest.mark.parametrize("how", MULTICAST)
    @pytest.mark.parametrize(("network", "others"), [("red", ["hv2", "hv3"]), ("green", ["hv2"]), ("blue", ["hv2"])])
    def test_once_to_each_chassis_of_the_network(self, wire: Lab, network: str, others: list[str], how: str) -> None:
        """Head-end replication; who got it from a tunnel gives it to its nodes and to no tunnel."""
        mark, end = token(), token()
        destination, version = MULTICAST[how]
        source = wire.port(f"{network}1")
        nodes = [port.node for port in wire.model.ports_of[network] if port.node != source.node]
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all(*nodes, source.node) as ends:
            wire.send(source.node, group(source, mark, destination, version))
            wire.send(source.node, group(source, end, destination, version))
            for node in ends[:-1]:
                node.wait(received(end))
            first, *rest = underlays
            copies = opened(first.matching(carries(mark)))
            vteps = [str(wire.model.chassis[name].vtep.ip) for name in others]
            assert sorted(copy.target for copy in copies) == sorted(vteps)
            assert {(copy.kind, copy.id) for copy in copies} == {(wire.model.networks[network].segment.kind, ID)}
            for name, underlay in zip(CHASSIS[1:], rest, strict=True):
                passed = Counter(packet.direction for packet in underlay.matching(carries(mark)))
                assert passed == ({"in": 1} if name in others else {}), f"{name}: {passed}"
            assert [len(node.matching(received(mark))) for node in ends] == [1] * len(nodes) + [0]

    @pytest.mark.parametrize("network", ["desk", "floor"])
    def test_once_into_a_physical_network(self, wire: Lab, network: str) -> None:
        mark, end = token(), token()
        source = wire.port(f"{network}1")
        with (
            wire.capture("hv1", UPLINK) as leaving,
            wire.capture("hv2", UPLINK) as arriving,
            wire.capture(f"{network}2") as node,
        ):
            wire.send(source.node, group(source, mark), group(source, end))
            node.wait(received(end))
            assert [packet.direction for packet in leaving.matching(carries(mark))] == ["out"]
            assert [packet.direction for packet in arriving.matching(carries(mark))] == ["in"]
            assert len(node.matching(received(mark))) == 1


class TestIsolation:
    def test_no_network_sees_anothers_broadcasts(self, wire: Lab) -> None:
        """Every network shouts; each node hears its own network, and what a chassis gets is of networks that it has."""
        marks = {network: token() for network in wire.model.networks}
        ports = wire.model.ports
        nodes = [port.node for port in ports.values()]
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all(*nodes) as ends:
            for network, mark in marks.items():
                speaker = wire.port(f"{network}1")
                wire.send(speaker.node, group(speaker, mark))
            for port, end in zip(ports.values(), ends, strict=True):
                if not port.node.endswith("1"):
                    end.wait(received(marks[port.network]))
            for port, end in zip(ports.values(), ends, strict=True):
                heard = {name for name, mark in marks.items() if end.matching(received(mark))}
                assert heard == ({port.network} if not port.node.endswith("1") else set()), port.node
            for name, underlay in zip(CHASSIS, underlays, strict=True):
                here = {p.network for p in ports.values() if p.chassis == name}
                assert {n for n, mark in marks.items() if underlay.matching(received(mark))} <= here, name

    def test_a_frame_for_anothers_node_goes_nowhere(self, wire: Lab) -> None:
        """A red node knows a pink node's MAC and address; on the wire there is nothing of it."""
        mark, end = token(), token()
        source, stranger, friend = wire.port("red1"), wire.port("pink4"), wire.port("red2")
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("pink4", "red2") as ends:
            forged = datagram(source, friend, mark)
            forged.dst = str(stranger.mac)
            forged[IP].dst = str(ip(stranger))
            del forged[IP].chksum, forged[UDP].chksum
            wire.send("red1", forged, datagram(source, friend, end))
            ends[1].wait(received(end))
            assert [capture.matching(carries(mark)) for capture in (*underlays, *ends)] == [[]] * 6

    def test_nobody_else_hears_who_asks_for_an_address(self, wire: Lab) -> None:
        """ARP and ND by the nodes' own kernels, their caches empty: answered on the first chassis."""
        for node in ("red1", "red2"):
            wire.execute(node, "ip", "neighbour", "flush", "dev", "eth0")
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("red1", "red2", "red3", "red4") as ends:
            wire.ping("red1", "red2")
            asked = [packet for packet in ends[0].matching(bool) if is_question(packet) and packet.direction == "out"]
            assert {kind(packet) for packet in asked} == {"arp", "nd"}
            about = [str(address) for address in wire.port("red2").ips]
            assert not [packet for end in ends[1:] for packet in end.matching(is_question) if target(packet) in about]
            inner = [t.frame for underlay in underlays for p in underlay.matching(bool) if (t := tunnelled(p))]
            assert inner
            assert not [frame for frame in inner if is_question(frame) and target(frame) in about]

    def test_arp_answers_itself(self, wire: Lab) -> None:
        mark = token()
        source, known = wire.port("red1"), wire.port("red3")
        with wire.capture_all(*CHASSIS) as underlays, wire.capture_all("red1", "red2", "red3") as ends:
            wire.send("red1", arp_request(source, ip(known)), group(source, mark))
            (answer,) = ends[0].wait(lambda packet: ARP in packet and packet[ARP].op == 2)
            assert answer[ARP].hwsrc == str(known.mac)
            ends[2].wait(received(mark))
            assert not [packet for end in ends[1:] for packet in end.matching(lambda packet: ARP in packet)]
            assert not [packet for underlay in underlays for packet in underlay.matching(inner_arp)]


def inner_arp(packet: Packet) -> bool:
    found = tunnelled(packet)
    return found is not None and ARP in found.frame


def is_question(packet: Packet) -> bool:
    return bool(kind(packet))


def kind(packet: Packet) -> str:
    """`arp` for a request, `nd` for a solicitation of another's address."""
    if ARP in packet:
        return "arp" if packet[ARP].op == 1 else ""
    return "nd" if IPv6 in packet and packet[IPv6].nh == 58 and bytes(packet[IPv6].payload)[:1] == b"\x87" else ""


def target(packet: Packet) -> str:
    return str(packet[ARP].pdst if ARP in packet else packet[IPv6].payload.tgt)


# ── size ──


class TestSize:
    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("network", PAIRS)
    def test_a_full_packet_passes_whole(self, wire: Lab, network: str, version: int) -> None:
        """As large as the network's MTU, not to be fragmented, answered in the same size; nothing is cut on the way."""
        mtu = wire.model.networks[network].mtu
        request, mark = full_echo(wire.port(f"{network}1"), wire.port(f"{network}2"), mtu, version)
        assert len(request) == mtu + 14
        with (
            wire.capture(f"{network}1") as node,
            wire.capture("hv1") as underlay,
            wire.capture("hv1", UPLINK) as uplink,
        ):
            wire.send(f"{network}1", request)
            (answer,) = node.wait(lambda packet: is_echo_reply(packet) and received(mark)(packet))
            assert len(answer) == mtu + 14
            on_wire = underlay.matching(carries(mark)) + uplink.matching(carries(mark))
            fragments = underlay.matching(lambda packet: IP in packet and (packet[IP].frag or packet[IP].flags.MF))
        assert len(on_wire) == 2
        assert fragments == []
        tag = 4 if network == "desk" else 0
        overhead = ENCAPSULATION_OVERHEAD[wire.model.networks[network].segment.kind]
        assert {len(packet) for packet in on_wire} == {mtu + 14 + overhead + tag}
        assert mtu + overhead == wire.model.underlay.mtu

    @pytest.mark.parametrize("network", PAIRS)
    def test_a_larger_one_does_not_leave_the_node(self, wire: Lab, network: str) -> None:
        mtu = wire.model.networks[network].mtu
        assert wire.in_namespace(f"{network}1", lambda: interface_mtu("eth0")) == mtu
        request, _ = full_echo(wire.port(f"{network}1"), wire.port(f"{network}2"), mtu + 1)
        with pytest.raises(OSError, match=r".") as refused:
            wire.send(f"{network}1", request)
        assert refused.value.errno == errno.EMSGSIZE


def interface_mtu(device: str) -> int:
    """Asked in the namespace where it is called."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16si", device.encode(), 0) + bytes(12))
    return int(struct.unpack_from("i", answer, 16)[0])
