"""Nodes of the file: where they run, and their ports with every number allotted.

Enters: a Draft, networks, chassis. Leaves: nodes and ports of the model.
Never: work per port that could be done per entry of the file; a lab has thousands of ports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

from datapath.addr import IPInterface, IPNetwork, Mac
from datapath.spec import FIRST_PORT_OFPORT, LAST_OFPORT
from sdn.model import Chassis, Model, Network, Node, Port, Source
from sdn.pipeline.fields import FIRST_ID, LAST_ID
from sdn.topology import places, schema
from sdn.topology.addresses import Taken
from sdn.topology.allot import MAC_FIRST, MAC_LAST, ExhaustedError, Slots, allot, host_slots
from sdn.topology.draft import MAX_OBJECTS, Draft, Member
from sdn.topology.places import Entry, Key
from sdn.topology.plugs import Link, Plug, plugs
from sdn.topology.rooms import place_guests

Members = dict[str, Member[schema.Attached]]


class Row(NamedTuple):
    """A port before its numbers. `offset` counts within the range of nodes; `nth` the node's ports on this network."""

    name: str
    node: str
    chassis: str
    offset: int
    nth: int
    plug: Plug
    link: Link


class Attached(NamedTuple):
    """Nodes by name with their chassis, and their ports to be."""

    nodes: dict[str, tuple[str, Source]]
    rows: list[Row]


def attach(draft: Draft, networks: dict[str, Network], chassis: dict[str, Chassis]) -> Attached:
    """Place every node and list its ports."""
    members = draft.nodes
    _check_distinct(draft, members, chassis)
    entries = _entries(draft, members, networks)
    choices = places.placements(draft, entries, chassis)
    nodes: dict[str, tuple[str, Source]] = {}
    rows: list[Row] = []
    rooms = place_guests(draft, {name: choices[guest.path] for name, guest in _guests(members)}, chassis)
    for name, member in members.items():
        where = rooms[name] if name in rooms else places.choose(draft, name, choices[member.path])
        nodes[name] = where, member.source
        rows += _rows(member, where, entries[member.path].plugs)
        if len(rows) > MAX_OBJECTS:
            draft.problems.at(member.source, f"there are too many ports; expected {MAX_OBJECTS} at most")
            break
    return Attached(nodes, rows)


def _guests(members: Members) -> Iterator[tuple[str, Member[schema.Attached]]]:
    return ((name, member) for name, member in members.items() if member.section == "guests")


def _entries(draft: Draft, members: Members, networks: dict[str, Network]) -> dict[Key, Entry]:
    counts: dict[Key, int] = defaultdict(int)
    for member in members.values():
        counts[member.path] = member.offset + 1
    found: dict[Key, Entry] = {}
    for member in members.values():
        if member.path not in found:
            found[member.path] = Entry(member, plugs(draft, networks, member, counts[member.path]))
    return found


def _rows(member: Member[schema.Attached], where: str, found: list[Plug]) -> list[Row]:
    rows, seen = [], defaultdict[str, int](int)
    for plug in found:
        for link in plug.links:
            tag = "" if link.tag is None else f".{link.tag}"
            nth = seen[link.network.name]
            seen[link.network.name] += 1
            rows.append(Row(f"{member.name}:{plug.interface}{tag}", member.name, where, member.offset, nth, plug, link))
    return rows


def _check_distinct(draft: Draft, members: Members, chassis: dict[str, Chassis]) -> None:
    for name in members.keys() & chassis.keys():
        place = chassis[name].source.place
        message = f"'{name}' is the name of a chassis too ({place}); expected another, both become namespaces"
        draft.problems.at(members[name].source, message)


def numbered(
    draft: Draft, attached: Attached, chassis_names: list[str], taken: Taken
) -> tuple[dict[str, Mac], dict[str, Port]]:
    """The MACs of chassis, and the ports. `taken` are addresses that are not those of ports."""
    rows = attached.rows
    macs = _macs(draft, rows, chassis_names)
    ofports = _ofports(draft, rows)
    addresses = _addresses(draft, rows, taken)
    previous = {name: port.id for name, port in draft.previous.ports.items()} if draft.previous else {}
    taken_ids = {port.id for port in draft.kept.ports.values()}
    ids = allot(Slots("port", FIRST_ID, LAST_ID), [row.name for row in rows], previous=previous, reserved=taken_ids)
    ports = {
        row.name: Port(
            id=ids[row.name],
            name=row.name,
            node=row.node,
            interface=row.plug.interface,
            tag=row.link.tag,
            network=row.link.network.name,
            chassis=row.chassis,
            ofport=ofports.get(_place(row), FIRST_PORT_OFPORT),
            mac=Mac(macs[row.node, row.plug.interface]),
            addresses=tuple(addresses[row.name]),
            allowed=row.link.allowed,
            spoof_guard=row.plug.spoof_guard,
            source=row.link.source,
            macvlan=row.plug.macvlan,
            dhcp=row.plug.dhcp,
        )
        for row in rows
    }
    return {name: Mac(macs[name, ""]) for name in chassis_names}, ports


def _macs(draft: Draft, rows: list[Row], chassis_names: list[str]) -> dict[tuple[str, str], int]:
    """By node and interface; by chassis and ''. Unique in the lab, and the lab's name is part of the hash."""
    names = {(name, ""): f"{name}/vtep" for name in chassis_names}
    names |= {(row.node, row.plug.interface): f"{row.node}/{row.plug.interface}" for row in rows}
    previous: dict[tuple[str, str], int] = {}
    if draft.previous:
        previous = {(name, ""): chassis.mac for name, chassis in draft.previous.chassis.items()}
        previous |= {(port.node, port.interface): port.mac for port in draft.previous.ports.values()}
    slots = Slots(f"mac/{draft.topology.name}", MAC_FIRST, MAC_LAST)
    taken = {port.mac for port in draft.kept.ports.values()}
    return allot(slots, names, words=names, fixed=_fixed_macs(draft, rows), previous=previous, reserved=taken)


def _fixed_macs(draft: Draft, rows: list[Row]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    owners: dict[int, tuple[str, str]] = {port.mac: (port.node, port.interface) for port in draft.kept.ports.values()}
    for row in rows:
        if row.plug.mac is None:
            continue
        key, mac = (row.node, row.plug.interface), Mac(row.plug.mac + row.offset)
        owner = owners.setdefault(mac, key)
        if owner == key:
            found[key] = mac
        else:
            message = f"{mac} is the MAC of '{owner[0]}' too; expected every interface to have its own"
            draft.problems.add_once((*row.plug.path, "mac"), message)
    return found


Place = tuple[str, str, str]
"""Of a bridge port: chassis, node and interface."""


def _ofports(draft: Draft, rows: list[Row]) -> dict[Place, int]:
    """Numbers of different chassis have nothing to do with each other. But a guest's is nobody else's on any chassis:
    wherever it moves, and back, it has the same one, so that it does not matter which of the two a fact is of."""
    known = draft.previous.ports.values() if draft.previous else ()
    previous = {(p.chassis, p.node, p.interface): p.ofport for p in known}
    before = {(p.node, p.interface): p.ofport for p in known}
    theirs: list[Row] = []
    others: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.node in draft.guests:
            theirs.append(row)
            place = _place(row)
            previous |= {place: before[place[1:]]} if place[1:] in before else {}
        else:
            others[row.chassis].append(row)
    taken = {p.ofport for p in known if p.node not in draft.guests}
    found = _allotted(draft, "the lab", theirs, previous, taken)
    taken = set(found.values())
    kept = draft.kept.ports.values()
    for chassis, there in others.items():
        besides = {port.ofport for port in kept if port.chassis == chassis or port.node in draft.kept.guests}
        found |= _allotted(draft, f"chassis '{chassis}'", there, previous, taken | besides)
    return found


def _allotted(
    draft: Draft, where: str, rows: list[Row], previous: Mapping[Place, int], reserved: Collection[int]
) -> dict[Place, int]:
    names = {_place(row): f"{row.node}/{row.plug.interface}" for row in rows}
    slots = Slots("ofport", FIRST_PORT_OFPORT, LAST_OFPORT)
    try:
        return allot(slots, names, words=names, previous=previous, reserved=reserved)
    except ExhaustedError as error:
        message = f"{where} has {error.needed} interfaces; expected {error.room} at most"
        draft.problems.add(("nodes",), message, key=True)
        return {}


def _place(row: Row) -> Place:
    return row.chassis, row.node, row.plug.interface


def _addresses(draft: Draft, rows: list[Row], taken: Taken) -> dict[str, list[IPInterface]]:
    """By port, in the order of the network's subnets: IPv4 first."""
    by_network: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_network[row.link.network.name].append(row)
    found: dict[str, list[IPInterface]] = {row.name: [] for row in rows}
    for network, group in by_network.items():
        for subnet in group[0].link.network.subnets:
            make = IPv4Interface if subnet.version == 4 else IPv6Interface
            others = taken.get(network, {}) if subnet.version == 4 else {}
            for name, number in _in_subnet(draft, group, subnet, others).items():
                found[name].append(make((number, subnet.prefixlen)))
    return found


def _in_subnet(draft: Draft, rows: list[Row], subnet: IPNetwork, taken: Mapping[int, str]) -> dict[str, int]:
    network = rows[0].link.network
    slots = host_slots(f"ip/{network.name}/{subnet.version}", subnet)
    words = {row.name: f"{row.node}/{row.nth}" for row in rows}
    reserved = {
        int(allowed.subnet.network_address)
        for row in rows
        for allowed in row.link.allowed
        if allowed.subnet.num_addresses == 1 and allowed.subnet.version == subnet.version
    } | taken.keys()
    previous = _previous_ips(draft.previous, rows, subnet)
    kept = _kept_ips(draft, network, subnet)
    reserved |= kept.keys()
    try:
        fixed = _fixed_ips(draft, rows, subnet, {**taken, **kept})
        return allot(slots, words, words=words, fixed=fixed, previous=previous, reserved=reserved)
    except ExhaustedError as error:
        message = (
            f"{subnet} of network '{network.name}' is exhausted: {error.needed} ports need an address and "
            f"{error.room} are free; expected a larger subnet"
        )
        draft.problems.at(network.source, message)
        return {}


def _kept_ips(draft: Draft, network: Network, subnet: IPNetwork) -> dict[int, str]:
    """Those that kept ports have, and that they may send from, which are nobody's but by the file's `ip`."""
    ports = [port for port in draft.kept.ports.values() if port.network == network.name]
    allowed = [each.subnet for port in ports for each in port.allowed if each.subnet.num_addresses == 1]
    found = {int(each.network_address): "" for each in allowed if each.version == subnet.version}
    owners = [(int(ip), port.name) for port in ports for ip in port.addresses if ip.version == subnet.version]
    first, mask = int(subnet.network_address), int(subnet.netmask)
    return found | {ip: f"'{name}'" for ip, name in owners if ip & mask == first}


def _previous_ips(previous: Model | None, rows: list[Row], subnet: IPNetwork) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        port = previous.ports.get(row.name) if previous else None
        if port is not None and port.network == row.link.network.name:
            found.update((row.name, int(ip)) for ip in port.ips if ip in subnet)
    return found


def _fixed_ips(draft: Draft, rows: list[Row], subnet: IPNetwork, taken: Mapping[int, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    owners = {number: owner for number, owner in taken.items() if owner}
    for row in rows:
        first = row.link.fixed.get(subnet)
        if first is None:
            continue
        own = f"'{row.name}'"
        owner = owners.setdefault(first + row.offset, own)
        if owner == own:
            found[row.name] = first + row.offset
        else:
            ip = subnet[first + row.offset - int(subnet.network_address)]
            message = f"{ip} is the address of {owner} too; expected every port to have its own"
            draft.problems.add_once((*row.link.path, "ip"), message)
    return found


def node_ids(draft: Draft, attached: Attached) -> dict[str, Node]:
    previous = {name: node.id for name, node in draft.previous.nodes.items()} if draft.previous else {}
    taken = {node.id for node in draft.kept.nodes.values()}
    ids = allot(Slots("node", FIRST_ID, LAST_ID), attached.nodes, previous=previous, reserved=taken)
    return {name: Node(ids[name], name, where, source) for name, (where, source) in attached.nodes.items()}
