"""Model → HostSpec of each chassis. PURE: no I/O, the same output for the same input, in the same order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from typing import get_args

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


def host_specs(model: Model, ready: Container[str]) -> dict[str, HostSpec]:
    """What every chassis that is ours to build must have, by name; `ready` are the ports whose flows are confirmed."""
    interfaces: dict[str, dict[str, list[Interface]]] = defaultdict(lambda: defaultdict(list))
    for ports in _by_interface(model.ports.values()):
        interfaces[ports[0].chassis][ports[0].node].append(_interface(model, ready, ports))
    # the MAC of a vtep that somebody else runs is not ours to know: the switch asks for it by ARP
    neighbours = tuple((c.vtep.ip, c.mac) for c in model.chassis.values() if c.datapath != "external")
    tunnels = _tunnels(model)
    return {
        chassis.name: HostSpec(
            lab=model.lab,
            chassis=chassis.name,
            namespace=namespace(model.lab, chassis.name),
            datapath_id=chassis.id,
            underlay=Underlay(
                chassis.vtep,
                chassis.mac,
                model.underlay.mtu,
                tuple(neighbour for neighbour in neighbours if neighbour[0] != chassis.vtep.ip),
            ),
            tunnels=tunnels,
            uplinks=_uplinks(model, chassis),
            nodes=_nodes(model, chassis, interfaces[chassis.name]),
        )
        for chassis in model.chassis.values()
        if chassis.datapath != "external"
    }


def _by_interface(ports: Iterable[Port]) -> Iterable[list[Port]]:
    """Ports that share a node's interface, the untagged one first."""
    found: dict[tuple[str, str], list[Port]] = defaultdict(list)
    for port in ports:
        found[port.node, port.interface].append(port)
    for together in found.values():
        together.sort(key=lambda port: port.tag or 0)
    return found.values()


def _nodes(model: Model, chassis: Chassis, interfaces: dict[str, list[Interface]]) -> tuple[Node, ...]:
    return tuple(
        Node(node.name, namespace(model.lab, node.name), tuple(interfaces.get(node.name, ())))
        for node in model.nodes.values()
        if node.chassis == chassis.name
    )


def _interface(model: Model, ready: Container[str], ports: Sequence[Port]) -> Interface:
    first = ports[0]
    mtu = _mtu(model, ports)
    return Interface(
        node=first.node,
        name=first.interface,
        bridge_port=device_name("p", first.node, first.interface),
        ofport=first.ofport,
        mac=first.mac,
        mtu=mtu,
        addresses=first.addresses if first.tag is None else (),
        vlans=tuple(
            Vlan(port.tag, min(model.networks[port.network].mtu, mtu), port.addresses)
            for port in ports
            if port.tag is not None
        ),
        ready=all(port.name in ready for port in ports),
    )


def _mtu(model: Model, ports: Sequence[Port]) -> int:
    """The untagged network's MTU; a trunk without one takes the largest of its tagged ones (a tag is not in it)."""
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
