"""Table output: the packet leaves, through a port, a tunnel or an uplink, or to everyone in its network.

Example: `outport=vxlan` goes to the VXLAN tunnel port with the tunnel id and vtep that forward has set;
`outport=flood` goes to every local port and, unless it came from one, once to each other chassis of the network.
What came from a tunnel never goes back to one: every chassis reaches every other by itself (split horizon).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from datapath.openflow.flow import Action, Flow, Output, PopVlan, PushVlan, SetField, match
from datapath.openflow.oxm import VLAN_PRESENT
from sdn.model import Network, Port
from sdn.pipeline.fields import FLAGS, FLOOD, FROM_TUNNEL, FROM_UPLINK, NETWORK, OUTPORT, TUNNEL, UPLINK
from sdn.pipeline.forward import tunnel_id
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View


def chassis_flows(view: View) -> Iterator[Flow]:
    for ofport in TUNNEL.values():
        yield Flow(Table.OUTPUT, 60, match(reg2=ofport, reg3=(FROM_TUNNEL, FROM_TUNNEL)))
        yield Flow(Table.OUTPUT, 50, match(reg2=ofport), (Output(ofport),))
    yield Flow(Table.OUTPUT, 0, match())


def network_flows(view: View, network: Network) -> Iterator[Flow]:
    here = _to_local_ports(view, network)
    beyond = _to_other_chassis(view, network)
    came_from = FROM_TUNNEL if network.segment.tunnelled else FROM_UPLINK
    yield Flow(Table.OUTPUT, 50, match(reg0=network.id, reg2=FLOOD, reg3=0), here + beyond)
    yield Flow(Table.OUTPUT, 50, match(reg0=network.id, reg2=FLOOD, reg3=came_from), here)
    if not network.segment.tunnelled and beyond:
        yield Flow(Table.OUTPUT, 50, match(reg0=network.id, reg2=UPLINK), beyond)


def local_port_flows(view: View, port: Port, network: Network) -> Iterator[Flow]:
    output = Output(view.ofport(port))
    actions = (output,) if port.tag is None else (*_tag(port.tag), output)
    yield Flow(Table.OUTPUT, 50, match(reg2=port.id), actions)


def _tag(vlan_id: int) -> tuple[Action, ...]:
    return PushVlan(), SetField("vlan_vid", VLAN_PRESENT | vlan_id)


def _to_local_ports(view: View, network: Network) -> tuple[Action, ...]:
    """A flat list: untagged ports, then those of trunks, each tag put on once."""
    ports = sorted(view.local_ports(network), key=lambda port: (port.tag or 0, port.id))
    actions: list[Action] = []
    for tag, group in groupby(ports, key=lambda port: port.tag):
        outputs = [Output(view.ofport(port)) for port in group]
        actions += outputs if tag is None else [*_tag(tag), *outputs, PopVlan()]
    return tuple(actions)


def _to_other_chassis(view: View, network: Network) -> tuple[Action, ...]:
    """Head-end replication to just the chassis that have the network, or one copy into the physical network."""
    segment = network.segment
    if segment.kind in TUNNEL:
        tunnel = Output(TUNNEL[segment.kind])
        others = sorted(view.remote_chassis(network), key=lambda chassis: not chassis.masks_flow_id)
        actions: list[Action] = []
        for _, alike in groupby(others, key=lambda chassis: chassis.masks_flow_id):
            for first, chassis in enumerate(alike):
                actions += tunnel_id(segment, chassis) if not first else ()
                actions += (SetField("tun_dst", int(chassis.vtep.ip)), tunnel)
        return tuple(actions)
    uplink = view.uplink(network)
    if uplink is None:
        return ()
    return (Output(uplink),) if segment.kind == "flat" else (*_tag(segment.id), Output(uplink))


assert (NETWORK, OUTPORT, FLAGS) == ("reg0", "reg2", "reg3")  # keyword arguments of `match` above spell them out
