"""Gateways of local networks: `forward` and `gateway` of the file.

Enters: a Draft, a network's segment and subnets. Leaves: its Forward, complete. Never: one that would not forward.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from datapath.addr import IPNetwork
from sdn.model import Forward, Physnet, Segment
from sdn.topology import schema
from sdn.topology.draft import Draft, Member

SMALLEST = 30
"""The longest prefix of a subnet that has room for a gateway and a node."""


def forward(
    draft: Draft,
    member: Member[schema.Network],
    segment: Segment,
    subnets: tuple[IPNetwork, ...],
    physnets: dict[str, Physnet],
) -> Forward | None:
    """None without one, or where it is wrong."""
    written = member.spec.forward
    if written is None:
        return None
    if not _possible(draft, member, segment, subnets):
        return None
    gateway = _gateway(draft, member, next(subnet for subnet in subnets if isinstance(subnet, IPv4Network)))
    if written is schema.ISOLATED:
        return Forward("isolated", gateway) if gateway else None
    physnet = written.nat or written.routed or ""
    if physnet not in physnets:
        if not draft.broken.hides("physnets", physnet):
            path = ("networks", member.key, "forward", "nat" if written.nat else "routed")
            draft.problems.unknown(path, "physnet", physnet, draft.known("physnets", physnets))
        return None
    return Forward("nat" if written.nat else "routed", gateway, physnet) if gateway else None


def _possible(draft: Draft, member: Member[schema.Network], segment: Segment, subnets: tuple[IPNetwork, ...]) -> bool:
    path = ("networks", member.key, "forward")
    versions = {subnet.version for subnet in subnets}
    if segment.kind != "local":
        message = (
            f"forward is for networks inside of one chassis, and this is {segment.kind}; expected 'segment: local'"
        )
    elif 6 in versions:
        message = "forward is for IPv4 only, and this network has an IPv6 subnet; expected an IPv4 subnet alone"
    elif 4 not in versions:
        if draft.broken.lacks("networks", member.name, "subnet", "subnets"):
            return False
        message = "forward needs a subnet to have a gateway in; expected one such as 'subnet: 192.168.122.0/24'"
    else:
        return True
    draft.problems.add_once(path, message)
    return False


def _gateway(draft: Draft, member: Member[schema.Network], subnet: IPv4Network) -> IPv4Interface | None:
    """The one that is given, for each of a range in its own subnet; else the first host."""
    path = ("networks", member.key, "gateway" if member.spec.gateway else "forward")
    if subnet.prefixlen > SMALLEST:
        message = f"{subnet} has no room for a gateway and a node; expected a /{SMALLEST} at least"
        draft.problems.add_once(path, message)
        return None
    if member.spec.gateway is None:
        return IPv4Interface((subnet[1], subnet.prefixlen))
    number = int(member.spec.gateway) + member.offset * subnet.num_addresses
    if not int(subnet.network_address) < number < int(subnet.broadcast_address):
        shown = IPv4Address(min(number, 0xFFFFFFFF))
        draft.problems.add_once(path, f"gateway {shown} is no host of {subnet}; expected one such as {subnet[1]}")
        return None
    return IPv4Interface((number, subnet.prefixlen))
