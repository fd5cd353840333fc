"""Table spoof_guard: a port sends only from its own MAC and addresses, in IPv4, IPv6, ARP and ND.

Example: web1 owns 10.10.0.11. Its ARP request with sender 10.10.0.11 and its MAC passes; with sender 10.10.0.12 it
matches nothing and is dropped. `allowed_addresses` add senders; `spoof_guard: false` lets everything pass.
A port speaks the address families that it has addresses of; without any address only its MAC is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from datapath.addr import IPNetwork
from datapath.openflow.flow import Flow, match
from datapath.openflow.packet import ADVERTISEMENT, ARP, ICMPV6, IPV4, IPV6, REVERSE_ARP, SOLICITATION, UDP
from datapath.spec import Sender
from sdn.model import Network, Port
from sdn.pipeline.fields import INPORT, TAG_ETHERTYPES
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View

ROUTER_ADVERTISEMENT, REDIRECT = 134, 137
MLDV2_REPORT = 143
REVERSE_REQUEST = 3
"""Of reverse ARP (RFC 903). QEMU sends it for a guest that has moved, so that switches learn where its MAC is now."""
ABSENT = 0
"""What Open vSwitch shows as the link-layer address of an ND option that is not there."""


def senders(port: Port) -> list[Sender]:
    """Everything that the port may send from; who speaks IPv6 has a link-local address (RFC 4291 section 2.8)."""
    found = [Sender(port.mac, ip_network(ip)) for ip in port.ips]
    if any(ip.version == 6 for ip in port.ips):
        found.append(Sender(port.mac, ip_network(port.link_local)))
    found += [Sender(port.mac if allowed.mac is None else allowed.mac, allowed.subnet) for allowed in port.allowed]
    return list(dict.fromkeys(found))


def chassis_flows(view: View) -> Iterator[Flow]:
    """ND messages that are not expressly allowed are dropped before the plain IPv6 flows would let them pass.

    One with an option twice is malformed: Open vSwitch shows its target as `::` and its options as absent, while a
    receiver may take either option for true.
    """
    for kind in (SOLICITATION, ADVERTISEMENT):
        yield Flow(Table.SPOOF_GUARD, 80, match(eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=kind, nd_target=0))
    for kind in (ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT):
        yield Flow(Table.SPOOF_GUARD, 60, match(eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=kind))
    for tag in TAG_ETHERTYPES:
        yield Flow(Table.SPOOF_GUARD, 200, match(eth_type=tag))
    yield Flow(Table.SPOOF_GUARD, 0, match())


def local_port_flows(view: View, port: Port, network: Network) -> Iterator[Flow]:
    """The senders that the port may use."""
    allowed = senders(port)
    if not port.spoof_guard:
        yield _passes(port, 100)
    elif not allowed:
        yield _passes(port, 100, eth_src=port.mac)
    else:
        for sender in allowed:
            yield from _ipv4(port, sender) if isinstance(sender.subnet, IPv4Network) else _ipv6(port, sender)
        yield from _before_an_address(port, allowed)
        own = {"eth_src": port.mac, "arp_sha": port.mac}
        yield _passes(port, 50, **own, eth_type=REVERSE_ARP, arp_op=REVERSE_REQUEST, arp_spa=0)


def _passes(port: Port, priority: int, **fields: int | tuple[int, int]) -> Flow:
    return Flow(Table.SPOOF_GUARD, priority, match(reg1=port.id, **fields), goto=Table.EGRESS_RULES)


def _within(subnet: IPNetwork) -> tuple[int, int]:
    return int(subnet.network_address), int(subnet.netmask)


def _ipv4(port: Port, sender: Sender) -> Iterator[Flow]:
    source = _within(sender.subnet)
    yield _passes(port, 50, eth_src=sender.mac, eth_type=IPV4, ipv4_src=source)
    yield _passes(port, 50, eth_src=sender.mac, eth_type=ARP, arp_sha=sender.mac, arp_spa=source)
    # RFC 5227 section 2.1.1: an ARP probe has sender 0.0.0.0 and asks for the prober's own future address
    yield _passes(port, 50, eth_src=sender.mac, eth_type=ARP, arp_sha=sender.mac, arp_spa=0, arp_tpa=source)


def _ipv6(port: Port, sender: Sender) -> Iterator[Flow]:
    assert isinstance(sender.subnet, IPv6Network)
    mac, source = sender.mac, _within(sender.subnet)
    yield _passes(port, 50, eth_src=mac, eth_type=IPV6, ipv6_src=source)
    nd = {"eth_src": mac, "eth_type": IPV6, "ip_proto": ICMPV6}
    # RFC 4861 sections 4.3 and 4.4: a unicast message may come without the option; Linux answers unicast questions so
    for option in (mac, ABSENT):
        yield _passes(port, 70, **nd, icmpv6_type=SOLICITATION, ipv6_src=source, nd_sll=option)
        yield _passes(port, 70, **nd, icmpv6_type=ADVERTISEMENT, ipv6_src=source, nd_target=source, nd_tll=option)
    # RFC 4862 section 5.4.2: duplicate address detection asks from the unspecified address
    yield _passes(port, 70, **nd, icmpv6_type=SOLICITATION, ipv6_src=0, nd_target=source)


def _before_an_address(port: Port, allowed: list[Sender]) -> Iterator[Flow]:
    """What a machine sends before it has an address: DHCP (RFC 2131) and MLD reports (RFC 3810 section 5.2.13)."""
    if any(sender.subnet.version == 4 for sender in allowed):
        yield _passes(port, 50, eth_src=port.mac, eth_type=IPV4, ipv4_src=0, ip_proto=UDP, udp_src=68, udp_dst=67)
    if any(sender.subnet.version == 6 for sender in allowed):
        yield _passes(port, 50, eth_src=port.mac, eth_type=IPV6, ipv6_src=0, ip_proto=ICMPV6, icmpv6_type=MLDV2_REPORT)


assert INPORT == "reg1"  # keyword arguments of `match` above spell it out
