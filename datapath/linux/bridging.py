"""The bridges of a chassis without Open vSwitch: its devices, ports, filtering database and neighbours. PURE.

Enters: a HostSpec and the form that the kernel can have. Leaves: a Bridging value, whose parts are mappings to compare
with what is there. Never: an index, an observation.

    aware      node ═ p-… ─┐ PVID            ┌─ vx-… ⇒ vteps        one bridge, a VLAN of it for each network
                           br-vlan (VLANs) ──┤
    trunk, uplink ═ p-… ───┘ tagged          └─ br-vlan.<VID>       neighbours and the gateway's address of a network

    classic    node ═ p-… ──── brv-<network> ─── vx-… ⇒ vteps       a bridge for each network; it has the neighbours
    trunk, uplink ═ p-… ─ p-….20 ──┘                                tags by VLAN devices, which are the ports

A tag of a trunk that is not the network's VLAN on the bridge goes by a VLAN device in the aware form too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from typing import Final, Literal, NamedTuple

from datapath.addr import IPInterface, Mac
from datapath.linux.legs import Leg, legs_of, networks_of
from datapath.linux.vids import allot
from datapath.linux.wiring import TAP, End, vlan_name
from datapath.spec import Bridged, HostSpec, Vlan, alias, device_name

Form = Literal["aware", "classic"]
TunnelDevice = Literal["vxlan", "gretap"]

AWARE_BRIDGE: Final = "br-vlan"
PVID, UNTAGGED = 0x2, 0x4
"""BRIDGE_VLAN_INFO_* of linux/if_bridge.h."""
ANYONE: Final = bytes(6)
"""The MAC of a vxlan device's entries for everything that it has no other entry for."""
NVGRE_FLOW_ID_BITS: Final = 8
"""RFC 7637 section 3.2: the key is the VSID and a FlowID, which is zero towards a kernel that compares all of it."""

Vlans = frozenset[tuple[int, int]]
"""VLAN ids with their flags."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Linux bridge. Its MAC is set: else it would be the least of its ports', another whenever those change."""

    device: str
    alias: str
    mtu: int
    mac: Mac
    aware: bool
    addresses: tuple[IPInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The tunnel device of a network: to all vteps (vxlan), or one for each (`remote`). `id` is the VNI or GRE key."""

    kind: TunnelDevice
    network: str
    device: str
    alias: str
    mtu: int
    id: int
    local: IPv4Address
    remote: IPv4Address | None = None


class Flags(NamedTuple):
    """What a bridge does at a port."""

    learning: bool = False
    flood: bool = False
    """Unknown unicast leaves by it."""
    isolated: bool = False
    """Nothing goes from it to another such port: what came from a tunnel never goes into one."""
    suppress: bool = False
    """ARP and ND for what the bridge knows do not leave by it, but are answered."""
    multicast: bool = True
    broadcast: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    """A device that a bridge has."""

    bridge: str
    flags: Flags
    vlans: Vlans = frozenset()


class Known(NamedTuple):
    """A filtering entry of a bridge."""

    bridge: str
    vid: int
    mac: bytes


class Remote(NamedTuple):
    """An entry of a vxlan device: a MAC, or one of the vteps that get what is for ANYONE."""

    device: str
    mac: bytes
    vtep: bytes = b""


class Neighbour(NamedTuple):
    """Who is asked for on a device, by its packed address."""

    device: str
    address: bytes


class Inlet(NamedTuple):
    """Where an attachment's frames come in: untagged at the device, or with a VLAN id."""

    device: str
    vid: int | None


@dataclass(frozen=True)
class Bridging:
    """All that a chassis' bridges shall be. `homes` are the devices of the chassis' own addresses, by network."""

    form: Form
    vids: Mapping[str, int]
    bridges: dict[str, Bridge] = field(default_factory=dict)
    tunnels: dict[str, Tunnel] = field(default_factory=dict)
    trunks: dict[str, End] = field(default_factory=dict)
    """Devices with VLAN devices of their own."""
    ports: dict[str, Port] = field(default_factory=dict)
    own_vlans: dict[str, Vlans] = field(default_factory=dict)
    """Of the bridges themselves."""
    known: dict[Known, str] = field(default_factory=dict)
    remotes: dict[Remote, bytes] = field(default_factory=dict)
    neighbours: dict[Neighbour, bytes] = field(default_factory=dict)
    here: set[Neighbour] = field(default_factory=set)
    """Those neighbours that are nodes of this chassis."""
    homes: dict[str, str] = field(default_factory=dict)
    inlets: dict[tuple[str, str, int | None], Inlet] = field(default_factory=dict)
    """By node, interface and tag."""
    uplinks: dict[str, str] = field(default_factory=dict)
    """By network, the port by which its physical network comes in."""
    learns: bool = False
    """MACs beyond an uplink."""

    @cached_property
    def subs(self) -> dict[str, tuple[str, int]]:
        """Device and tag of which each VLAN device is."""
        return {
            vlan_name(parent, vlan.tag): (parent, vlan.tag) for parent, end in self.trunks.items() for vlan in end.vlans
        }


def raw(mac: Mac) -> bytes:
    return mac.to_bytes(6, "big")


def bridging(spec: HostSpec, form: Form, before: Mapping[str, int] | None = None) -> Bridging:
    """`before` are the VLANs that networks had, for the aware form. Raises RefusedError where they are too many."""
    networks = list(networks_of(spec))
    legs = list(legs_of(spec, networks))
    vids = _vids(networks, legs, before or {}) if form == "aware" else {}
    made = Bridging(form, vids, learns=any(leg.is_uplink for leg in legs))
    of_network: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        of_network[leg.network.network].append(leg)
    _add_bridges(made, spec, networks)
    _add_legs(made, spec, legs)
    for network in networks:
        _add_network(made, spec, network, of_network[network.network])
    _add_own_vlans(made, spec)
    return made


def access_vids(spec: HostSpec, pvids: Mapping[str, int]) -> dict[str, int]:
    """What VLAN each network is on an aware bridge, going by the PVIDs of its ports as they are."""
    votes: dict[str, Counter[int]] = defaultdict(Counter)
    for network in networks_of(spec):
        for tunnel in _tunnels(spec, network):
            votes[network.network][pvids.get(tunnel.device, 0)] += 1
    for interface in spec.interfaces:
        for attachment in interface.attachments if interface.macvlan is None else ():
            device = (
                interface.bridge_port if attachment.tag is None else vlan_name(interface.bridge_port, attachment.tag)
            )
            votes[attachment.network][pvids.get(device, 0)] += 1
    for count in votes.values():
        del count[0]
    return {name: count.most_common(1)[0][0] for name, count in votes.items() if count}


def _vids(networks: list[Bridged], legs: Iterable[Leg], before: Mapping[str, int]) -> dict[str, int]:
    tags: dict[str, Counter[int]] = defaultdict(Counter)
    for leg in legs:
        if leg.tag is not None and not leg.is_uplink:
            tags[leg.network.network][leg.tag] += 1
    wished = {name: [tag for tag, _ in sorted(count.items(), key=_often)] for name, count in tags.items()}
    return allot(networks, wished, before)


def _often(counted: tuple[int, int]) -> tuple[int, int]:
    tag, count = counted
    return -count, tag


# ── bridges ──


def _add_bridges(made: Bridging, spec: HostSpec, networks: list[Bridged]) -> None:
    if made.form == "aware" and networks:
        mark = alias(spec.lab, f"{spec.chassis}:bridge")
        mtu = max(network.mtu for network in networks)
        made.bridges[AWARE_BRIDGE] = Bridge(AWARE_BRIDGE, mark, mtu, _mac(spec.lab, spec.chassis), True)
    for network in networks:
        made.homes[network.network] = _home(made, network.network)
        if made.form == "classic":
            name = made.homes[network.network]
            mark = alias(spec.lab, f"{spec.chassis}:bridge:{network.network}")
            mac = _mac(spec.lab, spec.chassis, network.network)
            made.bridges[name] = Bridge(name, mark, network.mtu, mac, False, _addresses(spec, network))


def _home(made: Bridging, network: str) -> str:
    """The device of a network that the chassis itself is at."""
    if made.form == "aware":
        return f"{AWARE_BRIDGE}.{made.vids[network]}"
    return device_name("brp-", network[1:]) if network.startswith("@") else device_name("brv-", network)


def _mac(*parts: str) -> Mac:
    """Locally administered, and none of those that topologies give."""
    return Mac.from_bytes(b"\x06" + hashlib.blake2b("\0".join(parts).encode(), digest_size=5).digest())


def _addresses(spec: HostSpec, network: Bridged) -> tuple[IPInterface, ...]:
    """The chassis' own in the network."""
    found = [network.gateway.address] if network.gateway else []
    if network.physnet and not network.vlan_id:
        found += [up.address for up in spec.uplinks if up.physnet == network.physnet and up.address is not None]
    return tuple(found)


def _add_own_vlans(made: Bridging, spec: HostSpec) -> None:
    """The chassis takes part in a VLAN of its bridge where it has an address or answers for neighbours."""
    bridge = made.bridges.get(AWARE_BRIDGE)
    if bridge is None:
        return
    answering = {neighbour.device for neighbour in made.neighbours}
    vlans = []
    for network in networks_of(spec):
        addresses = _addresses(spec, network)
        if addresses or made.homes[network.network] in answering:
            vlans.append(Vlan(made.vids[network.network], network.mtu, addresses))
    made.own_vlans[AWARE_BRIDGE] = frozenset((vlan.tag, 0) for vlan in vlans)
    if vlans:
        made.trunks[AWARE_BRIDGE] = End(
            spec.namespace,
            bridge.device,
            bridge.alias,
            bridge.mtu,
            mac=bridge.mac,
            vlans=tuple(vlans),
            kinds=("bridge",),
        )


# ── nodes' ports and uplinks ──


def _add_legs(made: Bridging, spec: HostSpec, legs: Iterable[Leg]) -> None:
    by_parent: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        by_parent[leg.parent].append(leg)
    for parent, of_parent in by_parent.items():
        floods = _floods(of_parent)
        subs = []
        for leg in of_parent:
            device = parent
            native = made.vids.get(leg.network.network) == leg.tag and leg.network.floods_unknown == floods
            if leg.tag is not None and not native:
                device = vlan_name(parent, leg.tag)
                subs.append(leg)
            _join(made, leg, device)
        if subs:
            vlans = tuple(Vlan(leg.tag or 0, leg.network.mtu, ()) for leg in subs)
            kinds = ("veth", TAP)
            made.trunks[parent] = End(spec.namespace, parent, subs[0].alias, subs[0].mtu, vlans=vlans, kinds=kinds)


def _floods(of_parent: Iterable[Leg]) -> bool:
    """Whether unknown unicast leaves by a device, which its bridge minds for all VLANs alike: as its untagged network
    has it, or else most of the others."""
    untagged = [leg.network.floods_unknown for leg in of_parent if leg.tag is None]
    others = [leg.network.floods_unknown for leg in of_parent]
    return untagged[0] if untagged else 2 * sum(others) > len(others)


def _join(made: Bridging, leg: Leg, device: str) -> None:
    """The leg comes into its bridge by this device, its parent or a VLAN device."""
    name = leg.network.network
    native = leg.tag if device == leg.parent else None
    vlans: Vlans = frozenset()
    if made.form == "aware":
        vlans = frozenset([(made.vids[name], 0 if native is not None else PVID | UNTAGGED)])
    port = Port(
        _bridge(made, name),
        Flags(learning=leg.is_uplink, flood=leg.network.floods_unknown),
        vlans,
    )
    before = made.ports.get(device)
    if before is not None:
        port = replace(port, vlans=port.vlans | before.vlans)
    made.ports[device] = port
    if leg.node:
        made.inlets[leg.node, leg.interface, leg.tag] = Inlet(device, native)
    else:
        made.uplinks[name] = device


def _bridge(made: Bridging, network: str) -> str:
    return AWARE_BRIDGE if made.form == "aware" else made.homes[network]


# ── what a network knows ──


def _add_network(made: Bridging, spec: HostSpec, network: Bridged, legs: list[Leg]) -> None:
    tunnels = {tunnel.device: tunnel for tunnel in _tunnels(spec, network)}
    shared = _shared(network, legs)
    _add_tunnels(made, network, tunnels, shared=bool(shared), suppress=not any(leg.roams for leg in legs))
    to_vtep = {tunnel.remote: tunnel.device for tunnel in tunnels.values()}
    bridge, vid = _bridge(made, network.network), made.vids.get(network.network, 0)
    for leg in legs:
        device = made.inlets[leg.node, leg.interface, leg.tag].device if leg.node else ""
        for mac in leg.macs:
            if mac not in shared:
                made.known[Known(bridge, vid, raw(mac))] = device
            else:
                port = made.ports[device]
                made.ports[device] = replace(port, flags=port.flags._replace(learning=True, flood=True))
    for peer in network.peers:
        device = to_vtep.get(peer.vtep) or to_vtep.get(None) or made.uplinks.get(network.network, "")
        if peer.mac in shared or not device:
            continue
        made.known[Known(bridge, vid, raw(peer.mac))] = device
        if device in tunnels and tunnels[device].remote is None:
            made.remotes[Remote(device, raw(peer.mac))] = peer.vtep.packed
    if tunnels:
        _add_neighbours(made, network, legs)


def _shared(network: Bridged, legs: Iterable[Leg]) -> set[Mac]:
    """MACs that several ports may have (VRRP): learned where they are heard, as a switch does without being told, and
    until then flooded to those that may have them."""
    counts = Counter(mac for leg in legs for mac in leg.macs)
    counts.update(peer.mac for peer in network.peers)
    return {mac for mac, count in counts.items() if count > 1}


def _tunnels(spec: HostSpec, network: Bridged) -> Iterator[Tunnel]:
    """A vxlan device reaches all vteps, a gretap one; the file may not ask for others here."""
    local = spec.underlay.vtep.ip
    mark = alias(spec.lab, f"{spec.chassis}:{network.tunnel}:{network.network}")
    if network.tunnel == "vxlan":
        device = device_name("vx-", network.network)
        yield Tunnel("vxlan", network.network, device, mark, network.mtu, network.tunnel_id, local)
    elif network.tunnel == "nvgre":
        key = network.tunnel_id << NVGRE_FLOW_ID_BITS
        for vtep in network.vteps:
            device = device_name("nv", network.network, str(vtep))
            yield Tunnel("gretap", network.network, device, f"{mark}:{vtep}", network.mtu, key, local, vtep)


def _add_tunnels(made: Bridging, network: Bridged, tunnels: dict[str, Tunnel], *, shared: bool, suppress: bool) -> None:
    """Broadcasts go to each vtep, one by one. Where addresses may move, announcements of that must get through:
    the kernel's suppression stops those too."""
    vlans: Vlans = frozenset()
    if made.form == "aware" and tunnels:
        vlans = frozenset([(made.vids[network.network], PVID | UNTAGGED)])
    for device, tunnel in tunnels.items():
        flags = Flags(shared, network.floods_unknown or shared, tunnel.remote is not None, suppress)
        made.tunnels[device] = tunnel
        made.ports[device] = Port(_bridge(made, network.network), flags, vlans)
        if tunnel.remote is None:
            for vtep in network.vteps:
                made.remotes[Remote(device, ANYONE, vtep.packed)] = vtep.packed


def _add_neighbours(made: Bridging, network: Bridged, legs: Iterable[Leg]) -> None:
    """The kernel answers for whom it knows behind a tunnel; that it also knows those here keeps requests here."""
    device = made.homes[network.network]
    for leg in legs:
        for ip, mac in leg.local:
            made.neighbours[Neighbour(device, ip.packed)] = raw(mac)
            made.here.add(Neighbour(device, ip.packed))
    for peer in network.peers:
        for ip in peer.addresses:
            made.neighbours[Neighbour(device, ip.packed)] = raw(peer.mac)
