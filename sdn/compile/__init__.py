"""Model → HostSpec of each chassis. PURE: no I/O, the same output for the same input, in the same order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import TypeVar, get_args

from datapath.spec import (
    TUNNEL_OFPORT,
    HostSpec,
    Interface,
    Node,
    Tunnel,
    TunnelKind,
    Underlay,
    Uplink,
    Vlan,
    device_name,
    namespace,
)
from sdn.model import Chassis, Model, Port
from sdn.pipeline.classify import LEARNED_LIMIT
from sdn.pipeline.layout import Table


def host_specs(model: Model, ready: Container[str]) -> dict[str, HostSpec]:
    """What every chassis that is ours to build must have, by name; `ready` are the ports whose flows are confirmed."""
    return Specs().update(model, ready)


class Specs:
    """`host_specs` as the model changes: what is as before is the very object of before, and seen so at a glance.

    A node is made again when its ports, their networks' MTUs or their readiness are others.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[object, Node]] = {}
        self._specs: dict[str, HostSpec] = {}

    def update(self, model: Model, ready: Container[str]) -> dict[str, HostSpec]:
        """`host_specs(model, ready)`."""
        # the MAC of a vtep that somebody else runs is not ours to know: the switch asks for it by ARP
        ours = [chassis for chassis in model.chassis.values() if chassis.datapath != "external"]
        neighbours = {chassis.name: (chassis.vtep.ip, chassis.mac) for chassis in ours}
        tunnels = _tunnels(model)
        nodes = self._nodes_by_chassis(model, ready)
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
                tunnels=tunnels,
                uplinks=_uplinks(model, chassis),
                nodes=tuple(nodes[chassis.name]),
                flow_limits=((Table.LEARNED.value, LEARNED_LIMIT),),
            )
            for chassis in ours
        }
        self._specs = {name: _same(spec, self._specs.get(name)) for name, spec in made.items()}
        return dict(self._specs)

    def _nodes_by_chassis(self, model: Model, ready: Container[str]) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = defaultdict(list)
        known, self._nodes = self._nodes, {}
        for node in model.nodes.values():
            made_of, made = known.get(node.name, (None, None))
            now = _made_of(model, ready, node.name)
            if made is None or made_of != now:
                made = _same(_node(model, ready, node.name), made)
            self._nodes[node.name] = now, made
            found[node.chassis].append(made)
        return found


T = TypeVar("T")


def _same(new: T, old: T | None) -> T:
    """The old object where the new one is equal."""
    return old if old == new and old is not None else new


def _made_of(model: Model, ready: Container[str], node: str) -> object:
    """All that a node depends on; comparing it costs little where the ports are the same objects."""
    ports = [port for interface in model.interfaces_of.get(node, ()) for port in interface]
    return model.lab, [(port, model.networks[port.network].mtu, port.name in ready) for port in ports]


def _node(model: Model, ready: Container[str], node: str) -> Node:
    interfaces = model.interfaces_of.get(node, ())
    return Node(node, namespace(model.lab, node), tuple(_interface(model, ready, ports) for ports in interfaces))


def _interface(model: Model, ready: Container[str], ports: Sequence[Port]) -> Interface:
    first = ports[0]
    return Interface(
        node=first.node,
        name=first.interface,
        bridge_port=device_name("p", first.node, first.interface),
        ofport=first.ofport,
        mac=first.mac,
        mtu=_mtu(model, ports),
        addresses=first.addresses if first.tag is None else (),
        vlans=tuple(
            Vlan(port.tag, model.networks[port.network].mtu, port.addresses) for port in ports if port.tag is not None
        ),
        ready=all(port.name in ready for port in ports),
    )


def _mtu(model: Model, ports: Sequence[Port]) -> int:
    """The untagged network's MTU, which no tagged one exceeds (the topology sees to that); on a trunk without one, the
    largest of the tagged ones. A tag is not counted in it."""
    if ports[0].tag is None:
        return model.networks[ports[0].network].mtu
    return max(model.networks[port.network].mtu for port in ports)


def _tunnels(model: Model) -> tuple[Tunnel, ...]:
    used = {network.segment.kind for network in model.networks.values()}
    kinds: tuple[TunnelKind, ...] = get_args(TunnelKind)
    return tuple(Tunnel(kind, kind, TUNNEL_OFPORT[kind]) for kind in kinds if kind in used)


def _uplinks(model: Model, chassis: Chassis) -> tuple[Uplink, ...]:
    return tuple(
        Uplink(
            physnet.name, device_name("up-", physnet.name), physnet.ofport, physnet.mtu, physnet_bridge(physnet.name)
        )
        for physnet in model.physnets.values()
        if physnet.name in chassis.physnets
    )


def physnet_bridge(physnet: str) -> str:
    """The Linux bridge in the lab's namespace that stands for a physical network."""
    return device_name("phy-", physnet)
