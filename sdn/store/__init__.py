"""The store: a lab's intent and facts in an OVSDB database, the only bus between its processes.

Enters: a Model to write, facts to report. Leaves: Model and Facts, at once or as they change. Never: a decision.
"""

from __future__ import annotations

import datapath.ovsdb  # noqa: F401  # before `ovs`: keeps eventlet out
from sdn.store.change import Edit, Since, Written
from sdn.store.client import Store
from sdn.store.serve import Server, running_server, start_server
from sdn.store.update import Changed, Update

__all__ = [
    "Changed",
    "Edit",
    "Server",
    "Since",
    "Store",
    "Update",
    "Written",
    "running_server",
    "start_server",
]
