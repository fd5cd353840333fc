"""The typed client of a lab's API: what the command line uses, and any Python program may.

    from sdn.client import Client

    with Client.of("overlay") as lab:
        port = lab.get("port", "web1:eth0")
        lab.patch("network", "web", {"mtu": 1400}, wait="applied")
        for event in lab.events(kinds=["port.*"]):
            print(event.time, event.message)

Enters: calls. Leaves: typed values, and the errors of `datapath.errors`, as if all were done in this process. Never: a
retry that nobody sees, but for a socket that is just being opened.
"""

from __future__ import annotations

from sdn.client.client import Client
from sdn.client.models import Applied, Chassis, Guest, Network, Node, Physnet, Port, Resource, Test
from sdn.client.told import Event, Plan, Revision, Rollback, Traffic
from sdn.differences import Difference

__all__ = [
    "Applied",
    "Chassis",
    "Client",
    "Difference",
    "Event",
    "Guest",
    "Network",
    "Node",
    "Physnet",
    "Plan",
    "Port",
    "Resource",
    "Revision",
    "Rollback",
    "Test",
    "Traffic",
]
