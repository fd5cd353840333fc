"""Frames that the tests send and recognise, in scapy's words.

Enters: ports of the model. Leaves: scapy packets. A frame is recognised by its payload: a token that no other has.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from datapath.addr import IPAddress, Mac
from sdn.model import Port
from tests.lab.capture import Wanted

BROADCAST = "ff:ff:ff:ff:ff:ff"
VXLAN_PORT, GENEVE_PORT, TEB = 4789, 6081, 0x6558

__all__ = ["ARP", "GENEVE", "GRE", "ICMP", "IP", "UDP", "VXLAN", "Dot1Q", "Ether", "IPv6", "Packet", "Raw"]

_count = itertools.count(1)


def token() -> bytes:
    """A payload that no other frame has."""
    return b"sdn-test-%06d" % next(_count)


def carries(payload: bytes) -> Wanted:
    """True for frames with the token, at whatever depth."""
    return lambda packet: payload in bytes(packet)


def received(payload: bytes) -> Wanted:
    """True for frames with the token that the captured device received."""
    return lambda packet: packet.direction == "in" and payload in bytes(packet)


def sent(payload: bytes) -> Wanted:
    """True for frames with the token that the captured device sent."""
    return lambda packet: packet.direction == "out" and payload in bytes(packet)


def ip(port: Port, version: int = 4) -> IPAddress:
    (found,) = [address for address in port.ips if address.version == version]
    return found


def datagram(source: Port, target: Port, payload: bytes, sport: int = 4000, version: int = 4) -> Packet:
    """A UDP datagram from one port to the other."""
    return (
        Ether(src=str(source.mac), dst=str(target.mac))
        / _ip(source, target, version)
        / UDP(sport=sport, dport=9)
        / Raw(payload)
    )


def group(source: Port, payload: bytes, destination: str = BROADCAST, version: int = 4) -> Packet:
    """A UDP datagram to everyone (255.255.255.255), or to a multicast MAC and the address that belongs to it."""
    if version == 6:
        network: Packet = IPv6(src=str(ip(source, 6)), dst="ff02::1")
    else:
        network = IP(src=str(ip(source)), dst="255.255.255.255" if destination == BROADCAST else "224.0.0.251", ttl=1)
    return Ether(src=str(source.mac), dst=destination) / network / UDP(sport=4000, dport=9) / Raw(payload)


def echo(source: Port, target: Port, payload: bytes, version: int = 4) -> Packet:
    """An ICMP echo request that must not be fragmented."""
    icmp = ICMP(id=7, seq=1) if version == 4 else ICMPv6EchoRequest(id=7, seq=1, data=payload)
    rest = icmp / Raw(payload) if version == 4 else icmp
    return Ether(src=str(source.mac), dst=str(target.mac)) / _ip(source, target, version) / rest


def full_echo(source: Port, target: Port, size: int, version: int = 4) -> tuple[Packet, bytes]:
    """An echo request whose IP packet has `size` bytes, and the token at the head of its payload."""
    mark = token()
    headers = {4: 20 + 8, 6: 40 + 8}[version]
    return echo(source, target, mark + bytes(size - headers - len(mark)), version), mark


def is_echo_reply(packet: Packet) -> bool:
    return ICMPv6EchoReply in packet or (ICMP in packet and packet[ICMP].type == 0)


def arp_request(source: Port, target: IPAddress | str, **changed: str) -> Packet:
    """`changed` replaces fields of the ARP header."""
    fields = {"hwsrc": str(source.mac), "psrc": str(ip(source)), "pdst": str(target), **changed}
    return Ether(src=str(source.mac), dst=BROADCAST) / ARP(op=1, **fields)


def _ip(source: Port, target: Port, version: int) -> Packet:
    if version == 6:
        return IPv6(src=str(ip(source, 6)), dst=str(ip(target, 6)))
    return IP(src=str(ip(source)), dst=str(ip(target)), flags="DF")


class Tunnelled(NamedTuple):
    """A frame taken out of its encapsulation. `id` is the VNI or VSID, `entropy` what spreads it on the underlay."""

    kind: str
    id: int
    entropy: int
    source: str
    target: str
    frame: Packet
    outer: Packet


def tunnelled(packet: Packet) -> Tunnelled | None:
    """None for what is no tunnel packet."""
    if IP not in packet:
        return None
    outer = packet[IP]
    ends = outer.src, outer.dst
    inner: Packet = outer.payload
    if isinstance(inner, GRE) and inner.proto == TEB and inner.key_present:
        return Tunnelled("nvgre", inner.key >> 8, inner.key & 0xFF, *ends, inner.payload, packet)
    if isinstance(inner, UDP) and inner.dport == VXLAN_PORT:
        return Tunnelled("vxlan", inner[VXLAN].vni, inner.sport, *ends, inner[VXLAN].payload, packet)
    if isinstance(inner, UDP) and inner.dport == GENEVE_PORT:
        return Tunnelled("geneve", inner[GENEVE].vni, inner.sport, *ends, inner[GENEVE].payload, packet)
    return None


def opened(packets: list[Packet]) -> list[Tunnelled]:
    """All of them, each of which has to be a tunnel packet."""
    found = [tunnelled(packet) for packet in packets]
    assert None not in found, packets
    return [packet for packet in found if packet]


def mac(text: str) -> Mac:
    return Mac.parse(text)
