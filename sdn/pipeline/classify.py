"""Table classify: which network does the packet belong to, and through which port did it come?

Example: an untagged frame from a node on ofport 2471 gets `network=web, inport=web1:eth0` and goes to spoof_guard.
A frame out of the VXLAN tunnel port with VNI 10010 gets `network=web, flags=from_tunnel` and goes straight to forward:
its sender was checked on the chassis where it entered. Tagged frames on an access port match nothing and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from datapath.openflow.flow import Action, Flow, Learn, LearnLoad, LearnMatch, Match, PopVlan, SetField, match
from datapath.openflow.oxm import VLAN_PRESENT
from sdn.model import Network, Port, Segment
from sdn.pipeline.fields import (
    FLAGS,
    FROM_TUNNEL,
    FROM_UPLINK,
    INPORT,
    NETWORK,
    OUTPORT,
    TUNNEL,
    UPLINK,
    Cookie,
    Kind,
)
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View

UNTAGGED = 0
LEARNED_IDLE_TIMEOUT = 300  # seconds, as IEEE 802.1D recommends for filtering databases
LEARNED_LIMIT = 4096
"""MACs beyond the uplinks that a chassis knows. Who forges more only makes it forget those longest unheard of."""


def chassis_flows(view: View) -> Iterator[Flow]:
    """What no port, tunnel or uplink claims is dropped."""
    yield Flow(Table.CLASSIFY, 0, match())


def network_flows(view: View, network: Network) -> Iterator[Flow]:
    """Packets of the network that come from beyond this chassis."""
    if network.segment.kind in TUNNEL:
        yield _from_tunnel(network)
    elif (uplink := view.uplink(network)) is not None:
        yield _from_uplink(network, uplink)


def local_port_flows(view: View, port: Port, network: Network) -> Iterator[Flow]:
    """Packets from the port, by its tag on a trunk."""
    tagged = port.tag is not None
    untag: tuple[Action, ...] = (PopVlan(),) if tagged else ()
    yield Flow(
        Table.CLASSIFY,
        50,
        match(in_port=view.ofport(port), vlan_vid=VLAN_PRESENT | (port.tag or 0) if tagged else UNTAGGED),
        (*untag, SetField(NETWORK, network.id), SetField(INPORT, port.id)),
        goto=Table.SPOOF_GUARD,
    )


def _from_tunnel(network: Network) -> Flow:
    return Flow(
        Table.CLASSIFY,
        50,
        _tunnel_match(network.segment),
        (SetField(NETWORK, network.id), SetField(FLAGS, FROM_TUNNEL)),
        goto=Table.FORWARD,
    )


def _tunnel_match(segment: Segment) -> Match:
    """Frames with an inner tag match nothing (RFC 7637 section 3.3 MUST, RFC 7348 section 6.1 SHOULD drop them)."""
    if segment.kind == "nvgre":  # RFC 7637 section 3.2: key = VSID << 8 | FlowID, and the FlowID may be anything
        key = (segment.id << 8, 0xFFFFFFFF_FFFFFF00)
        return match(in_port=TUNNEL["nvgre"], tun_id=key, vlan_vid=UNTAGGED)
    return match(in_port=TUNNEL[segment.kind], tun_id=segment.id, vlan_vid=UNTAGGED)  # type: ignore[index]


def _from_uplink(network: Network, uplink: int) -> Flow:
    """Beyond an uplink are machines that the model does not know: their MACs are learned by the switch itself."""
    vlan = network.segment.kind == "vlan"
    untag: tuple[Action, ...] = (PopVlan(),) if vlan else ()
    learn = Learn(
        Table.LEARNED,
        50,
        Cookie(Kind.LEARNED, network.id).pack(),
        LEARNED_IDLE_TIMEOUT,
        0,
        (LearnMatch(NETWORK, NETWORK, 32), LearnMatch("eth_dst", "eth_src", 48), LearnLoad(OUTPORT, UPLINK, 32)),
    )
    return Flow(
        Table.CLASSIFY,
        50,
        match(in_port=uplink, vlan_vid=VLAN_PRESENT | network.segment.id if vlan else UNTAGGED),
        (*untag, SetField(NETWORK, network.id), SetField(FLAGS, FROM_UPLINK), learn),
        goto=Table.FORWARD,
    )
