"""The fields that a match or an action can name: OXM class and number, width, and how a value prints.

One row per field; everything else (wire bytes, text, the interpreter) reads this table.
Sources: OpenFlow 1.4 section 7.2.3.7 (class 0x8000), Open vSwitch `meta-flow.h` (NXM classes 0 and 1, Ericsson's 0x1000).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from datapath.addr import Mac

NXM_0: Final = 0x0000
NXM_1: Final = 0x0001
ERIC: Final = 0x1000
OPENFLOW_BASIC: Final = 0x8000

VLAN_PRESENT: Final = 0x1000
"""OFPVID_PRESENT: set in `vlan_vid` of every tagged frame (OpenFlow 1.4 section 7.2.3.8)."""

IN_PORT: Final = 0xFFFFFFF8
CONTROLLER: Final = 0xFFFFFFFD
LOCAL: Final = 0xFFFFFFFE
ANY: Final = 0xFFFFFFFF
BY_THE_SWITCH: Final = {0xFFFFFFF9: "TABLE", 0xFFFFFFFA: "NORMAL", 0xFFFFFFFB: "FLOOD", 0xFFFFFFFC: "ALL"}
"""Outputs where the switch itself finds the ports (OpenFlow 1.4 section 4.5)."""


class Field(NamedTuple):
    """A match field. `bits` is its width; `nbytes` what it takes on the wire; `nxm` its NXM header where it has one."""

    order: int
    name: str
    oxm_class: int
    number: int
    nbytes: int
    bits: int
    shows: str
    nxm: str

    @property
    def header(self) -> int:
        """The 32-bit OXM header without a mask: class, number, has-mask 0, length."""
        return self.oxm_class << 16 | self.number << 9 | self.nbytes

    @property
    def all_ones(self) -> int:
        return (1 << self.bits) - 1

    def format(self, value: int) -> str:
        """A value of this field as ovs-ofctl reads it."""
        match self.shows:
            case "mac":
                return str(Mac(value))
            case "ipv4":
                return str(IPv4Address(value))
            case "ipv6":
                return str(IPv6Address(value))
            case "hex":
                return f"{value:#x}"
        return str(value)


def _registers() -> list[tuple[str, int, int, int, int, str, str]]:
    return [(f"reg{i}", NXM_1, i, 4, 32, "hex", f"NXM_NX_REG{i}") for i in range(16)]


# In the order of the OXM headers, as os-ken and most controllers emit them, but for the last three: their class sorts
# before 0x8000 while Open vSwitch wants eth_type, ip_proto and icmpv6_type read first (OFPBMC_BAD_PREREQ otherwise).
# name, class, number, bytes, bits, shown as, NXM/OXM name (as ovs-ofctl names it in load, move and learn)
_TABLE: list[tuple[str, int, int, int, int, str, str]] = [
    ("nxm_in_port", NXM_0, 0, 2, 16, "dec", "NXM_OF_IN_PORT"),
    *_registers(),
    ("tun_src", NXM_1, 31, 4, 32, "ipv4", "NXM_NX_TUN_IPV4_SRC"),
    ("tun_dst", NXM_1, 32, 4, 32, "ipv4", "NXM_NX_TUN_IPV4_DST"),
    ("ct_state", NXM_1, 105, 4, 8, "hex", "NXM_NX_CT_STATE"),
    ("ct_zone", NXM_1, 106, 2, 16, "hex", "NXM_NX_CT_ZONE"),
    ("ct_mark", NXM_1, 107, 4, 32, "hex", "NXM_NX_CT_MARK"),
    ("in_port", OPENFLOW_BASIC, 0, 4, 32, "dec", "OXM_OF_IN_PORT"),
    ("metadata", OPENFLOW_BASIC, 2, 8, 64, "hex", "OXM_OF_METADATA"),
    ("eth_dst", OPENFLOW_BASIC, 3, 6, 48, "mac", "NXM_OF_ETH_DST"),
    ("eth_src", OPENFLOW_BASIC, 4, 6, 48, "mac", "NXM_OF_ETH_SRC"),
    ("eth_type", OPENFLOW_BASIC, 5, 2, 16, "hex", "NXM_OF_ETH_TYPE"),
    ("vlan_vid", OPENFLOW_BASIC, 6, 2, 13, "hex", "OXM_OF_VLAN_VID"),
    ("vlan_pcp", OPENFLOW_BASIC, 7, 1, 3, "dec", "OXM_OF_VLAN_PCP"),
    ("ip_dscp", OPENFLOW_BASIC, 8, 1, 6, "dec", "OXM_OF_IP_DSCP"),
    ("ip_ecn", OPENFLOW_BASIC, 9, 1, 2, "dec", "OXM_OF_IP_ECN"),
    ("ip_proto", OPENFLOW_BASIC, 10, 1, 8, "dec", "NXM_OF_IP_PROTO"),
    ("ipv4_src", OPENFLOW_BASIC, 11, 4, 32, "ipv4", "NXM_OF_IP_SRC"),
    ("ipv4_dst", OPENFLOW_BASIC, 12, 4, 32, "ipv4", "NXM_OF_IP_DST"),
    ("tcp_src", OPENFLOW_BASIC, 13, 2, 16, "dec", "NXM_OF_TCP_SRC"),
    ("tcp_dst", OPENFLOW_BASIC, 14, 2, 16, "dec", "NXM_OF_TCP_DST"),
    ("udp_src", OPENFLOW_BASIC, 15, 2, 16, "dec", "NXM_OF_UDP_SRC"),
    ("udp_dst", OPENFLOW_BASIC, 16, 2, 16, "dec", "NXM_OF_UDP_DST"),
    ("icmp_type", OPENFLOW_BASIC, 19, 1, 8, "dec", "NXM_OF_ICMP_TYPE"),
    ("icmp_code", OPENFLOW_BASIC, 20, 1, 8, "dec", "NXM_OF_ICMP_CODE"),
    ("arp_op", OPENFLOW_BASIC, 21, 2, 16, "dec", "NXM_OF_ARP_OP"),
    ("arp_spa", OPENFLOW_BASIC, 22, 4, 32, "ipv4", "NXM_OF_ARP_SPA"),
    ("arp_tpa", OPENFLOW_BASIC, 23, 4, 32, "ipv4", "NXM_OF_ARP_TPA"),
    ("arp_sha", OPENFLOW_BASIC, 24, 6, 48, "mac", "NXM_NX_ARP_SHA"),
    ("arp_tha", OPENFLOW_BASIC, 25, 6, 48, "mac", "NXM_NX_ARP_THA"),
    ("ipv6_src", OPENFLOW_BASIC, 26, 16, 128, "ipv6", "NXM_NX_IPV6_SRC"),
    ("ipv6_dst", OPENFLOW_BASIC, 27, 16, 128, "ipv6", "NXM_NX_IPV6_DST"),
    ("ipv6_label", OPENFLOW_BASIC, 28, 4, 20, "hex", "NXM_NX_IPV6_LABEL"),
    ("icmpv6_type", OPENFLOW_BASIC, 29, 1, 8, "dec", "NXM_NX_ICMPV6_TYPE"),
    ("icmpv6_code", OPENFLOW_BASIC, 30, 1, 8, "dec", "NXM_NX_ICMPV6_CODE"),
    ("nd_target", OPENFLOW_BASIC, 31, 16, 128, "ipv6", "NXM_NX_ND_TARGET"),
    ("nd_sll", OPENFLOW_BASIC, 32, 6, 48, "mac", "NXM_NX_ND_SLL"),
    ("nd_tll", OPENFLOW_BASIC, 33, 6, 48, "mac", "NXM_NX_ND_TLL"),
    ("tun_id", OPENFLOW_BASIC, 38, 8, 64, "hex", "NXM_NX_TUN_ID"),
    ("nw_ttl", NXM_1, 29, 1, 8, "dec", "NXM_NX_IP_TTL"),
    ("nd_reserved", ERIC, 1, 4, 32, "hex", "ERICOXM_OF_ICMPV6_ND_RESERVED"),
    ("nd_options_type", ERIC, 2, 1, 8, "dec", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE"),
]

FIELDS: Final[dict[str, Field]] = {row[0]: Field(order, *row) for order, row in enumerate(_TABLE)}
"""Every field by name, in the order in which a canonical match lists them (prerequisites come first)."""
