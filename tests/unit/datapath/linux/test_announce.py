"""Announcements of an address that has another MAC, as others read them."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from datapath.linux.announce import frame

MAC = bytes.fromhex("020000000105")


def test_arp_asks_for_the_senders_own_address() -> None:
    read = Ether(frame(ip_address("10.9.0.5").packed, MAC))
    assert (read.dst, read.src) == ("ff:ff:ff:ff:ff:ff", "02:00:00:00:01:05")
    arp = read[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, "02:00:00:00:01:05", "10.9.0.5", "10.9.0.5")


def test_an_advertisement_to_all_nodes_overrides() -> None:
    sent = frame(ip_address("fd09::5").packed, MAC)
    read = Ether(sent)
    assert (read.dst, read[IPv6].dst, read[IPv6].src, read[IPv6].hlim) == (
        "33:33:00:00:00:01",
        "ff02::1",
        "fd09::5",
        255,
    )
    advertisement = read[ICMPv6ND_NA]
    assert (advertisement.R, advertisement.S, advertisement.O, advertisement.tgt) == (0, 0, 1, "fd09::5")
    assert read[ICMPv6NDOptDstLLAddr].lladdr == "02:00:00:00:01:05"
    claimed = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(read))[ICMPv6ND_NA].cksum == claimed
