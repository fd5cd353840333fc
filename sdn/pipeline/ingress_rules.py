"""Table ingress_rules: security rules on what a port receives. There are none yet: everything passes on."""

from __future__ import annotations

from collections.abc import Iterator

from datapath.openflow.flow import Flow, match
from sdn.pipeline.layout import Table
from sdn.pipeline.view import View


def chassis_flows(view: View) -> Iterator[Flow]:
    yield Flow(Table.INGRESS_RULES, 0, match(), goto=Table.OUTPUT)
