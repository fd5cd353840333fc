"""The cables of a lab: node to chassis, chassis to chassis through tunnels, chassis to physical networks. PURE.

Enters: a Model. Leaves: Links by name, which pictures, traces and counters mean the same by. Never: a device of a host,
which is made of these by `compile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

from datapath.spec import TUNNEL_OFPORT
from sdn.model import Model, Port

LinkKind = Literal["port", "tunnel", "uplink"]


class End(NamedTuple):
    """`kind` is node, chassis or physnet; `port` is a node's interface, or the number of a chassis' bridge port, None
    where a tunnel's or uplink's is nobody's we know."""

    kind: Literal["node", "chassis", "physnet"]
    name: str
    port: str | int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """`networks` are those whose frames it carries."""

    name: str
    kind: LinkKind
    ends: tuple[End, End]
    networks: tuple[str, ...]
    medium: str = ""
    """Of a tunnel its encapsulation."""


def of_port(port: Port) -> str:
    """Ports of a trunk share their interface's."""
    return f"{port.node}:{port.interface}"


def of_tunnel(one: str, other: str, kind: str) -> str:
    first, second = sorted((one, other))
    return f"{first}--{second}/{kind}"


def of_uplink(chassis: str, physnet: str) -> str:
    return f"{chassis}--{physnet}"


def links(model: Model) -> dict[str, Link]:
    """All of them, nodes' first."""
    return {link.name: link for link in (*_ports(model), *_tunnels(model), *_uplinks(model))}


def _ports(model: Model) -> Iterator[Link]:
    for node, interfaces in model.interfaces_of.items():
        for together in interfaces:
            first = together[0]
            networks = tuple(dict.fromkeys(port.network for port in together))
            yield Link(of_port(first), "port", (End("node", node, first.interface), _far_end(model, first)), networks)


def _far_end(model: Model, port: Port) -> End:
    """A bridge port; of a macvlan the physical network, which it is in without any bridge."""
    if port.macvlan is not None:
        return End("physnet", model.networks[port.network].segment.physnet)
    return End("chassis", port.chassis, port.ofport)


def _tunnels(model: Model) -> Iterator[Link]:
    """Between two chassis one of each kind in which some network has ports on both."""
    for kind, number in TUNNEL_OFPORT.items():
        found: dict[tuple[str, str], list[str]] = {}
        for network in (each for each in model.networks.values() if each.segment.kind == kind):
            here = dict.fromkeys(port.chassis for port in model.ports_of[network.name])
            for pair in combinations(sorted(here), 2):
                found.setdefault(pair, []).append(network.name)
        for (one, other), networks in found.items():
            ends = [End("chassis", name, number if model.chassis[name].ours else None) for name in (one, other)]
            yield Link(of_tunnel(one, other, kind), "tunnel", (ends[0], ends[1]), tuple(networks), kind)


def _uplinks(model: Model) -> Iterator[Link]:
    networks: dict[str, list[str]] = {}
    for network in model.networks.values():
        physnet = network.segment.physnet or (network.forward.physnet if network.forward else "")
        networks.setdefault(physnet, []).append(network.name)
    for chassis in model.chassis.values():
        for physnet in chassis.physnets:
            ends = End("chassis", chassis.name, model.physnets[physnet].ofport), End("physnet", physnet)
            yield Link(of_uplink(chassis.name, physnet), "uplink", ends, tuple(networks.get(physnet, ())))
