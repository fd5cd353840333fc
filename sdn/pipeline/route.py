"""Table route: distributed routers, where the first hop routes. There are none yet: everything passes on."""

from __future__ import annotations

from collections.abc import Iterator

from datapath.openflow.flow import Flow, match
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View


def chassis_flows(view: View) -> Iterator[Flow]:
    yield Flow(Table.ROUTE, 0, match(), goto=Table.FORWARD)
