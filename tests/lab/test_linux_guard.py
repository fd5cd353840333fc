"""What ports of a Linux chassis may send: the tests of Open vSwitch's guard (test_ports.py), and frames that get by a
guard which reads packets less thoroughly than hosts do. Those are sent through both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6Unknown,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    RouterAlert,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import LLC, SNAP

from sdn.model import Port
from tests.lab import test_hopping, test_ports
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
    datagram,
    ip,
    token,
)
from tests.lab.labs import Lab
from tests.lab.test_ports import NOBODY, PORTS, arrives, from_ipv4, nd, own_option, own_target, reply, unicast

pytestmark = pytest.mark.lab

LINUX = "hv[1-2]: {datapath: linux}"
OVERLAYS = PORTS.replace("nvgre: 5000", "vxlan: 5000").replace("geneve: 300", "vxlan: 300")
"""What a kernel without loadable modules has."""
ON_LINUX = OVERLAYS.replace("hv[1-2]: {}", LINUX)


@pytest.fixture(scope="module")
def ports(shared_lab: Labs) -> Lab:
    return shared_lab(ON_LINUX)


@pytest.fixture(scope="module")
def hopping(shared_lab: Labs) -> Lab:
    chassis = "{hv1: {datapath: linux}, hv2: {datapath: linux}}"
    return shared_lab(test_hopping.TOPOLOGY.replace("{hv1: {}, hv2: {}}", chassis).replace("nvgre", "vxlan"))


class TestTrunk(test_ports.TestTrunk):
    """Of a tagged network's ports on a Linux chassis."""


class TestSpoofGuard(test_ports.TestSpoofGuard):
    """On a Linux chassis."""


class TestAllowedAddresses(test_ports.TestAllowedAddresses):
    """On a Linux chassis."""


class TestUnknownUnicast(test_ports.TestUnknownUnicast):
    """On a Linux chassis."""


test_two_tags_from_a_port_through_a_tunnel = test_hopping.test_from_a_port_through_a_tunnel
test_two_tags_from_beyond_an_uplink = test_hopping.test_from_beyond_an_uplink


# ── frames that hosts read otherwise than they look ──

Made = Callable[[Port, Port, bytes], Packet]


@pytest.fixture(scope="module", params=["linux", "ovs"])
def either(request: pytest.FixtureRequest, shared_lab: Labs) -> Lab:
    return shared_lab(ON_LINUX if request.param == "linux" else OVERLAYS)


def behind(source: Port, target: Port, header: Packet, rest: Packet, mark: bytes, sender: str = "") -> Packet:
    """ICMPv6 behind an extension header, with the mark in an option that nobody reads."""
    frame = nd(source, target, rest, mark, sender)
    inner = frame[IPv6]
    message = inner.payload
    header = header.copy()
    header.nh = 58
    made = Ether(src=frame.src, dst=frame.dst) / IPv6(src=inner.src, dst=inner.dst, hlim=255) / header / message
    # the checksum is of the message itself (RFC 8200 section 8.1), whatever stands before it
    message.cksum = None
    return made


def forged_advertisement(source: Port) -> Packet:
    return ICMPv6ND_NA(R=0, tgt="fd00::bad") / own_target(source)


def filler(octets: int) -> Packet:
    """An option of that many octets that nobody reads."""
    return Raw(bytes([253, octets // 8]) + bytes(octets - 2))


def marked(source: Port, target: Port, message: bytes, sender: str = "") -> Packet:
    return (
        unicast(source, target)
        / IPv6(src=sender or str(ip(source, 6)), dst=str(ip(target, 6)), hlim=255, nh=58)
        / Raw(message)
    )


def raw_arp(source: Port, target: Port, mark: bytes, hwlen: int = 6, plen: int = 4, hwtype: int = 1) -> Packet:
    """As an ARP reply for an own address, but with lengths by which its fields are elsewhere."""
    body = bytes(reply(source, target, mark)[ARP])
    fixed = hwtype.to_bytes(2, "big") + b"\x08\x00" + bytes([hwlen, plen]) + body[6:]
    return Ether(src=str(source.mac), dst=str(target.mac), type=0x0806) / Raw(fixed)


def reverse_arp(source: Port, mac: object, mark: bytes) -> Packet:
    """As QEMU announces a machine that has moved (RFC 903): a question for one's own address, by MAC."""
    question = ARP(op=3, hwsrc=str(mac), psrc="0.0.0.0", hwdst=str(mac), pdst="0.0.0.0")
    return Ether(src=str(mac), dst="ff:ff:ff:ff:ff:ff", type=0x8035) / Raw(bytes(question) + mark)


def snap(source: Port, target: Port, mark: bytes) -> Packet:
    inner = IP(src="10.0.0.250", dst=str(ip(target))) / UDP(sport=4000, dport=9) / Raw(mark)
    head = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800)
    frame = head / inner
    return Ether(src=str(source.mac), dst=str(target.mac), type=len(frame)) / frame


def fragment(source: Port, target: Port, mark: bytes, offset: int, rest: Packet | bytes, nh: int) -> Packet:
    body = rest if isinstance(rest, Packet) else Raw(rest)
    return (
        unicast(source, target)
        / IPv6(src=str(ip(source, 6)), dst=str(ip(target, 6)))
        / IPv6ExtHdrFragment(nh=nh, offset=offset, m=int(not offset), id=7)
        / body
        / Raw(mark)
    )


FORGED: dict[str, Made] = {
    "reverse-arp-for-anothers-mac": lambda s, t, m: reverse_arp(s, t.mac, m),
    "arp-probe-for-anothers-address": lambda s, t, m: arp_request(s, "10.0.0.250", psrc="0.0.0.0") / Raw(m),
    "arp-gratuitous": lambda s, t, m: arp_request(s, "10.0.0.250", psrc="10.0.0.250") / Raw(m),
    "arp-with-longer-macs": lambda s, t, m: raw_arp(s, t, m, hwlen=8),
    "arp-with-longer-addresses": lambda s, t, m: raw_arp(s, t, m, plen=16),
    "arp-of-another-link": lambda s, t, m: raw_arp(s, t, m, hwtype=32),
    "rarp": lambda s, t, m: Ether(src=str(s.mac), dst=str(t.mac), type=0x8035) / reply(s, t, m).payload,
    "llc-snap": snap,
    "dhcp-of-a-server": lambda s, t, m: (
        Ether(src=str(s.mac), dst=BROADCAST)
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / Raw(m)
    ),
    "dhcp-with-another-mac": lambda s, t, m: (
        Ether(src=NOBODY, dst=BROADCAST) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / Raw(m)
    ),
    "dhcp-fragment": lambda s, t, m: (
        Ether(src=str(s.mac), dst=BROADCAST)
        / IP(src="0.0.0.0", dst="255.255.255.255", frag=1, proto=17)
        / Raw(b"\0\x44\0\x43\0\x20\0\0" + m)
    ),
    "ipv4-unspecified": lambda s, t, m: from_ipv4(s, t, m, "0.0.0.0"),
    "ipv6-unspecified": lambda s, t, m: (
        unicast(s, t) / IPv6(src="::", dst=str(ip(t, 6))) / UDP(sport=4000, dport=9) / Raw(m)
    ),
    "mldv1-report": lambda s, t, m: nd(s, t, ICMPv6MLReport(mladdr="ff02::5"), m, "::"),
    "ns-option-behind-another": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / filler(8) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY), m
    ),
    "ns-option-behind-a-long-one": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / filler(24) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY), m
    ),
    "ns-own-option-and-another": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY), m
    ),
    "ns-own-option-twice": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s) / own_option(s), m),
    "na-own-option-and-another": lambda s, t, m: nd(
        s, t, ICMPv6ND_NA(R=0, tgt=str(ip(s, 6))) / own_target(s) / filler(16) / ICMPv6NDOptDstLLAddr(lladdr=NOBODY), m
    ),
    "na-own-target-from-another": lambda s, t, m: nd(
        s, t, ICMPv6ND_NA(R=0, tgt=str(ip(s, 6))) / own_target(s), m, "fd00::bad"
    ),
    "na-from-nowhere": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, tgt=str(ip(s, 6))) / own_target(s), m, "::"),
    "na-of-nothing": lambda s, t, m: nd(s, t, ICMPv6ND_NA(R=0, tgt="::") / own_target(s), m),
    "na-behind-hop-by-hop": lambda s, t, m: behind(s, t, IPv6ExtHdrHopByHop(), forged_advertisement(s), m),
    "na-behind-destination-options": lambda s, t, m: behind(s, t, IPv6ExtHdrDestOpt(), forged_advertisement(s), m),
    "na-behind-routing": lambda s, t, m: behind(s, t, IPv6ExtHdrRouting(), forged_advertisement(s), m),
    "ra-behind-hop-by-hop": lambda s, t, m: behind(s, t, IPv6ExtHdrHopByHop(), ICMPv6ND_RA(), m, str(s.link_local)),
    "na-behind-a-fragment-header": lambda s, t, m: behind(s, t, IPv6ExtHdrFragment(m=0), forged_advertisement(s), m),
    "na-behind-authentication": lambda s, t, m: (
        unicast(s, t)
        / IPv6(src=str(ip(s, 6)), dst=str(ip(t, 6)), nh=51, hlim=255)
        / Raw(bytes(AH(nh=58, payloadlen=4, spi=1, seq=1, icv=bytes(12))) + bytes(forged_advertisement(s)) + m)
    ),
    "ipv6-fragment-from-another": lambda s, t, m: (
        unicast(s, t) / IPv6(src="fd00::bad", dst=str(ip(t, 6))) / IPv6ExtHdrFragment(nh=17, offset=9, id=7) / Raw(m)
    ),
    "priority-tag": lambda s, t, m: tagged_with(datagram(s, t, m), 0),
    "service-tag": lambda s, t, m: tagged_with(datagram(s, t, m), 20, 0x88A8),
    "reserved-group": lambda s, t, m: Ether(src=str(s.mac), dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(m),
}

STRICTER: dict[str, Made] = {
    "option-of-no-length": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt="fd00::dead") / Raw(bytes([253, 0]) + bytes(6)), m),
    "na-in-a-first-fragment": lambda s, t, m: fragment(s, t, m, 0, forged_advertisement(s), 58),
    "ns-option-of-two-units": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / Raw(b"\x01\x02\x02\xee\xee\xee\xee\xee" + bytes(8)), m
    ),
    "ns-with-a-target-option": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / ICMPv6NDOptDstLLAddr(lladdr=NOBODY), m
    ),
    "dad-with-anothers-option": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt=str(ip(s, 6))) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY), m, "::"
    ),
}
"""What Open vSwitch lets pass; hosts do not believe it (RFC 4861 sections 4.6, 7.1.1 and 7.1.2, RFC 6980)."""

HONEST: dict[str, Made] = {
    "reverse-arp": lambda s, t, m: reverse_arp(s, s.mac, m),
    "arp-gratuitous": lambda s, t, m: arp_request(s, ip(s)) / Raw(m),
    "ns-with-a-nonce": lambda s, t, m: nd(
        s, t, ICMPv6ND_NS(tgt="fd00::dead") / own_option(s) / Raw(b"\x0e\x01sixsix"), m
    ),
    "na-of-the-link-local": lambda s, t, m: nd(
        s, t, ICMPv6ND_NA(R=0, tgt=str(s.link_local)) / own_target(s), m, str(s.link_local)
    ),
    "rs": lambda s, t, m: nd(s, t, ICMPv6ND_RS() / own_option(s), m, str(s.link_local)),
    "mldv2-report": lambda s, t, m: behind(
        s, t, IPv6ExtHdrHopByHop(options=RouterAlert(value=0)), ICMPv6MLReport2(), m, "::"
    ),
    "mldv2-report-from-link-local": lambda s, t, m: behind(
        s, t, IPv6ExtHdrHopByHop(options=RouterAlert(value=0)), ICMPv6MLReport2(), m, str(s.link_local)
    ),
    "echo": lambda s, t, m: (
        unicast(s, t) / IPv6(src=str(ip(s, 6)), dst=str(ip(t, 6))) / ICMPv6EchoRequest(id=7, seq=1, data=m)
    ),
    "udp-behind-hop-by-hop": lambda s, t, m: (
        unicast(s, t)
        / IPv6(src=str(ip(s, 6)), dst=str(ip(t, 6)))
        / IPv6ExtHdrHopByHop()
        / UDP(sport=4000, dport=9)
        / Raw(m)
    ),
    "first-fragment": lambda s, t, m: fragment(s, t, m, 0, bytes(UDP(sport=4000, dport=9, len=2000)), 17),
    "later-fragment": lambda s, t, m: fragment(s, t, m, 100, b"", 17),
    "later-fragment-of-an-echo": lambda s, t, m: fragment(s, t, m, 100, b"\x88", 58),
    "first-fragment-of-an-echo": lambda s, t, m: fragment(s, t, m, 0, ICMPv6Unknown(type=128), 58),
    "esp": lambda s, t, m: unicast(s, t) / IPv6(src=str(ip(s, 6)), dst=str(ip(t, 6)), nh=50) / Raw(bytes(8) + m),
    "authenticated-udp": lambda s, t, m: (
        unicast(s, t)
        / IPv6(src=str(ip(s, 6)), dst=str(ip(t, 6)), nh=51)
        / Raw(bytes(AH(nh=17, payloadlen=4, spi=1, seq=1, icv=bytes(12))) + bytes(UDP(sport=4000, dport=9)) + m)
    ),
    "ipv4-fragment": lambda s, t, m: unicast(s, t) / IP(src=str(ip(s)), dst=str(ip(t)), frag=100, proto=17) / Raw(m),
    "tcp-over-ipv6": lambda s, t, m: datagram(s, t, m, version=6),
}

UNANSWERED: dict[str, Made] = {
    "arp-probe": lambda s, t, m: arp_request(s, ip(s), psrc="0.0.0.0") / Raw(m),
    "dad": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt=str(ip(s, 6))), m, "::"),
    "dad-of-the-link-local": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt=str(s.link_local)), m, "::"),
    "dad-with-a-nonce": lambda s, t, m: nd(s, t, ICMPv6ND_NS(tgt=str(ip(s, 6))) / Raw(b"\x0e\x01sixsix"), m, "::"),
}
"""Questions about one's own address, which Open vSwitch's answering table keeps to itself."""


def tagged_with(frame: Packet, tag: int, kind: int = 0x8100) -> Packet:
    inner = frame.copy()
    return Ether(src=inner.src, dst=inner.dst, type=kind) / Dot1Q(vlan=tag, type=inner.type) / inner.payload


class TestDeepFrames:
    @pytest.mark.parametrize("what", FORGED)
    def test_forged_is_dropped(self, either: Lab, what: str) -> None:
        mark = token()
        frame = FORGED[what](either.port("web1"), either.port("web3"), mark)
        assert not arrives(either, "web1", frame, mark, at="web3")

    @pytest.mark.parametrize("what", STRICTER)
    def test_what_no_host_says_is_dropped(self, ports: Lab, what: str) -> None:
        mark = token()
        frame = STRICTER[what](ports.port("web1"), ports.port("web3"), mark)
        assert not arrives(ports, "web1", frame, mark, at="web3")

    @pytest.mark.parametrize("what", UNANSWERED)
    def test_questions_about_oneself_pass(self, ports: Lab, what: str) -> None:
        mark = token()
        frame = UNANSWERED[what](ports.port("web1"), ports.port("web3"), mark)
        assert arrives(ports, "web1", frame, mark, at="web3")

    @pytest.mark.parametrize("what", HONEST)
    def test_honest_passes(self, either: Lab, what: str) -> None:
        mark = token()
        frame = HONEST[what](either.port("web1"), either.port("web3"), mark)
        assert arrives(either, "web1", frame, mark, at="web3")
