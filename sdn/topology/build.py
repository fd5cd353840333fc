"""From the validated file to the Model: the order of the steps, and nothing else.

Enters: a Document and the model of the running lab. Leaves: a Model with every number in it, or all mistakes at once.
Never: I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Interface

from datapath.addr import Mac
from sdn import model
from sdn.model import Chassis, Model, Network, Physnet
from sdn.pipeline.fields import FIRST_ID, LAST_ID
from sdn.topology import addresses, checks, guests, hosts, networks, ports, sharing
from sdn.topology.allot import Slots, allot
from sdn.topology.draft import Draft, validated
from sdn.topology.nodes import Document
from sdn.topology.plain import Plain


def build(
    document: Document | Plain, previous: Model | None = None, kept: Model | None = None, *, confined: bool = False
) -> Model:
    """The model of the file. Raises FileError with every problem of the file.

    Nodes and ports of `kept` are there besides: they are not in the result, but what they have is taken. `confined`:
    the file may not name files of this machine but those of the image pool, and those that `previous` names.
    """
    draft = validated(document, previous, kept, confined=confined)
    found = _model(draft)
    draft.problems.raise_if_any()
    return found


def _model(draft: Draft) -> Model:
    checks.unrealised(draft)
    physnets = hosts.physnets(draft)
    chassis = _chassis(draft, physnets)
    hosts.check_used(draft, physnets, chassis.values())
    found = networks.networks(draft, physnets)
    attached = ports.attach(draft, found, chassis)
    taken = addresses.taken(found, chassis.values(), physnets)
    macs, port_map = ports.numbered(draft, attached, list(chassis), taken)
    sharing.check(draft, attached.rows, found, chassis)
    return Model(
        lab=draft.topology.name,
        underlay=model.Underlay(draft.topology.underlay.subnet, draft.topology.underlay.mtu),
        physnets=physnets,
        chassis=_with_macs(chassis, macs),
        networks=_with_ids(draft, found),
        nodes=ports.node_ids(draft, attached),
        guests=guests.guests(draft),
        ports=port_map,
        tests=checks.tests(draft, _names(draft, attached.nodes)),
    )


def _names(draft: Draft, made: Iterable[str]) -> list[str]:
    """Of all nodes, with those that are kept, in the order of a file that has them all: guests come last."""
    kept, names = draft.kept, list(made)
    if not kept.nodes or draft.previous is None:
        return names
    there = {*kept.nodes, *names}
    nodes = [name for name in draft.previous.nodes if name in there and name not in kept.guests]
    return [*dict.fromkeys((*nodes, *names)), *kept.guests]


def _chassis(draft: Draft, physnets: dict[str, Physnet]) -> dict[str, Chassis]:
    members = hosts.chassis(draft)
    vteps = hosts.vteps(draft, members)
    previous = {name: c.id for name, c in draft.previous.chassis.items()} if draft.previous else {}
    ids = allot(Slots("chassis", FIRST_ID, LAST_ID), members, previous=previous)
    prefix = draft.topology.underlay.subnet.prefixlen
    nowhere = draft.topology.underlay.subnet.network_address
    found = {
        name: Chassis(
            id=ids[name],
            name=name,
            vtep=IPv4Interface((int(vteps.get(name, nowhere)), prefix)),
            mac=Mac(0),
            datapath=member.spec.datapath if member.spec else "ovs",
            physnets=hosts.uplinks(draft, member, physnets),
            source=member.source,
            memory=(member.spec.memory or 0) if member.spec else 0,
            cpus=(member.spec.cpus or 0) if member.spec else 0,
        )
        for name, member in members.items()
    }
    found = {n: replace(c, addresses=addresses.of_chassis(draft, c, members[n], physnets)) for n, c in found.items()}
    addresses.check_distinct(draft, members, found.values())
    return found


def _with_macs(chassis: dict[str, Chassis], macs: dict[str, Mac]) -> dict[str, Chassis]:
    return {name: replace(c, mac=macs[name]) for name, c in chassis.items()}


def _with_ids(draft: Draft, found: dict[str, Network]) -> dict[str, Network]:
    previous = {name: n.id for name, n in draft.previous.networks.items()} if draft.previous else {}
    ids = allot(Slots("network", FIRST_ID, LAST_ID), found, previous=previous)
    return {name: replace(network, id=ids[name]) for name, network in found.items()}
