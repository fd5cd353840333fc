"""The store: a lab's intent and facts in an OVSDB database, the only bus between its processes.

Enters: a Model to write, facts to report. Leaves: Model and Facts, at once or as they change. Never: a decision.
"""

from __future__ import annotations

import datapath.ovsdb  # noqa: F401  # before `ovs`: keeps eventlet out
