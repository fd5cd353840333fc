"""Where nodes run: on the chassis that the file says, else on one that has what their networks need.

Enters: the entries of `nodes` with their plugs, and the chassis. Leaves: the chassis that each entry's nodes may get.
Never: nodes of one local network on two chassis, or a node where its datapath would leave something out.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from sdn.model import Chassis, Network
from sdn.topology import schema
from sdn.topology.allot import placed
from sdn.topology.capabilities import Feature, Lack, lack, needed_by
from sdn.topology.draft import Draft, Member
from sdn.topology.plugs import Plug

Placement = tuple[str, ...] | str
"""The chassis that nodes may get, or the one that they must."""

MAX_SHOWN = 3
"""Reasons that a message lists."""


@dataclass(frozen=True)
class Entry:
    """An entry of `nodes` or `guests`: its first node, and what each of its nodes is plugged into."""

    member: Member[schema.Attached]
    plugs: list[Plug]

    @cached_property
    def networks(self) -> dict[str, Network]:
        return {link.network.name: link.network for plug in self.plugs for link in plug.links}

    @cached_property
    def local(self) -> tuple[str, ...]:
        return tuple(name for name, network in self.networks.items() if network.segment.kind == "local")

    @cached_property
    def macvlan(self) -> bool:
        return any(plug.macvlan for plug in self.plugs)


Key = tuple[str, str]
"""Of an entry: its section, and what it is called there."""


def placements(draft: Draft, entries: dict[Key, Entry], chassis: dict[str, Chassis]) -> dict[Key, Placement | None]:
    """By entry; None where that is a mistake."""
    found: dict[Key, Placement | None] = {}
    for group in _groups(entries):
        if group[0].local:
            where = _together(draft, group, chassis)
            found |= {entry.member.path: where for entry in group}
        else:
            found[group[0].member.path] = _alone(draft, group[0], chassis)
    return found


def choose(draft: Draft, node: str, choices: Placement | None) -> str:
    """A node that runs stays where it is, unless the file says where it belongs."""
    if choices is None or isinstance(choices, str):
        return choices or ""
    running = draft.previous.nodes.get(node) if draft.previous else None
    if running is not None and running.chassis in choices:
        return running.chassis
    return choices[placed(node, len(choices))]


def _groups(entries: dict[Key, Entry]) -> list[list[Entry]]:
    """Entries that local networks tie together; each other one alone."""
    alone = [[entry] for entry in entries.values() if not entry.local]
    groups: list[tuple[set[str], list[Entry]]] = []
    for entry in entries.values():
        local = set(entry.local)
        if local:
            tied = [group for group in groups if group[0] & local]
            merged = [each for _, members in tied for each in members]
            groups = [group for group in groups if group not in tied]
            groups.append((local.union(*(names for names, _ in tied)), [*merged, entry]))
    return alone + [members for _, members in groups]


def _alone(draft: Draft, entry: Entry, chassis: dict[str, Chassis]) -> Placement | None:
    if entry.member.spec.chassis is not None:
        return _given(draft, entry, chassis)
    able = _able(draft, [entry], chassis)
    packed = entry.member.spec.place == "pack" and entry.member.section == "nodes"
    return (able[0] if packed else able) if able else None


def _together(draft: Draft, group: list[Entry], chassis: dict[str, Chassis]) -> str | None:
    """One chassis for all: the one that the file says, or where they run, or the first that can have them."""
    for entry in group:
        if entry.member.spec.place == "spread":
            message = (
                f"nodes of local network '{entry.local[0]}' cannot be spread; expected no 'place': they are together"
            )
            draft.problems.add((*entry.member.path, "place"), message)
    given = {
        entry.member.path: _given(draft, entry, chassis) for entry in group if entry.member.spec.chassis is not None
    }
    where = next((name for name in given.values() if name), None)
    if where is None:
        return None if given else _pack(draft, group, chassis)
    _check_together(draft, group, given, chassis[where])
    return where


def _check_together(draft: Draft, group: list[Entry], given: dict[Key, str | None], where: Chassis) -> None:
    first = next(entry for entry in group if given.get(entry.member.path) == where.name)
    for entry in group:
        tie = f"local network '{_tie(group, entry)}' is on chassis '{where.name}' ({first.member.source.place})"
        own = given.get(entry.member.path)
        if own and own != where.name:
            message = f"{tie} and cannot be on '{own}' too; expected all of its nodes on one chassis"
            draft.problems.add((*entry.member.path, "chassis"), message)
        elif entry.member.path not in given:
            for missing in lacks(entry, where):
                draft.problems.at(entry.member.source, f"{tie}, which has {missing.what}; expected {missing.expected}")


def _tie(group: list[Entry], entry: Entry) -> str:
    """The local network by which an entry is tied to others."""
    others = {name for other in group if other is not entry for name in other.local}
    return next((name for name in entry.local if name in others), entry.local[0])


def _pack(draft: Draft, group: list[Entry], chassis: dict[str, Chassis]) -> str | None:
    able = _able(draft, group, chassis)
    running = draft.previous.nodes if draft.previous else {}
    names = {entry.member.path for entry in group}
    of_group = (name for name, member in draft.nodes.items() if member.path in names)
    stay = next((running[name].chassis for name in of_group if name in running and running[name].chassis in able), None)
    roomy = (name for name in able if _has_room(draft, names, chassis[name]))
    return stay or next(roomy, able[0] if able else None)


def _has_room(draft: Draft, entries: Container[Key], chassis: Chassis) -> bool:
    """Whether the guests of these entries would fit together, were they alone there."""
    specs = [member.spec for member in draft.guests.values() if member.path in entries]
    memory, cpus = sum(spec.bytes for spec in specs), sum(spec.cpus for spec in specs)
    return memory <= (chassis.memory or memory) and cpus <= (chassis.cpus or cpus)


def _able(draft: Draft, group: list[Entry], chassis: dict[str, Chassis]) -> tuple[str, ...]:
    """The chassis that can have all of these. An external one is somebody else's: it gets what the file puts there."""
    missing = {
        name: [each for entry in group for each in lacks(entry, host)] for name, host in chassis.items() if host.ours
    }
    able = tuple(name for name, found in missing.items() if not found)
    hidden = draft.broken.sections & {"chassis", "physnets"} or draft.broken.names.get("chassis")
    if not able and not hidden:
        draft.problems.at(group[0].member.source, _nowhere(group[0].member.key, missing))
    return able


def _nowhere(key: str, missing: dict[str, list[Lack]]) -> str:
    if not missing:
        return f"there is no chassis of ours for '{key}'; expected one under 'chassis'"
    reasons: dict[Lack, list[str]] = {}
    for name, found in missing.items():
        for each in found:
            reasons.setdefault(each, []).append(name)
    told = [f"{_names(names)} {each.what}" for each, names in list(reasons.items())[:MAX_SHOWN]]
    return f"there is no chassis for '{key}': {'; '.join(told)}; expected {next(iter(reasons)).expected}"


def _names(names: list[str]) -> str:
    some = ", ".join(names[:MAX_SHOWN]) + (" …" if len(names) > MAX_SHOWN else "")
    return f"{some} {'have' if len(names) > 1 else 'has'}"


def _given(draft: Draft, entry: Entry, chassis: dict[str, Chassis]) -> str | None:
    written, path = entry.member.spec.chassis or "", (*entry.member.path, "chassis")
    if written not in chassis:
        if not draft.broken.hides("chassis", written):
            draft.problems.unknown(path, "chassis", written, draft.known("chassis", chassis))
        return None
    if entry.member.section == "guests" and not chassis[written].ours:
        draft.problems.add(
            path, f"chassis '{written}' is somebody else's, and runs no guests of ours; expected another"
        )
        return None
    for missing in lacks(entry, chassis[written]):
        draft.problems.add(path, f"chassis '{written}' has {missing.what}; expected {missing.expected}")
    return written


def lacks(entry: Entry, chassis: Chassis) -> list[Lack]:
    """All that keeps the nodes of an entry from running on a chassis."""
    return list(dict.fromkeys(_lacks(entry, chassis)))


def _lacks(entry: Entry, chassis: Chassis) -> Iterator[Lack]:
    for feature, name in _wanted(entry):
        found = lack(chassis, feature, name)
        if found is not None:
            yield found
    for network in entry.networks.values():
        yield from _lacks_of_network(network, chassis)


def _wanted(entry: Entry) -> Iterable[tuple[Feature, str]]:
    for network in entry.networks.values():
        yield from ((feature, f"network '{network.name}'") for feature in needed_by(network))
    if entry.macvlan:
        yield Feature.MACVLAN, "this node"


def _lacks_of_network(network: Network, chassis: Chassis) -> Iterator[Lack]:
    physnet, forward = network.segment.physnet, network.forward
    if physnet and physnet not in chassis.physnets:
        yield Lack(f"no uplink into {physnet}, which network '{network.name}' needs", f"'{physnet}' among its physnets")
    may_have_one = lack(chassis, Feature.ADDRESSES, "") is None
    if forward and forward.physnet and may_have_one and forward.physnet not in dict(chassis.addresses):
        yield Lack(
            f"no address in {forward.physnet}, which network '{network.name}' needs ({forward.mode})",
            f"'addresses: {{{forward.physnet}: …}}' on it",
        )
