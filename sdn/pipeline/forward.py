"""Table forward: destination MAC → the port it leaves by, or the tunnel and the vtep behind which that port is.

Example: a frame for web3's MAC in network web gets `tun_id=10010, tun_dst=172.31.0.3, outport=vxlan`.
Broadcast and multicast get `outport=flood`; unknown unicast is dropped, or asks table `learned` and is flooded where
that does not know it either (networks with an uplink, and where `unknown_unicast: flood` says so).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from datapath.openflow.flow import Action, Flow, Multipath, Resubmit, SetField, match
from sdn.model import Chassis, Network, Port, Segment
from sdn.pipeline.fields import FLOOD, NETWORK, OUTPORT, TAG_ETHERTYPES, TUNNEL, UPLINK
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View

GROUP_BIT = (1 << 40, 1 << 40)  # IEEE 802: the I/G bit of a destination says multicast or broadcast
NX_HASH_FIELDS_ETH_SRC = 0


def chassis_flows(view: View) -> Iterator[Flow]:
    """Unknown unicast of networks that do not flood it; what nobody has learned stays as it is.

    Doubly tagged frames from an uplink, which no guard has seen, end here.
    """
    for tag in TAG_ETHERTYPES:
        yield Flow(Table.FORWARD, 200, match(eth_type=tag))
    yield Flow(Table.FORWARD, 0, match())
    yield Flow(Table.LEARNED, 0, match())


def network_flows(view: View, network: Network) -> Iterator[Flow]:
    yield Flow(
        Table.FORWARD, 40, match(reg0=network.id, eth_dst=GROUP_BIT), (SetField(OUTPORT, FLOOD),), Table.INGRESS_RULES
    )
    if network.unknown_unicast == "flood":
        unknown = (SetField(OUTPORT, FLOOD), Resubmit(Table.LEARNED))
        yield Flow(Table.FORWARD, 10, match(reg0=network.id), unknown, Table.INGRESS_RULES)
    for mac, ports in view.virtual_macs(network).items():
        yield Flow(
            Table.FORWARD, 30, match(reg0=network.id, eth_dst=mac), _to_any(view, network, ports), Table.INGRESS_RULES
        )


def local_port_flows(view: View, port: Port, network: Network) -> Iterator[Flow]:
    yield _known(port, network, _to_local(port))


def remote_port_flows(port: Port, network: Network, chassis: Chassis) -> Iterator[Flow]:
    """The same on every chassis but the port's own, which is why the compiler makes them once for all."""
    yield _known(port, network, _to_remote(port, network, chassis))


def _known(port: Port, network: Network, actions: tuple[Action, ...]) -> Flow:
    return Flow(Table.FORWARD, 50, match(reg0=network.id, eth_dst=port.mac), actions, Table.INGRESS_RULES)


def _to_local(port: Port) -> tuple[Action, ...]:
    return (SetField(OUTPORT, port.id),)


def _to_remote(port: Port, network: Network, chassis: Chassis) -> tuple[Action, ...]:
    if not network.segment.tunnelled:
        return (SetField(OUTPORT, UPLINK),)
    return (
        *tunnel_id(network.segment, chassis, port.mac),
        SetField("tun_dst", int(chassis.vtep.ip)),
        SetField(OUTPORT, TUNNEL[network.segment.kind]),  # type: ignore[index]
    )


def _to_any(view: View, network: Network, ports: list[Port]) -> tuple[Action, ...]:
    """A MAC that one port holds goes there; one that several share (VRRP) goes to everyone, as a hub would."""
    if len(ports) > 1:
        return (SetField(OUTPORT, FLOOD),)
    port = ports[0]
    return _to_local(port) if view.is_local(port) else _to_remote(port, network, view.model.chassis[port.chassis])


def tunnel_id(segment: Segment, to: Chassis, destination: int = 0) -> tuple[Action, ...]:
    """Set the VNI; for NVGRE the VSID and a FlowID (RFC 7637 section 3.2: the key's low 8 bits, to spread ECMP), or a
    FlowID of zero where the other end compares the whole key.

    The FlowID hashes the inner source MAC in the switch, with the destination MAC (known here) as the hash's basis.
    Both MACs are matched exactly on the way here anyhow, so that the datapath's megaflows get no finer by it.
    """
    if segment.kind != "nvgre":
        return (SetField("tun_id", segment.id),)
    if not to.masks_flow_id:
        return (SetField("tun_id", segment.id << 8),)
    basis = zlib.crc32(destination.to_bytes(6, "big")) & 0xFFFF if destination else 0
    return SetField("tun_id", segment.id << 8), Multipath(NX_HASH_FIELDS_ETH_SRC, basis, 256, "tun_id", 0, 8)


assert NETWORK == "reg0"  # keyword arguments of `match` above spell it out
