"""Table answer: ARP and ND for every address that the model knows are answered here, on the first chassis.

Example: web1 asks who has 10.10.0.12. The request is turned into web2's reply in place and sent back through `reply`;
no other chassis and no other port sees it. Only packets from ports of this chassis come through this table.
The kernel's datapath of Open vSwitch cannot turn an ND question into an answer: there the question goes to the one whom
it is about, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from datapath.openflow.flow import Flow, Match, Move, SetField, match
from datapath.openflow.packet import ADVERTISEMENT, ARP, ICMPV6, IPV6, SOLICITATION
from sdn.model import Network, Port
from sdn.pipeline.fields import INPORT, NETWORK
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View

ARP_REQUEST, ARP_REPLY = 1, 2
ND_TARGET_LINK_LAYER_ADDRESS = 2  # RFC 4861 section 4.6.1
ND_SOLICITED_OVERRIDE = 0x60000000  # RFC 4861 section 4.4: flags S and O of an advertisement


def chassis_flows(view: View) -> Iterator[Flow]:
    """Duplicate address detection (RFC 4862 section 5.4) asks from `::`: the owner itself has to object, not we."""
    yield Flow(
        Table.ANSWER,
        55,
        match(eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=SOLICITATION, ipv6_src=0),
        goto=Table.ROUTE,
    )
    yield Flow(Table.ANSWER, 0, match(), goto=Table.ROUTE)


def port_flows(port: Port, network: Network, rewrites_nd: bool) -> Iterator[Flow]:
    """The answers for the port's addresses: the same on every chassis that has the network, as far as its switch can
    rewrite ND."""
    nd = _nd_answer if rewrites_nd else _nd_passed_on
    for ip in answered(port):
        yield _arp_answer(port, network, ip) if isinstance(ip, IPv4Address) else nd(port, network, ip)


def local_port_flows(view: View, port: Port, network: Network) -> Iterator[Flow]:
    """A port that asks for its own address announces it or looks for a duplicate: it must not be answered.

    An announcement is for everyone: caches may hold another MAC. The search for a duplicate is for nobody in a network
    that we answer for; beyond an uplink there may be one.
    """
    goto = None if network.segment.tunnelled else Table.ROUTE
    for ip in answered(port):
        if isinstance(ip, IPv4Address):  # RFC 5227 section 3: sender and target are the address; IPv6 advertises it
            announced = match(reg1=port.id, eth_type=ARP, arp_op=ARP_REQUEST, arp_spa=int(ip), arp_tpa=int(ip))
            yield Flow(Table.ANSWER, 65, announced, goto=Table.ROUTE)
        asked = (
            match(reg1=port.id, eth_type=ARP, arp_op=ARP_REQUEST, arp_tpa=int(ip))
            if isinstance(ip, IPv4Address)
            else match(reg1=port.id, eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=SOLICITATION, nd_target=int(ip))
        )
        yield Flow(Table.ANSWER, 60, asked, goto=goto)


def answered(port: Port) -> list[IPv4Address | IPv6Address]:
    """The addresses that are answered for: the port's own, and its link-local one where it speaks IPv6."""
    own = list(port.ips)
    return [*own, port.link_local] if any(ip.version == 6 for ip in own) else own


def _arp_answer(port: Port, network: Network, ip: IPv4Address) -> Flow:
    """RFC 826, packet reception: swap the hardware and protocol fields, put ours in, send it back."""
    return Flow(
        Table.ANSWER,
        50,
        match(reg0=network.id, eth_type=ARP, arp_op=ARP_REQUEST, arp_tpa=int(ip)),
        (
            Move("eth_src", "eth_dst", 48),
            SetField("eth_src", port.mac),
            SetField("arp_op", ARP_REPLY),
            Move("arp_sha", "arp_tha", 48),
            SetField("arp_sha", port.mac),
            Move("arp_spa", "arp_tpa", 32),
            SetField("arp_spa", int(ip)),
        ),
        goto=Table.REPLY,
    )


def _nd_answer(port: Port, network: Network, ip: IPv6Address) -> Flow:
    """RFC 4861 section 7.2.4: the advertisement keeps the target; its link-layer option is filled in by `reply`."""
    return Flow(
        Table.ANSWER,
        50,
        _question(network, ip),
        (
            Move("eth_src", "eth_dst", 48),
            SetField("eth_src", port.mac),
            Move("ipv6_src", "ipv6_dst", 128),
            SetField("ipv6_src", int(ip)),
            SetField("icmpv6_type", ADVERTISEMENT),
            SetField("nd_options_type", ND_TARGET_LINK_LAYER_ADDRESS),
            SetField("nd_reserved", ND_SOLICITED_OVERRIDE),
        ),
        goto=Table.REPLY,
    )


def _nd_passed_on(port: Port, network: Network, ip: IPv6Address) -> Flow:
    """To the owner of the address alone, as if it had been known."""
    return Flow(Table.ANSWER, 50, _question(network, ip), (SetField("eth_dst", port.mac),), goto=Table.ROUTE)


def _question(network: Network, ip: IPv6Address) -> Match:
    return match(reg0=network.id, eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=SOLICITATION, nd_target=int(ip))


assert (NETWORK, INPORT) == ("reg0", "reg1")  # keyword arguments of `match` above spell them out
