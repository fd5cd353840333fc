"""Model → HostSpec of each chassis. PURE: no I/O, the same output for the same input, in the same order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import replace
from itertools import chain
from typing import TypeVar, cast, get_args

from datapath.spec import (
    TUNNEL_OFPORT,
    Bridged,
    Gateway,
    HostSpec,
    Node,
    Peer,
    Tunnel,
    TunnelKind,
    Underlay,
    Uplink,
    device_name,
    namespace,
)
from sdn.compile.guests import guests_by_chassis, second_chassis
from sdn.compile.interfaces import interface_of
from sdn.model import Chassis, Model, Network, Physnet, Port
from sdn.pipeline.answer import answered
from sdn.pipeline.classify import LEARNED_LIMIT
from sdn.pipeline.layout import Table


def host_specs(model: Model, ready: Container[str], awaited: Container[str] = ()) -> dict[str, HostSpec]:
    """What every chassis that is ours to build must have, by name; `ready` are the ports whose flows are confirmed,
    `awaited` those whose flows are confirmed where their guest arrives. The model is one of `located`."""
    return Specs().update(model, ready, awaited)


class Specs:
    """`host_specs` as the model changes: what is as before is the very object of before, and seen so at a glance.

    A node is made again when its ports or their readiness are others, all of them when what they share is.
    """

    def __init__(self) -> None:
        self._shared: object = None
        self._ports: dict[str, tuple[Port, bool]] = {}
        """What the nodes were made of; `bool` is the readiness."""
        self._nodes: dict[str, Node] = {}
        self._specs: dict[str, HostSpec] = {}

    def update(self, model: Model, ready: Container[str], awaited: Container[str] = ()) -> dict[str, HostSpec]:
        """`host_specs(model, ready, awaited)`."""
        # the MAC of a vtep that somebody else runs is not ours to know: the switch asks for it by ARP
        ours = [chassis for chassis in model.chassis.values() if chassis.ours]
        neighbours = {chassis.name: (chassis.vtep.ip, chassis.mac) for chassis in ours}
        tunnels = _tunnels(model)
        bridged = _Networks(model)
        nodes = self._nodes_by_chassis(model, ready)
        guests = guests_by_chassis(model, ready, awaited)
        made = {
            chassis.name: HostSpec(
                lab=model.lab,
                chassis=chassis.name,
                namespace=namespace(model.lab, chassis.name),
                datapath_id=chassis.id,
                underlay=Underlay(
                    chassis.vtep,
                    chassis.mac,
                    model.underlay.mtu,
                    tuple(neighbour for name, neighbour in neighbours.items() if name != chassis.name),
                ),
                tunnels=tunnels if chassis.has_tables else (),
                uplinks=_uplinks(model, chassis),
                nodes=tuple(nodes[chassis.name]),
                flow_limits=((Table.LEARNED.value, LEARNED_LIMIT),) if chassis.has_tables else (),
                switch="ovs" if chassis.has_tables else "linux",
                networks=() if chassis.has_tables else bridged.of(chassis),
                guests=tuple(guests[chassis.name]),
            )
            for chassis in ours
        }
        self._specs = {name: _same(spec, self._specs.get(name)) for name, spec in made.items()}
        return dict(self._specs)

    def _nodes_by_chassis(self, model: Model, ready: Container[str]) -> dict[str, list[Node]]:
        others = self._others(model, ready)
        known, self._nodes = self._nodes, {}
        found: dict[str, list[Node]] = defaultdict(list)
        for node in model.nodes.values():
            if node.name in model.guests:
                continue
            made = known.get(node.name)
            if made is None or others is None or node.name in others:
                made = _same(_node(model, ready, node.name), made)
            self._nodes[node.name] = made
            found[node.chassis].append(made)
        return found

    def _others(self, model: Model, ready: Container[str]) -> set[str] | None:
        """Nodes whose ports have changed since the last time; None for all."""
        shared = model.lab, model.networks, [(chassis.name, chassis.has_tables) for chassis in model.chassis.values()]
        before, self._shared = self._shared, shared
        known, self._ports = self._ports, {name: (port, name in ready) for name, port in model.ports.items()}
        if before != shared:
            return None
        pairs = [(known.get(name), now) for name, now in self._ports.items() if known.get(name) != now]
        gone = [known[name] for name in known.keys() - self._ports.keys()]
        return {each[0].node for each in (*gone, *chain.from_iterable(pairs)) if each is not None}


T = TypeVar("T")


def _same(new: T, old: T | None) -> T:
    """The old object where the new one is equal."""
    return old if old == new and old is not None else new


def _node(model: Model, ready: Container[str], node: str) -> Node:
    interfaces = model.interfaces_of.get(node, ())
    return Node(node, namespace(model.lab, node), tuple(interface_of(model, ready, ports) for ports in interfaces))


def _tunnels(model: Model) -> tuple[Tunnel, ...]:
    used = {network.segment.kind for network in model.networks.values()}
    kinds: tuple[TunnelKind, ...] = get_args(TunnelKind)
    return tuple(Tunnel(kind, kind, TUNNEL_OFPORT[kind]) for kind in kinds if kind in used)


def _uplinks(model: Model, chassis: Chassis) -> tuple[Uplink, ...]:
    addresses = dict(chassis.addresses)
    return tuple(
        replace(
            uplink(physnet),
            address=addresses.get(physnet.name),
            gateway=physnet.gateway if physnet.name in addresses else None,
        )
        for physnet in model.physnets.values()
        if physnet.name in chassis.physnets
    )


def uplink(physnet: Physnet) -> Uplink:
    """Into a physical network, as any chassis has it."""
    return Uplink(
        physnet.name,
        device_name("up-", physnet.name),
        physnet.ofport,
        physnet.mtu,
        physnet_bridge(physnet.name),
        physnet.interface,
        physnet.moves_addresses,
    )


def physnet_bridge(physnet: str) -> str:
    """The Linux bridge in the lab's namespace that stands for a physical network."""
    return device_name("phy-", physnet)


class _Networks:
    """Networks as chassis without flow tables need them. Each network's ports are gone through once for all of them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._peers: dict[str, dict[str, list[Peer]]] = {}

    def of(self, chassis: Chassis) -> tuple[Bridged, ...]:
        """Those that have a port there, or await or keep one, by name."""
        model = self._model
        present = {name for name, ports in model.ports_of.items() if any(p.chassis == chassis.name for p in ports)}
        moving = {node.name for node in model.nodes.values() if second_chassis(node) == chassis.name}
        present |= {port.network for port in model.ports.values() if port.node in moving} if moving else set()
        return tuple(self._network(chassis, model.networks[name]) for name in sorted(present))

    def _network(self, chassis: Chassis, network: Network) -> Bridged:
        segment, forward = network.segment, network.forward
        gateway = Gateway(forward.gateway, forward.mode, forward.physnet) if forward else None
        made = Bridged(network.name, network.mtu, floods_unknown=network.unknown_unicast == "flood", gateway=gateway)
        beyond = {name: peers for name, peers in self._by_chassis(network).items() if name != chassis.name}
        if not segment.tunnelled:
            peers = tuple(peer for peers in beyond.values() for peer in peers)
            return replace(made, physnet=segment.physnet, vlan_id=segment.id, peers=peers)
        return replace(
            made,
            tunnel=cast(TunnelKind, segment.kind),
            tunnel_id=segment.id,
            vteps=tuple(sorted(self._model.chassis[name].vtep.ip for name in beyond)),
            peers=tuple(peer for peers in beyond.values() for peer in peers),
        )

    def _by_chassis(self, network: Network) -> dict[str, list[Peer]]:
        found = self._peers.get(network.name)
        if found is None:
            found = self._peers[network.name] = {}
            for port in self._model.ports_of[network.name]:
                found.setdefault(port.chassis, []).extend(_peers(self._model, port))
        return found


def _peers(model: Model, port: Port) -> Iterable[Peer]:
    """The port itself and the virtual MACs that it holds, for which nobody answers."""
    vtep = model.chassis[port.chassis].vtep.ip
    yield Peer(port.mac, vtep, tuple(answered(port)))
    for mac in dict.fromkeys(allowed.mac for allowed in port.allowed if allowed.mac not in (None, port.mac)):
        assert mac is not None
        yield Peer(mac, vtep, ())
