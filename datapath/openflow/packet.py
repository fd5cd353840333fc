"""A packet as its fields: what a match sees, and what an action may write.

In and out: a dict of oxm field names to integers; a field that is absent is 0. Never bytes: parsing is elsewhere.
A field exists only in packets of its protocol (OpenFlow 1.4 section 7.2.3.6, table 12): writing it in others does
nothing, as in Open vSwitch. `in_port` and `nxm_in_port` are one field.
"""

from __future__ import annotations

from typing import Final

from datapath.openflow.oxm import FIELDS, VLAN_PRESENT

Packet = dict[str, int]

IPV4, ARP, REVERSE_ARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
SOLICITATION, ADVERTISEMENT = 135, 136

_PROTOCOL_OF: Final = {
    **dict.fromkeys(["tcp_src", "tcp_dst"], (None, TCP)),
    **dict.fromkeys(["udp_src", "udp_dst"], (None, UDP)),
    **dict.fromkeys(["icmp_type", "icmp_code"], (IPV4, ICMP)),
    **dict.fromkeys(["icmpv6_type", "icmpv6_code"], (IPV6, ICMPV6)),
}
_DISCOVERY_OF: Final = {
    "nd_target": (SOLICITATION, ADVERTISEMENT),
    "nd_reserved": (SOLICITATION, ADVERTISEMENT),
    "nd_options_type": (SOLICITATION, ADVERTISEMENT),
    "nd_sll": (SOLICITATION,),
    "nd_tll": (ADVERTISEMENT,),
}
_ETHERTYPES_OF: Final = {
    **dict.fromkeys(["ipv4_src", "ipv4_dst"], (IPV4,)),
    **dict.fromkeys(["ipv6_src", "ipv6_dst", "ipv6_label"], (IPV6,)),
    **dict.fromkeys(["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"], (ARP, REVERSE_ARP)),
    **dict.fromkeys(["ip_dscp", "ip_ecn", "ip_proto", "nw_ttl"], (IPV4, IPV6)),
}


def present(packet: Packet, name: str) -> bool:
    """True where the packet has this field."""
    if name in _ETHERTYPES_OF:
        return packet.get("eth_type", 0) in _ETHERTYPES_OF[name]
    if name in _PROTOCOL_OF:
        ethertype, protocol = _PROTOCOL_OF[name]
        return _is_ip(packet, ethertype) and packet.get("ip_proto", 0) == protocol
    if name in _DISCOVERY_OF:
        kinds = _DISCOVERY_OF[name]
        return present(packet, "icmpv6_type") and packet.get("icmpv6_type") in kinds and not packet.get("icmpv6_code")
    if name == "vlan_pcp":
        return bool(packet.get("vlan_vid", 0) & VLAN_PRESENT)
    return True


def _is_ip(packet: Packet, ethertype: int | None) -> bool:
    found = packet.get("eth_type", 0)
    return found == ethertype if ethertype else found in (IPV4, IPV6)


def read(packet: Packet, name: str) -> int:
    if name == "nxm_in_port":
        return packet.get("in_port", 0) & 0xFFFF
    return packet.get(name, 0)


def read_bits(packet: Packet, name: str, offset: int, bits: int) -> int:
    return read(packet, name) >> offset & (1 << bits) - 1


def write(packet: Packet, name: str, value: int) -> None:
    """Set a whole field, if the packet has it."""
    if not present(packet, name) or (name == "vlan_vid" and not packet.get("vlan_vid", 0) & VLAN_PRESENT):
        return
    if name == "nxm_in_port":
        name, value = "in_port", value | 0xFFFF0000 if value >= 0xFF00 else value
    packet[name] = value & FIELDS[name].all_ones


def write_bits(packet: Packet, name: str, offset: int, bits: int, value: int) -> None:
    mask = (1 << bits) - 1
    write(packet, name, read(packet, name) & ~(mask << offset) | (value & mask) << offset)
