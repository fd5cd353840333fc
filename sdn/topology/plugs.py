"""What the nodes of one entry are plugged into: references resolved and fixed addresses checked once per entry.

Enters: a Draft, networks. Leaves: for each entry of `nodes` its `Plug`s (interfaces) with their `Link`s (networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from datapath.addr import IPAddress, IPNetwork, Mac
from sdn.model import AllowedAddress, Macvlan, Network, Source
from sdn.topology import ranges, schema
from sdn.topology.draft import Draft, Member
from sdn.topology.nodes import Path
from sdn.topology.values import tags


class Link(NamedTuple):
    """One network on an interface. `fixed` are addresses by subnet, those of the first node of the range."""

    network: Network
    tag: int | None
    fixed: Mapping[IPNetwork, int]
    allowed: tuple[AllowedAddress, ...]
    source: Source
    path: Path


class Plug(NamedTuple):
    """One interface. `mac` is that of the first node of the range."""

    interface: str
    links: tuple[Link, ...]
    mac: Mac | None
    spoof_guard: bool
    macvlan: Macvlan | None
    path: Path
    dhcp: bool = False


class _Entry(NamedTuple):
    """What all helpers below need, and how many nodes the entry makes (`size`)."""

    draft: Draft
    networks: dict[str, Network]
    size: int

    def network(self, path: Path, name: str) -> Network | None:
        if name in self.networks:
            return self.networks[name]
        if not self.draft.broken.hides("networks", name):
            self.draft.problems.unknown(path, "network", name, self.draft.known("networks", self.networks))
        return None


def plugs(draft: Draft, networks: dict[str, Network], member: Member[schema.Attached], count: int) -> list[Plug]:
    """The interfaces of the `count` nodes that an entry makes; what cannot be resolved is left out."""
    entry = _Entry(draft, networks, count)
    found: list[Plug] = []
    names: set[str] = set()
    spec = member.spec
    for index, port in enumerate(spec.interfaces()):
        path: Path = member.path if spec.listed() is None else (*member.path, spec.several, index)
        plug = _plug(entry, port, f"eth{index}", path)
        if plug.interface in names:
            draft.problems.add((*path, "name"), f"interface '{plug.interface}' is there twice; expected another name")
            continue
        names.add(plug.interface)
        found.append(plug)
    return found


def _plug(entry: _Entry, port: schema.Port, default_name: str, path: Path) -> Plug:
    if port.groups:
        message = "security groups are not realised by this version of sdn yet; expected no 'groups'"
        entry.draft.problems.add((*path, "groups"), message, key=True)
    links = _trunk(entry, port, path) if port.trunk is not None else _access(entry, port, path)
    mac, macvlan = _mac(entry, port.mac, path), _macvlan(entry, port, links, path)
    dhcp = isinstance(port, schema.Nic) and port.dhcp
    return Plug(port.name or default_name, tuple(links), mac, port.spoof_guard, macvlan, path, dhcp)


def _macvlan(entry: _Entry, port: schema.Port, links: list[Link], path: Path) -> Macvlan | None:
    mode, word = port.macvtap or port.macvlan, "macvtap" if port.macvtap else "macvlan"
    if mode is None:
        return None
    for link in links:
        if not link.network.segment.physnet:
            on = f"network '{link.network.name}' is {link.network.segment.kind}"
            message = f"{word} is a device on an uplink, and {on}; expected a vlan or flat network"
            entry.draft.problems.add((*path, word), message)
    return Macvlan(mode, tap=word == "macvtap")


def _mac(entry: _Entry, first: Mac | None, path: Path) -> Mac | None:
    """The MAC of the first node, if those counted up from it are unicast too."""
    if first is None:
        return None
    last = Mac(first + entry.size - 1)
    if last >> 48 or last.is_group:
        entry.draft.problems.add((*path, "mac"), f"the range counts beyond unicast from {first}; expected a lower one")
        return None
    return first


def _access(entry: _Entry, port: schema.Port, path: Path) -> list[Link]:
    network = entry.network((*path, "network"), port.network or "")
    if network is None:
        return []
    allowed = _allowed(port.allowed_addresses)
    source = entry.draft.problems.document.source(path)
    return [Link(network, None, _fixed(entry, network, port.ip, path), allowed, source, path)]


def _trunk(entry: _Entry, port: schema.Port, path: Path) -> list[Link]:
    found: list[Link] = []
    for key, tagged in (port.trunk or {}).items():
        where = (*path, "trunk", key)
        for tag, network in _carried(entry, key, tagged, where):
            twin = next((link for link in found if link.tag == tag or link.network is network), None)
            if twin is not None:
                what = f"network '{network.name}'" if twin.network is network else f"VLAN id {tag}"
                entry.draft.problems.add_once(where, f"this trunk carries {what} twice; expected once")
                continue
            allowed = _allowed([*tagged.allowed_addresses, *port.allowed_addresses])
            source = entry.draft.problems.document.source(where)
            found.append(Link(network, tag, _fixed(entry, network, tagged.ip, where), allowed, source, where))
    _check_mtus(entry, found)
    return found


def _check_mtus(entry: _Entry, links: list[Link]) -> None:
    """The untagged network's MTU is the interface's, and a VLAN device's cannot exceed it: neighbours that believe a
    larger one send packets that this trunk never gets. (Neutron refuses such a subport too.)"""
    native = next((link.network for link in links if link.tag is None), None)
    if native is None or "underlay" in entry.draft.broken.sections:
        return
    for link in links:
        name, mtu = link.network.name, link.network.mtu
        if mtu > native.mtu and not any(entry.draft.broken.lacks("networks", n, "mtu") for n in (name, native.name)):
            why = f"mtu {mtu} of {name} (tag {link.tag}) is larger than mtu {native.mtu} of the native network"
            remedy = f"expected mtu: {native.mtu} on {name}, or no native network"
            entry.draft.problems.add(link.path, f"{why} {native.name}: {remedy}", key=True)


def _carried(entry: _Entry, key: str, tagged: schema.Tagged, path: Path) -> list[tuple[int | None, Network]]:
    """Tags and networks in step."""
    ids: list[int] | list[None] = [None] if key == "native" else tags(key)
    names = ranges.expand(tagged.network)
    if len(ids) != len(names):
        message = f"'{key}' are {len(ids)} and '{tagged.network}' are {len(names)}; expected as many tags as networks"
        entry.draft.problems.add(path, message)
        return []
    if len(ids) > 1 and tagged.ip:
        entry.draft.problems.add((*path, "ip"), "'ip' is for one network; expected a tag of its own for it")
        return []
    place = path if entry.draft.problems.document.is_scalar(path) else (*path, "network")
    found = [(tag, entry.network(place, name)) for tag, name in zip(ids, names, strict=True)]
    return [(tag, network) for tag, network in found if network is not None]


def _fixed(entry: _Entry, network: Network, ips: list[IPAddress] | None, path: Path) -> dict[IPNetwork, int]:
    found: dict[IPNetwork, int] = {}
    for index, ip in enumerate(ips or ()):
        where = (*path, "ip", index)
        subnet = next((subnet for subnet in network.subnets if ip in subnet), None)
        if subnet is None and entry.draft.broken.lacks("networks", network.name, "subnet", "subnets"):
            continue
        if subnet is None:
            entry.draft.problems.add(where, f"{ip} is not in network '{network.name}'; expected {_subnets(network)}")
        elif subnet in found:
            entry.draft.problems.add(where, f"{ip} is a second address in {subnet}; expected one in each subnet")
        elif _inside(entry, subnet, int(ip), where):
            found[subnet] = int(ip)
    return found


def _subnets(network: Network) -> str:
    if not network.subnets:
        return "no 'ip', or a 'subnet' in the network"
    return "an address in " + " or ".join(map(str, network.subnets))


def _inside(entry: _Entry, subnet: IPNetwork, first: int, path: Path) -> bool:
    """Whether the addresses counted up for a range all are those of hosts."""
    base, size, last = int(subnet.network_address), subnet.num_addresses, first + entry.size - 1
    if last >= base + size:
        message = f"the range counts beyond {subnet}; expected {entry.size} addresses from here on"
    elif size >= 4 and first == base:
        message = f"this is the address of {subnet} itself; expected one of its hosts"
    elif size >= 4 and subnet.version == 4 and last == base + size - 1:
        message = f"the broadcast address of {subnet} is no node's; expected one of its hosts"
    else:
        return True
    entry.draft.problems.add(path, message)
    return False


def _allowed(written: list[schema.AllowedAddress]) -> tuple[AllowedAddress, ...]:
    """Canonical: each once, IPv4 first, by number."""
    found = {AllowedAddress(allowed.ip, allowed.mac) for allowed in written}
    return tuple(sorted(found, key=_by_number))


def _by_number(allowed: AllowedAddress) -> tuple[int, int, int, int]:
    subnet = allowed.subnet
    return subnet.version, int(subnet.network_address), subnet.prefixlen, -1 if allowed.mac is None else allowed.mac
