"""Addresses that are not those of ports: gateways of networks, and those of chassis in physical networks.

Enters: a Draft. Leaves: addresses of chassis, checked, and for each network the addresses that no port may have.
Never: two of the same in one network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface

from sdn.model import Chassis, Network, Physnet
from sdn.topology import schema
from sdn.topology.capabilities import Feature, lack
from sdn.topology.draft import Draft, Member

Taken = Mapping[str, Mapping[int, str]]
"""By network: IPv4 addresses as numbers, and whose they are; '' for those that a port gets only by the file's `ip`."""


def of_chassis(
    draft: Draft, host: Chassis, member: Member[schema.Chassis | None], physnets: dict[str, Physnet]
) -> tuple[tuple[str, IPv4Interface], ...]:
    """What it has of its own in physical networks. In a range addresses count up."""
    written = (member.spec.addresses if member.spec else None) or {}
    missing = lack(host, Feature.ADDRESSES, "'addresses'") if written else None
    if missing is not None:
        path = ("chassis", member.key, "addresses")
        draft.problems.add_once(path, f"chassis '{host.name}' has {missing.what}; expected {missing.expected}")
        return ()
    found = ((name, _counted(draft, member, name, first)) for name, first in written.items())
    return tuple((name, own) for name, own in found if own and _fits(draft, host, member, name, own, physnets))


def _counted(
    draft: Draft, member: Member[schema.Chassis | None], physnet: str, first: IPv4Interface
) -> IPv4Interface | None:
    number = int(first.ip) + member.offset
    if member.offset and number >= int(first.network.broadcast_address):
        message = f"the range counts beyond {first.network}; expected lower ones to begin with"
        draft.problems.add_once(("chassis", member.key, "addresses", physnet), message)
        return None
    return IPv4Interface((number, first.network.prefixlen))


def _fits(
    draft: Draft,
    host: Chassis,
    member: Member[schema.Chassis | None],
    name: str,
    own: IPv4Interface,
    physnets: dict[str, Physnet],
) -> bool:
    path = ("chassis", member.key, "addresses", name)
    if name not in physnets:
        if not draft.broken.hides("physnets", name):
            draft.problems.unknown(path, "physnet", name, draft.known("physnets", physnets))
        return False
    gateway = physnets[name].gateway
    if name not in host.physnets:
        message = f"chassis '{host.name}' has no uplink into {name}; expected '{name}' among its physnets"
    elif gateway == own.ip:
        message = f"{own.ip} is the gateway of physnet '{name}'; expected another address"
    elif gateway is not None and gateway not in own.network:
        message = f"the gateway {gateway} of physnet '{name}' is not in {own.network}; expected both in one subnet"
    else:
        return True
    draft.problems.add_once(path, message)
    return False


def check_distinct(
    draft: Draft, members: Mapping[str, Member[schema.Chassis | None]], hosts: Iterable[Chassis]
) -> None:
    """No two chassis with the same address in a physical network."""
    owners: dict[tuple[str, IPv4Interface], str] = {}
    for host in hosts:
        for physnet, own in host.addresses:
            owner = owners.setdefault((physnet, own), host.name)
            if owner != host.name:
                path = ("chassis", members[host.name].key, "addresses", physnet)
                draft.problems.add_once(path, f"{own.ip} is the address of '{owner}' too; expected one of its own")


def taken(networks: dict[str, Network], hosts: Iterable[Chassis], physnets: dict[str, Physnet]) -> Taken:
    """What no port of a network gets. Chassis and routers of a physical network are in its untagged network."""
    chassis = list(hosts)
    found: dict[str, dict[int, str]] = {}
    for network in networks.values():
        own = found[network.name] = {}
        if network.forward:
            own[int(network.forward.gateway.ip)] = "the gateway"
        if network.segment.kind == "flat":
            router = physnets[network.segment.physnet].gateway
            own |= {int(router): ""} if router else {}  # a node may be that router
            own |= _in_physnet(chassis, network.segment.physnet)
    return found


def _in_physnet(chassis: list[Chassis], physnet: str) -> dict[int, str]:
    return {
        int(own.ip): f"chassis '{host.name}'" for host in chassis for name, own in host.addresses if name == physnet
    }
