"""Networks of the file: segments, subnets and MTUs.

Enters: a Draft and the physnets. Leaves: networks of the model, complete but for their ids.
Never: an MTU that the underlay cannot carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from datapath.addr import IPNetwork
from sdn.model import ENCAPSULATION_OVERHEAD, TUNNELLED, Network, Physnet, Segment, SegmentKind
from sdn.topology import forwards, schema
from sdn.topology.draft import Draft, Member
from sdn.topology.nodes import Path
from sdn.topology.values import Bounded

IDS: Final[dict[SegmentKind, Bounded]] = {
    "vxlan": schema.VNI,
    "nvgre": schema.VSID,
    "geneve": schema.VNI,
    "vlan": schema.VLAN,
}

OVERHEAD_PARTS: Final[dict[SegmentKind, dict[str, int]]] = {
    "vxlan": {"outer IPv4": 20, "UDP": 8, "VXLAN": 8, "inner Ethernet": 14},
    "nvgre": {"outer IPv4": 20, "GRE with key": 8, "inner Ethernet": 14},
    "geneve": {"outer IPv4": 20, "UDP": 8, "Geneve": 8, "inner Ethernet": 14},
}
"""What ENCAPSULATION_OVERHEAD is made of, for people."""

IPV6_MINIMUM_MTU: Final = 1280  # RFC 8200 section 5


def networks(draft: Draft, physnets: dict[str, Physnet]) -> dict[str, Network]:
    """The networks by name; those that could not be made are left out and hidden."""
    found: dict[str, Network] = {}
    segments: dict[Segment, Network] = {}
    for member in draft.members("networks", draft.topology.networks).values():
        network = _network(draft, member, physnets)
        if network is None:
            draft.broken.names.setdefault("networks", set()).add(member.name)
            continue
        found[member.name] = network
        if network.segment.kind == "local":  # on no wire that others could be on
            continue
        twin = segments.setdefault(network.segment, network)
        if twin is not network:
            where = f"'{twin.name}' too, {twin.source.place}"
            message = f"{network.segment} is the segment of {where}; expected another"
            draft.problems.add_once(("networks", member.key, "segment", network.segment.kind), message)
    return found


def _network(draft: Draft, member: Member[schema.Network], physnets: dict[str, Physnet]) -> Network | None:
    segment = _segment(draft, member, physnets)
    subnets = _subnets(draft, member)
    if segment is None or subnets is None:
        return None
    flood = member.spec.unknown_unicast or ("flood" if segment.physnet else "drop")
    forward = forwards.forward(draft, member, segment, subnets, physnets)
    network = Network(0, member.name, segment, subnets, 0, flood, member.source, forward)
    return replace(network, mtu=_mtu(draft, member, network, physnets))


def _kind(segment: schema.Segment) -> tuple[SegmentKind, int]:
    if segment is schema.LOCAL:
        return "local", 0
    if segment.flat is not None:
        return "flat", 0
    kind = next(kind for kind in IDS if getattr(segment, kind) is not None)
    return kind, getattr(segment, kind)


def _segment(draft: Draft, member: Member[schema.Network], physnets: dict[str, Physnet]) -> Segment | None:
    kind, first = _kind(member.spec.segment)
    path = ("networks", member.key, "segment", kind)
    limit = IDS.get(kind)
    if limit and first + member.offset > limit.last:
        draft.problems.add_once(
            path, f"the range counts beyond {limit.last}; expected a smaller {limit.what} to begin with"
        )
        return None
    physnet = member.spec.segment.flat or member.spec.segment.physnet or ""
    if physnet and physnet not in physnets:
        if not draft.broken.hides("physnets", physnet):
            where = path if kind == "flat" else (*path[:-1], "physnet")
            draft.problems.unknown(where, "physnet", physnet, draft.known("physnets", physnets))
        return None
    return Segment(kind, first + member.offset if limit else 0, physnet)


def _subnets(draft: Draft, member: Member[schema.Network]) -> tuple[IPNetwork, ...] | None:
    """IPv4 first. In a range each member takes the next subnet of the same size."""
    try:
        return tuple(sorted(_shifted(member), key=lambda subnet: subnet.version))
    except ValueError:
        where = "subnet" if member.spec.subnet is not None else "subnets"
        draft.problems.add_once(
            ("networks", member.key, where), f"there is no subnet left for '{member.name}'; expected lower ones"
        )
        return None


def _shifted(member: Member[schema.Network]) -> Iterator[IPNetwork]:
    written = [member.spec.subnet] if member.spec.subnet is not None else member.spec.subnets or []
    for subnet in written:
        if not member.offset:
            yield subnet
            continue
        number = int(subnet.network_address) + member.offset * subnet.num_addresses
        if number >> subnet.max_prefixlen:
            raise ValueError
        yield type(subnet)((number, subnet.prefixlen))


def _mtu(draft: Draft, member: Member[schema.Network], network: Network, physnets: dict[str, Physnet]) -> int:
    if network.segment.kind == "local":
        return _mtu_of_local(draft, member, network, physnets)
    limit = _limit(draft, network.segment, physnets)
    mtu = member.spec.mtu if member.spec.mtu is not None else limit
    if member.offset or "underlay" in draft.broken.sections:
        return mtu
    given = member.spec.mtu is not None
    path = ("networks", member.key, "mtu" if given else "segment")
    why = _arithmetic(draft, network.segment, limit)
    if mtu > limit and not draft.broken.lacks("physnets", network.segment.physnet, "mtu"):
        draft.problems.add(path, f"mtu {mtu} is too large for {network.segment.kind}: {why} at most")
    _check_ipv6(draft, network, mtu, path, "" if given else f" ({why})")
    return mtu


def _check_ipv6(draft: Draft, network: Network, mtu: int, path: Path, how: str) -> None:
    if mtu < IPV6_MINIMUM_MTU and any(subnet.version == 6 for subnet in network.subnets):
        message = f"mtu {mtu} is too small for an IPv6 subnet{how}; expected {IPV6_MINIMUM_MTU} at least (RFC 8200)"
        draft.problems.add(path, message)


def _mtu_of_local(draft: Draft, member: Member[schema.Network], network: Network, physnets: dict[str, Physnet]) -> int:
    """No wire limits it: any that is given; else that of the physical network that its packets go on into, so that
    none is fragmented on the way, or that of the underlay, like everything else on the chassis."""
    into = network.forward.physnet if network.forward else ""
    usual = physnets[into].mtu if into else draft.topology.underlay.mtu
    mtu = usual if member.spec.mtu is None else member.spec.mtu
    if not member.offset and "underlay" not in draft.broken.sections:
        given = member.spec.mtu is not None
        path = ("networks", member.key, "mtu" if given else "segment")
        _check_ipv6(draft, network, mtu, path, "" if given else f" ({f'physnet {into}' if into else 'underlay'})")
    return mtu


def _limit(draft: Draft, segment: Segment, physnets: dict[str, Physnet]) -> int:
    if segment.kind in TUNNELLED:
        return draft.topology.underlay.mtu - ENCAPSULATION_OVERHEAD[segment.kind]
    return physnets[segment.physnet].mtu


def _arithmetic(draft: Draft, segment: Segment, limit: int) -> str:
    if segment.kind not in TUNNELLED:
        return f"physnet {segment.physnet} has {limit}, {limit}"
    parts = " + ".join(f"{name} {size}" for name, size in OVERHEAD_PARTS[segment.kind].items())
    return f"underlay {draft.topology.underlay.mtu} - {ENCAPSULATION_OVERHEAD[segment.kind]} ({parts}) = {limit}"
