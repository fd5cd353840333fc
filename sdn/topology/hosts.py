"""Chassis and physical networks of the file.

Enters: a Draft. Leaves: physnets and chassis of the model, with vtep addresses and MACs still to be allotted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from datapath.spec import FIRST_PORT_OFPORT, FIRST_UPLINK_OFPORT
from sdn.model import Chassis, Physnet, Source
from sdn.topology import confinement, schema
from sdn.topology.allot import ExhaustedError, Slots, allot, host_slots
from sdn.topology.draft import Draft, Member
from sdn.topology.nodes import Path

ChassisMembers = dict[str, Member[schema.Chassis | None]]

RESERVED = frozenset({"logs", "hosts", "guests"})
"""Names in a lab's run directory that are not those of chassis."""


def physnets(draft: Draft) -> dict[str, Physnet]:
    """Those of the section, or without one those that segments name."""
    written = draft.topology.physnets
    if written is None:
        found = _implied(draft)
    else:
        members = draft.members("physnets", written)
        found = {name: (member.spec or schema.Physnet(), member.source) for name, member in members.items()}
        _check_interfaces(draft, members)
    ofports = _uplink_ofports(draft, found)
    return {name: _physnet(name, ofports[name], spec, source) for name, (spec, source) in found.items()}


_Found = dict[str, tuple[schema.Physnet, Source]]


def _physnet(name: str, ofport: int, spec: schema.Physnet, source: Source) -> Physnet:
    return Physnet(name, spec.mtu, ofport, source, spec.interface or "", spec.addresses == "move", spec.gateway)


def _check_interfaces(draft: Draft, members: dict[str, Member[schema.Physnet | None]]) -> None:
    """An interface is a port of one bridge."""
    owners: dict[str, str] = {}
    for name, member in members.items():
        interface = member.spec.interface if member.spec else None
        if draft.confined and member.spec:
            _check_confined(draft, member.path, member.spec)
        owner = owners.setdefault(interface, name) if interface else name
        if owner != name:
            message = f"interface {interface} is that of physnet '{owner}' too; expected another"
            draft.problems.add_once(("physnets", member.key, "interface"), message)


def _check_confined(draft: Draft, path: Path, spec: schema.Physnet) -> None:
    if spec.interface and spec.interface not in confinement.interfaces(draft.previous):
        draft.problems.add_once((*path, "interface"), confinement.why_interface(spec.interface))
    elif spec.interface and spec.addresses == "move" and spec.interface not in confinement.moves(draft.previous):
        draft.problems.add_once((*path, "addresses"), confinement.why_moves(spec.interface))


def check_used(draft: Draft, found: dict[str, Physnet], chassis: Iterable[Chassis]) -> None:
    """An interface that no chassis has a way to would be taken from the machine for nothing."""
    used = {name for host in chassis if host.ours for name in host.physnets}
    for name, member in draft.members("physnets", draft.topology.physnets or {}).items():
        if found[name].interface and name not in used and not draft.broken.sections & {"chassis"}:
            message = (
                f"no chassis has an uplink into {name}; expected '{name}' among the physnets of one, or no interface"
            )
            draft.problems.add_once(("physnets", member.key, "interface"), message)


def _uplink_ofports(draft: Draft, found: _Found) -> dict[str, int]:
    slots = Slots("uplink", FIRST_UPLINK_OFPORT, FIRST_PORT_OFPORT - 1)
    previous = {name: physnet.ofport for name, physnet in draft.previous.physnets.items()} if draft.previous else {}
    try:
        return allot(slots, found, previous=previous)
    except ExhaustedError as error:
        _, source = list(found.values())[-1]
        draft.problems.at(source, f"there are {error.needed} physnets; expected {error.room} at most")
        return dict.fromkeys(found, slots.first)


def _implied(draft: Draft) -> _Found:
    found: _Found = {}
    for name, path in _named(draft):
        if name not in found:
            found[name] = schema.Physnet(), draft.problems.document.source(path)
    return found


def _named(draft: Draft) -> Iterator[tuple[str, Path]]:
    """The physnets that networks name, and where."""
    for key, network in draft.topology.networks.items():
        segment, forward = network.segment, network.forward
        if name := segment.flat or segment.physnet:
            yield name, ("networks", key, "segment", "flat" if segment.flat else "physnet")
        if forward and (name := forward.nat or forward.routed):
            yield name, ("networks", key, "forward", "nat" if forward.nat else "routed")


def chassis(draft: Draft) -> ChassisMembers:
    """The chassis by name, checked."""
    members = draft.members("chassis", draft.topology.chassis)
    for name in RESERVED & members.keys():
        draft.problems.at(members[name].source, f"'{name}' is taken by sdn itself; expected another name")
    for key, spec in draft.topology.chassis.items():
        if spec is not None and spec.datapath == "vswitch":
            draft.problems.add(("chassis", key, "datapath"), f"datapath 'vswitch' {NOT_YET}; expected ovs or linux")
        if spec is not None and spec.agent is not None:
            draft.problems.add(("chassis", key, "agent"), f"an agent on another machine {NOT_YET}; expected none")
    return members


NOT_YET = "is not realised by this version of sdn yet"


def uplinks(draft: Draft, member: Member[schema.Chassis | None], known: dict[str, Physnet]) -> tuple[str, ...]:
    """The physnets of a chassis, in the file's order. Unknown ones are reported with the first member of a range."""
    written = member.spec.physnets if member.spec else None
    if written is None:
        return () if member.spec and member.spec.datapath == "external" else tuple(known)
    for index, name in enumerate(written):
        if name not in known and not draft.broken.hides("physnets", name):
            draft.problems.unknown(
                ("chassis", member.key, "physnets", index), "physnet", name, draft.known("physnets", known)
            )
    return tuple(name for name in known if name in written)


def vteps(draft: Draft, members: ChassisMembers) -> dict[str, IPv4Address]:
    """A vtep address for each chassis; empty where they do not fit."""
    subnet = draft.topology.underlay.subnet
    slots = host_slots("vtep", subnet)
    previous = {name: int(c.vtep.ip) for name, c in draft.previous.chassis.items()} if draft.previous else {}
    try:
        found = allot(slots, members, fixed=_fixed_vteps(draft, members), previous=previous)
    except ExhaustedError:
        if "underlay" not in draft.broken.sections:
            draft.problems.add(
                ("underlay", "subnet"),
                f"the underlay {subnet} has {slots.size} addresses and there are {len(members)} chassis; "
                "expected a larger subnet",
            )
        return {}
    return {name: IPv4Address(number) for name, number in found.items()}


def _fixed_vteps(draft: Draft, members: ChassisMembers) -> dict[str, int]:
    """In a range they count up."""
    subnet, found = draft.topology.underlay.subnet, dict[str, int]()
    owners: dict[int, str] = {}
    for name, member in members.items():
        if member.spec is None or member.spec.vtep is None:
            continue
        number, path = int(member.spec.vtep) + member.offset, ("chassis", member.key, "vtep")
        address = _address(number)
        if "underlay" in draft.broken.sections:
            continue
        if number <= int(subnet.network_address) or number >= int(subnet.broadcast_address):
            draft.problems.add_once(
                path, f"vtep {address} of '{name}' is not a host in the underlay; expected one in {subnet}"
            )
        elif number in owners:
            draft.problems.add_once(path, f"vtep {address} is that of '{owners[number]}' too; expected one of its own")
        else:
            owners[number] = name
            found[name] = number
    return found


def _address(number: int) -> IPv4Address:
    return IPv4Address(min(number, 0xFFFFFFFF))
