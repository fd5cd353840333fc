"""Table reply: sends an answer back to the port that asked.

Example: the ARP reply that `answer` made from web1's request gets `outport=web1:eth0` and goes to output.
It is a table of its own because Open vSwitch lets an action set `nd_tll` only where the *match* has said that the
packet is a neighbour advertisement, which it is only after `answer` has changed its type.
"""

from __future__ import annotations

from collections.abc import Iterator

from datapath.openflow.flow import Flow, Load, Move, match
from datapath.openflow.packet import ADVERTISEMENT, ICMPV6, IPV6
from sdn.pipeline.fields import INPORT, OUTPORT
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View

# OpenFlow 1.4 section 4.5: a packet is not sent out of the port it came in by, unless in_port says another one
_TURN_ROUND = (Load("nxm_in_port", 0, 16, 0), Move(INPORT, OUTPORT, 32))


def chassis_flows(view: View) -> Iterator[Flow]:
    yield Flow(
        Table.REPLY,
        50,
        match(eth_type=IPV6, ip_proto=ICMPV6, icmpv6_type=ADVERTISEMENT),
        (Move("eth_src", "nd_tll", 48), *_TURN_ROUND),
        goto=Table.OUTPUT,
    )
    yield Flow(Table.REPLY, 0, match(), _TURN_ROUND, goto=Table.OUTPUT)
