"""What ports may send, what they are told, and where unknown addresses are: frames made by hand, one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
)

from sdn.model import Port
from tests.lab.conftest import Labs
from tests.lab.frames import (
    ARP,
    BROADCAST,
    IP,
    UDP,
    Dot1Q,
    Ether,
    IPv6,
    Packet,
    Raw,
    arp_request,
    carries,
    datagram,
    group,
    ip,
    received,
    token,
)
from tests.lab.labs import Lab

pytestmark = pytest.mark.lab

PORTS = """
name: ports
chassis:
  hv[1-2]: {}
physnets:
  office: {}
networks:
  web: {segment: {vxlan: 100}, subnets: [10.0.0.0/24, "fd00::/64"]}
  db: {segment: {nvgre: 5000}, subnets: [10.0.1.0/24, "fd00:1::/64"], mtu: 1450}
  dmz: {segment: {vlan: 31, physnet: office}, subnets: [10.0.2.0/24, "fd00:2::/64"], mtu: 1450}
  hub: {segment: {geneve: 300}, subnets: [10.0.3.0/24, "fd00:3::/64"], unknown_unicast: flood}
nodes:
  fw1: {chassis: hv1, trunk: {native: web, 20: db, 30: dmz}}
  fw2: {chassis: hv2, trunk: {native: web, 40: db, 50: dmz}}
  web1: {network: web, chassis: hv1}
  web2: {network: web, chassis: hv2}
  web3: {network: web, chassis: hv1}
  free: {network: web, chassis: hv1, spoof_guard: false}
  vip:
    network: web
    chassis: hv1
    allowed_addresses:
      - 10.0.0.100
      - 10.7.0.0/16
      - {ip: 10.0.0.200, mac: "02:00:5e:00:01:01"}
      - "fd00::100"
  db1: {network: db, chassis: hv1}
  db2: {network: db, chassis: hv2}
  dmz1: {network: dmz, chassis: hv1}
  hub[1-2]: {network: hub, chassis: hv1}
  hub3: {network: hub, chassis: hv2}
"""
VIRTUAL_MAC = "02:00:5e:00:01:01"
NOBODY = "02:ee:ee:ee:ee:ee"


@pytest.fixture(scope="module")
def ports(shared_lab: Labs) -> Lab:
    return shared_lab(PORTS)


def arrives(lab: Lab, source: str, frame: Packet, mark: bytes, at: str) -> bool:
    """Whether the frame that carries `mark` comes to the node: known when a later, innocent one has come."""
    sender, target, end = lab.port(untagged(lab, source)), lab.port(untagged(lab, at)), token()
    with lab.capture(at) as node:
        lab.send(source, frame, datagram(sender, target, end))
        node.wait(received(end))
        return bool(node.matching(received(mark)))


def untagged(lab: Lab, node: str) -> str:
    """The name of the node's access port, or of its trunk's native one."""
    (name,) = [port.name for port in lab.model.ports.values() if port.node == node and port.tag is None]
    return name


def tagged(lab: Lab, node: str, network: str) -> Port:
    (found,) = [port for port in lab.model.ports.values() if (port.node, port.network) == (node, network)]
    return found


# ── trunks ──


class TestTrunk:
    @pytest.mark.parametrize(("network", "access"), [("db", "db2"), ("db", "db1"), ("dmz", "dmz1")])
    def test_a_tag_is_a_network(self, ports: Lab, network: str, access: str) -> None:
        """The tag says the network and is gone at access ports, on both chassis and back."""
        trunk, port = tagged(ports, "fw1", network), ports.port(access)
        there, back = token(), token()
        frame, answer = datagram(trunk, port, there), datagram(port, trunk, back)
        with ports.capture(access) as access_node, ports.capture("fw1") as trunk_node:
            ports.send("fw1", with_tag(frame, trunk.tag))
            (came,) = access_node.wait(received(there))
            ports.send(access, answer)
            (returned,) = trunk_node.wait(received(back))
        assert bytes(came) == bytes(frame)
        assert bytes(returned) == bytes(with_tag(answer, trunk.tag))

    @pytest.mark.parametrize("network", ["db", "dmz"])
    def test_each_trunk_has_its_own_tag_for_a_network(self, ports: Lab, network: str) -> None:
        here, there, mark = tagged(ports, "fw1", network), tagged(ports, "fw2", network), token()
        frame = datagram(here, there, mark)
        with ports.capture("fw2") as trunk_node:
            ports.send("fw1", with_tag(frame, here.tag))
            (came,) = trunk_node.wait(received(mark))
        assert here.tag != there.tag
        assert bytes(came) == bytes(with_tag(frame, there.tag))

    def test_the_native_network_is_untagged(self, ports: Lab) -> None:
        native, port, mark = ports.port(untagged(ports, "fw1")), ports.port("web2"), token()
        frame = datagram(native, port, mark)
        with ports.capture("web2") as node:
            ports.send("fw1", frame)
            (came,) = node.wait(received(mark))
        assert bytes(came) == bytes(frame)
        ports.ping("fw1", "web2")
        ports.ping("web1", "fw2")

    def test_a_broadcast_goes_to_each_port_once_with_its_own_tag(self, ports: Lab) -> None:
        speaker, mark, end = ports.port("db1"), token(), token()
        nodes = ["db2", "fw1", "fw2", "web1", "dmz1"]
        with ports.capture_all(*nodes) as ends:
            ports.send("db1", group(speaker, mark), group(speaker, end))
            for node in ends[:3]:
                node.wait(received(end))
            heard = {
                name: [packet[Dot1Q].vlan if Dot1Q in packet else None for packet in node.matching(received(mark))]
                for name, node in zip(nodes, ends, strict=True)
            }
        assert heard == {"db2": [None], "fw1": [20], "fw2": [40], "web1": [], "dmz1": []}

    @pytest.mark.parametrize("tag", [99, 40, 31, 5000 % 4096])
    def test_a_tag_that_the_trunk_does_not_have(self, ports: Lab, tag: int) -> None:
        """Not another trunk's tag either, nor the segment's own id."""
        mark = token()
        frame = datagram(tagged(ports, "fw1", "db"), ports.port("db1"), mark)
        with ports.capture_all("db1", "db2", "dmz1", "web1") as nodes:
            assert not arrives(ports, "fw1", with_tag(frame, tag), mark, at="web2")
            assert [node.matching(carries(mark)) for node in nodes] == [[]] * 4

    @pytest.mark.parametrize("tag", [20, 31, 100])
    @pytest.mark.parametrize("sender", ["web1", "free"])
    def test_a_tag_on_an_access_port(self, ports: Lab, sender: str, tag: int) -> None:
        mark = token()
        frame = datagram(ports.port(sender), ports.port("web2"), mark)
        assert not arrives(ports, sender, with_tag(frame, tag), mark, at="web2")


def with_tag(frame: Packet, tag: int | None) -> Packet:
    """The frame with a VLAN tag put in."""
    assert tag is not None
    inner = frame.copy()
    return Ether(src=inner.src, dst=inner.dst) / Dot1Q(vlan=tag, type=inner.type) / inner.payload


# ── spoof guard ──

Made = Callable[[Port, Port, bytes], Packet]
"""(sender, target, mark) → a frame that carries the mark. ND messages carry it in an option that nobody reads."""


def unicast(source: Port, target: Port) -> Packet:
    return Ether(src=str(source.mac), dst=str(target.mac))


def nd(source: Port, target: Port, message: Packet, mark: bytes, sender: str = "") -> Packet:
    """An ND message from the port's own address unless another is given; RFC 4861 wants a hop limit of 255."""
    option = Raw(b"\xfd\x03" + mark.ljust(22, b"\0"))  # RFC 4727 section 4.1.3: an option type for experiments
    return (
        unicast(source, target)
        / IPv6(src=sender or str(ip(source, 6)), dst=str(ip(target, 6)), hlim=255)
        / (message / option)
    )


def reply(source: Port, target: Port, mark: bytes, **changed: str) -> Packet:
    fields = {"hwsrc": str(source.mac), "psrc": str(ip(source)), "hwdst": str(target.mac), "pdst": str(ip(target))}
    return unicast(source, target) / ARP(op=2, **(fields | changed)) / Raw(mark)


def own_option(source: Port) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=str(source.mac))


def own_target(source: Port) -> Packet:
    return ICMPv6NDOptDstLLAddr(lladdr=str(source.mac))


def from_mac(s: Port, t: Port, mark: bytes) -> Packet:
    frame = datagram(s, t, mark)
    frame.src = NOBODY
    return frame


def from_ipv4(s: Port, t: Port, mark: bytes, source: str = "10.0.0.250") -> Packet:
    return unicast(s, t) / IP(src=source, dst=str(ip(t))) / UDP(sport=4000, dport=9) / Raw(mark)


def from_ipv6(s: Port, t: Port, mark: bytes, source: str = "fd00::bad") -> Packet:
    return unicast(s, t) / IPv6(src=source, dst=str(ip(t, 6))) / UDP(sport=4000, dport=9) / Raw(mark)


FORGED: dict[str, Made] = {
    "mac": from_mac,
    "ipv4": from_ipv4,
    "ipv4-of-another": lambda s, t, m: from_ipv4(s, t, m, "10.0.0.1"),
    "ipv6": from_ipv6,
    "ipv6-link-local": lambda s, t, m: from_ipv6(s, t, m, "fe80::bad"),
    "arp-spa": lambda s, t, m: reply(s, t, m, psrc="10.0.0.250"),
    "arp-sha": lambda s, t, m: reply(s, t, m, hwsrc=NOBODY),
    "arp-sha-and-mac": lambda s, t, m: Ether(src=NOBODY, dst=str(t.mac)) / reply(s, t, m, hwsrc=NOBODY).payload,
    "ns-sll": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY), m),
    "ns-sll-twice": lambda s, t, m: nd(
        s,
        t,
        ICMPv6ND_NS(tgt="fd00::dead") / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY),
        m,
    ),
    "ns-source": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s), m, "fd00::bad"),
    "ns-for-anothers-address": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead"), m, "::"),
    "na-target": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, tgt="fd00::bad") / own_target(s), m),
    "na-tll": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, tgt=str(ip(s, 6))) / ICMPv6NDOptDstLLAddr(lladdr=NOBODY), m),
    "ra": lambda s, t, m: nd(s, t, ICMPv6ND_RA() / own_option(s), m, str(s.link_local)),
    "redirect": lambda s, t, m: nd(
        s, t, ICMPv6ND_Redirect(tgt=str(s.link_local), dst="fd00:9::1") / own_target(s), m, str(s.link_local)
    ),
    "other-protocol": lambda s, t, m: Ether(src=str(s.mac), dst=str(t.mac), type=0x88B5) / Raw(m),
}
HONEST: dict[str, Made] = {
    "ipv4": lambda s, t, m: datagram(s, t, m),
    "ipv6": lambda s, t, m: datagram(s, t, m, version=6),
    "ipv6-link-local": lambda s, t, m: from_ipv6(s, t, m, str(s.link_local)),
    "arp-reply": lambda s, t, m: reply(s, t, m),
    "ns": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s), m),
    "ns-link-local": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s), m, str(s.link_local)),
    "ns-without-option": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead"), m),
    "na": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, tgt=str(ip(s, 6))) / own_target(s), m),
    "na-without-option": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, S=1, tgt=str(ip(s, 6))), m),
    "dhcp": lambda s, t, m: (
        Ether(src=str(s.mac), dst=BROADCAST)
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / Raw(m)
    ),
}


class TestSpoofGuard:
    @pytest.mark.parametrize("what", FORGED)
    def test_forged_is_dropped(self, ports: Lab, what: str) -> None:
        mark = token()
        frame = FORGED[what](ports.port("web1"), ports.port("web2"), mark)
        assert not arrives(ports, "web1", frame, mark, at="web2")
        assert not arrives(ports, "web1", frame, mark, at="web3")

    @pytest.mark.parametrize("what", FORGED)
    def test_forged_passes_without_the_guard(self, ports: Lab, what: str) -> None:
        mark = token()
        frame = FORGED[what](ports.port("free"), ports.port("web2"), mark)
        assert arrives(ports, "free", frame, mark, at="web2")

    @pytest.mark.parametrize("what", HONEST)
    def test_honest_passes(self, ports: Lab, what: str) -> None:
        mark = token()
        frame = HONEST[what](ports.port("web1"), ports.port("web2"), mark)
        assert arrives(ports, "web1", frame, mark, at="web2")

    @pytest.mark.parametrize(("network", "tag"), [("db", 20), ("dmz", 30)])
    def test_each_network_of_a_trunk_has_its_own_addresses(self, ports: Lab, network: str, tag: int) -> None:
        """The trunk's address in its native network is forged in a tagged one."""
        here, there = tagged(ports, "fw1", network), tagged(ports, "fw2", network)
        native, mark, end = ports.port(untagged(ports, "fw1")), token(), token()
        forged = from_ipv4(here, there, mark, str(ip(native)))
        with ports.capture("fw2") as node:
            ports.send("fw1", with_tag(forged, tag), with_tag(datagram(here, there, end), tag))
            node.wait(received(end))
            assert not node.matching(received(mark))


class TestAllowedAddresses:
    @pytest.mark.parametrize(
        ("source", "mac"), [("10.0.0.100", ""), ("10.7.1.2", ""), ("10.0.0.200", VIRTUAL_MAC), ("fd00::100", "")]
    )
    def test_passes(self, ports: Lab, source: str, mac: str) -> None:
        assert self.arrives_from(ports, source, mac)

    @pytest.mark.parametrize(
        ("source", "mac"),
        [
            ("10.0.0.101", ""),
            ("10.8.0.1", ""),
            ("10.0.0.200", ""),  # this one only with its MAC
            ("10.0.0.100", VIRTUAL_MAC),  # and this MAC only with that address
            ("fd00::101", ""),
        ],
    )
    def test_is_dropped(self, ports: Lab, source: str, mac: str) -> None:
        assert not self.arrives_from(ports, source, mac)

    def arrives_from(self, ports: Lab, source: str, mac: str) -> bool:
        vip, target, mark = ports.port("vip"), ports.port("web2"), token()
        frame = (from_ipv6 if ":" in source else from_ipv4)(vip, target, mark, source)
        frame.src = mac or str(vip.mac)
        return arrives(ports, "vip", frame, mark, at="web2")

    def test_arp_for_it_reaches_its_holder_who_answers(self, ports: Lab) -> None:
        """Whether the port has the address just now only the port knows: it is asked."""
        asker, vip, mark = ports.port("web2"), ports.port("vip"), token()
        with ports.capture("vip") as holder, ports.capture("web2") as node:
            ports.send("web2", arp_request(asker, "10.0.0.200"))
            holder.wait(lambda p: ARP in p and p[ARP].pdst == "10.0.0.200" and p.direction == "in")
            answer = reply(vip, asker, mark, hwsrc=VIRTUAL_MAC, psrc="10.0.0.200")
            answer.src = VIRTUAL_MAC
            ports.send("vip", answer)
            node.wait(received(mark))

    def test_frames_for_its_mac_reach_its_holder(self, ports: Lab) -> None:
        mark = token()
        frame = datagram(ports.port("web2"), ports.port("vip"), mark)
        frame.dst = VIRTUAL_MAC
        assert arrives(ports, "web2", frame, mark, at="vip")
        mark = token()
        frame = datagram(ports.port("web2"), ports.port("vip"), mark)
        frame.dst = VIRTUAL_MAC
        assert not arrives(ports, "web2", frame, mark, at="web1")


# ── ARP and ND answers ──


class TestAnswers:
    @pytest.mark.parametrize("about", ["web2", "web3"])
    def test_arp(self, ports: Lab, about: str) -> None:
        """RFC 826: byte for byte what the owner itself would say, wherever it is."""
        asker, owner = ports.port("web1"), ports.port(about)
        with ports.capture("web1") as node:
            ports.send("web1", arp_request(asker, ip(owner)))
            (answer,) = node.wait(lambda packet: ARP in packet and packet[ARP].op == 2)
        assert bytes(answer) == bytes(reply(owner, asker, b""))

    @pytest.mark.parametrize("asks_from", ["address", "link-local"])
    @pytest.mark.parametrize("asked", ["address", "link-local"])
    def test_nd(self, ports: Lab, asks_from: str, asked: str) -> None:
        """RFC 4861 section 7.2.4: solicited, override, the target's link-layer address, a checksum that is right."""
        asker, owner = ports.port("web1"), ports.port("web2")
        source = str(ip(asker, 6) if asks_from == "address" else asker.link_local)
        target = str(ip(owner, 6) if asked == "address" else owner.link_local)
        with ports.capture("web1") as node:
            ports.send("web1", solicitation(asker, source, target))
            (answer,) = node.wait(lambda packet: ICMPv6ND_NA in packet and packet.direction == "in")
        expected = (
            Ether(src=str(owner.mac), dst=str(asker.mac))
            / IPv6(src=target, dst=source, hlim=255)
            / ICMPv6ND_NA(R=0, S=1, O=1, tgt=target)
            / ICMPv6NDOptDstLLAddr(lladdr=str(owner.mac))
        )
        assert bytes(answer) == bytes(expected)

    def test_nd_without_an_option(self, ports: Lab) -> None:
        """A unicast solicitation may come without the asker's MAC, and the answer then without the owner's."""
        asker, owner = ports.port("web1"), ports.port("web2")
        question = unicast(asker, owner) / IPv6(src=str(ip(asker, 6)), dst=str(ip(owner, 6)), hlim=255)
        with ports.capture("web1") as node:
            ports.send("web1", question / ICMPv6ND_NS(tgt=str(ip(owner, 6))))
            (answer,) = node.wait(lambda packet: ICMPv6ND_NA in packet and packet.direction == "in")
        expected = (
            unicast(owner, asker)
            / IPv6(src=str(ip(owner, 6)), dst=str(ip(asker, 6)), hlim=255)
            / ICMPv6ND_NA(R=0, S=1, O=1, tgt=str(ip(owner, 6)))
        )
        assert bytes(answer) == bytes(expected)

    def test_on_a_trunk_with_its_tag(self, ports: Lab) -> None:
        asker, owner = tagged(ports, "fw1", "db"), ports.port("db2")
        with ports.capture("fw1") as node:
            ports.send("fw1", with_tag(arp_request(asker, ip(owner)), 20))
            ports.send("fw1", with_tag(solicitation(asker, str(ip(asker, 6)), str(ip(owner, 6))), 20))
            (arp,) = node.wait(lambda packet: ARP in packet and packet.direction == "in")
            (advert,) = node.wait(lambda packet: ICMPv6ND_NA in packet and packet.direction == "in")
        assert bytes(arp) == bytes(with_tag(reply(owner, asker, b""), 20))
        assert (advert[Dot1Q].vlan, advert[ICMPv6NDOptDstLLAddr].lladdr) == (20, str(owner.mac))

    def test_nobody_is_told_about_itself(self, ports: Lab) -> None:
        """Gratuitous ARP (RFC 5227 section 2.3), an ARP probe and DAD for one's own address are not objected to."""
        port, other = ports.port("web1"), ports.port("web2")
        own = [
            arp_request(port, ip(port)),
            arp_request(port, ip(port), psrc="0.0.0.0"),
            Ether(src=str(port.mac), dst="33:33:ff:00:00:01")
            / IPv6(src="::", dst="ff02::1:ff00:1", hlim=255)
            / ICMPv6ND_NS(tgt=str(ip(port, 6))),
        ]
        with ports.capture("web1") as node:
            ports.send("web1", *own, arp_request(port, ip(other)))
            node.wait(lambda packet: ARP in packet and packet[ARP].psrc == str(ip(other)))
            heard = [p for p in node.seen if p.direction == "in" and (ARP in p or ICMPv6ND_NA in p)]
        assert [packet[ARP].psrc for packet in heard] == [str(ip(other))]

    def test_of_another_network_nothing_is_known(self, ports: Lab) -> None:
        """db2's address exists, but not in web: the question goes round in web and nobody answers."""
        port, other = ports.port("web1"), ports.port("web2")
        with ports.capture_all("web1", "web2", "db2") as (asker, listener, stranger):
            ports.send("web1", arp_request(port, ip(ports.port("db2"))), arp_request(port, ip(other)))
            asker.wait(lambda packet: ARP in packet and packet[ARP].psrc == str(ip(other)))
            listener.wait(lambda packet: ARP in packet and packet[ARP].op == 1)
            assert len(asker.matching(lambda packet: ARP in packet and packet.direction == "in")) == 1
            assert not stranger.matching(lambda packet: ARP in packet)


def solicitation(asker: Port, source: str, target: str) -> Packet:
    """To the solicited-node multicast address of the target (RFC 4291 section 2.7.1)."""
    low = target.rsplit(":", 1)[1].rjust(4, "0")
    return (
        Ether(src=str(asker.mac), dst=f"33:33:ff:00:{low[:2]}:{low[2:]}")
        / IPv6(src=source, dst=f"ff02::1:ff00:{low}", hlim=255)
        / ICMPv6ND_NS(tgt=target)
        / ICMPv6NDOptSrcLLAddr(lladdr=str(asker.mac))
    )


# ── unknown unicast ──


class TestUnknownUnicast:
    def test_is_dropped_on_an_overlay(self, ports: Lab) -> None:
        mark = token()
        frame = datagram(ports.port("web1"), ports.port("web2"), mark)
        frame.dst = NOBODY
        with ports.capture_all("hv1", "hv2") as underlays:
            assert not arrives(ports, "web1", frame, mark, at="web2")
            assert not arrives(ports, "web1", frame, mark, at="web3")
            assert [underlay.matching(carries(mark)) for underlay in underlays] == [[], []]

    def test_is_flooded_where_the_network_says_so(self, ports: Lab) -> None:
        source, mark, end = ports.port("hub1"), token(), token()
        frame = datagram(source, ports.port("hub3"), mark)
        frame.dst = NOBODY
        with ports.capture_all("hub2", "hub3", "web2", "hub1") as nodes:
            ports.send("hub1", frame, group(source, end))
            for node in nodes[:2]:
                node.wait(received(end))
            assert [len(node.matching(received(mark))) for node in nodes] == [1, 1, 0, 0]
