"""What the kernel of a Linux chassis lets in and lets through: nothing, but for the networks with a gateway. PURE.

Enters: the chassis' own addresses, and its gateways with the devices that their packets leave by. Leaves: a table of
family ip. Never: a packet from a network to another one, or to or from the underlay.

Example: web1 pings 8.8.8.8. Its network's gateway is on `br-web`, in mode nat, and leads to `up-office`: the packet is
in `masqueraded`, goes, and gets the uplink's address; the answer belongs to a known connection and comes back.

The chassis' own sockets belong to the underlay. A tunnel's socket takes packets for any address of the chassis, so a
node that reached it could send frames into each network of the lab; only ICMP comes in from anywhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final, NamedTuple

from datapath.linux.ruleset import Ruleset, Set
from datapath.spec import UNDERLAY_DEVICE, Gateway, alias


class Leg(NamedTuple):
    """A gateway: `device` has its address, and packets that it forwards leave by `way` ('': none do)."""

    device: str
    gateway: Gateway
    way: str


class Own(NamedTuple):
    """Another address of the chassis, and the device that has it."""

    device: str
    address: IPv4Address


_INPUT: Final = f"""
chain input {{
    type filter hook input priority 0; policy accept;
    iifname {{ "lo", "{UNDERLAY_DEVICE}" }} accept
    icmp type {{ echo-request, echo-reply, destination-unreachable, time-exceeded }} iifname . ip daddr @own accept
    drop
}}
"""
_NOTHING: Final = """
chain forward {
    type filter hook forward priority 0; policy accept;
    drop
}
"""
_FORWARD: Final = f"""
chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname . ip saddr . oifname @routed_out accept
    oifname . ip daddr . iifname @routed_out accept
    ct state invalid drop
    iifname . ip saddr . oifname @masqueraded accept
    ct state established,related oifname . ip daddr . iifname @masqueraded accept
    drop
}}
chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr . oifname @sources masquerade
}}
chain underlay_in {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{UNDERLAY_DEVICE}" notrack
}}
chain underlay_out {{
    type filter hook output priority -300; policy accept;
    oifname "{UNDERLAY_DEVICE}" notrack
}}
"""
"""What is no part of a connection would leave with the address that it came with. Tunnels need none to be known."""

_WAYS: Final = "typeof iifname . ip saddr . oifname; flags interval"


def forwards(legs: Iterable[Leg]) -> bool:
    """Whether the kernel has to forward at all."""
    return any(leg.way and leg.gateway.mode != "isolated" for leg in legs)


def ruleset(lab: str, chassis: str, legs: Iterable[Leg], own: Iterable[Own]) -> Ruleset:
    """The table of a chassis; without a gateway that leads somewhere it tracks no connections."""
    legs = list(legs)
    addresses = [*own, *(Own(leg.device, leg.gateway.address.ip) for leg in legs)]
    sets = [
        Set("own", "type ifname . ipv4_addr", frozenset(f'"{device}" . {address}' for device, address in addresses))
    ]
    if not forwards(legs):
        return Ruleset("ip", alias(lab, chassis), tuple(sets), _INPUT + _NOTHING)
    masqueraded = [leg for leg in legs if leg.way and leg.gateway.mode == "nat"]
    sets += [
        Set("routed_out", _WAYS, frozenset(_way(leg) for leg in legs if leg.way and leg.gateway.mode == "routed")),
        Set("masqueraded", _WAYS, frozenset(_way(leg) for leg in masqueraded)),
        Set("sources", "typeof ip saddr . oifname; flags interval", frozenset(_sources(masqueraded))),
    ]
    return Ruleset("ip", alias(lab, chassis), tuple(sets), _INPUT + _FORWARD)


def _way(leg: Leg) -> str:
    return f'"{leg.device}" . {leg.gateway.address.network} . "{leg.way}"'


def _sources(legs: Iterable[Leg]) -> Iterator[str]:
    """None within another: ranges of a set must not overlap."""
    by_way: dict[str, list[IPv4Network]] = defaultdict(list)
    for leg in legs:
        by_way[leg.way].append(leg.gateway.address.network)
    for way, networks in by_way.items():
        yield from (f'{network} . "{way}"' for network in collapse_addresses(networks))
