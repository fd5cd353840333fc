"""EDGE: the REST interface of Ryu's `ofctl_rest`, for the scripts that lab users have: its paths, its JSON, its codes.

Enters: requests under /stats; the switches of a lab. Leaves: what a switch says, in Ryu's words; the user's own flows,
groups and meters, on the switch. Never: a change to a flow that does not carry USER_MARK in its cookie: ours are made
from the topology, and stay as they are whatever is modified, deleted or cleared here.

The wire is OpenFlow 1.3, whose JSON (`actions`, port statistics without properties) is what Ryu's documentation shows
first and what scripts written against Mininet with `protocols=OpenFlow13` expect. The conversions are os-ken's, which
is Ryu as OpenStack maintains it; it is loaded with the first request.

    https://ryu.readthedocs.io/en/latest/app/ofctl_rest.html
"""

from __future__ import annotations

from sdn.api.ryu.routes import router
from sdn.api.ryu.switches import Switches

__all__ = ["Switches", "router"]
