"""Ryu's `ofctl_rest` in a lab: the user's flows beside ours, and neither in the way of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from datapath.spec import INTEGRATION_BRIDGE
from sdn.names import names
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.ofctl_rest import Curl, Switches, served

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
"""

ANOTHER_NODE = TOPOLOGY + "  c: {network: web, chassis: hv1}\n"


@contextmanager
def shell_of(lab: Lab) -> Iterator[Curl]:
    chassis = lab.model.chassis.values()
    sockets = {host.id: lab.chassis_dir(host.name) / f"{INTEGRATION_BRIDGE}.mgmt" for host in chassis}
    of = {host.id: host.name for host in chassis}
    with served(Switches(sockets), about=lambda dpid, cookie: names(lab.model, of[dpid]).cookie(cookie)) as shell:
        yield shell


def post(path: str, **body: Any) -> str:
    return f"curl -X POST -d '{json.dumps(body)}' http://localhost:8080/stats/{path}"


def keys(lab: Lab, mark: int) -> set[Any]:
    return {
        (name, stats.flow.key, stats.flow.cookie)
        for name in lab.model.chassis
        for stats in lab.flows(name)
        if stats.flow.cookie >> 48 == mark
    }


def test_a_lab_and_its_users_flows_live_side_by_side(lab: Labs) -> None:
    running = lab(TOPOLOGY)
    dpid, inport = running.model.chassis["hv1"].id, running.port("a").ofport
    ours = keys(running, COOKIE_MARK)
    with shell_of(running) as shell:
        stop = {"dpid": dpid, "priority": 60000, "cookie": 7, "match": {"in_port": inport}}
        assert shell(post("flowentry/add", **stop)) == (200, None)
        running.settle()
        running.ping("a", "b", expect="fail")

        assert not running.up(TOPOLOGY).changed
        users = keys(running, USER_MARK)
        assert len(users) == 1, "a look at everything leaves it"
        running.apply(ANOTHER_NODE)
        assert keys(running, USER_MARK) == users, "and so does a change"
        running.apply(TOPOLOGY)
        assert keys(running, COOKIE_MARK) == ours

        _, answer = shell(f"curl -X GET http://localhost:8080/stats/flow/{dpid}")
        assert [flow["priority"] for flow in answer[str(dpid)] if flow["cookie"] == 7] == [60000]
        assert len(answer[str(dpid)]) == len(running.flows("hv1"))

        assert shell(post("flowentry/delete", dpid=dpid, table_id="ALL")) == (200, None)
        assert keys(running, USER_MARK) == set()
        assert shell(post("flowentry/add", **stop)) == (200, None)
        for command in ("modify", "modify_strict", "delete", "delete_strict"):
            for table in range(0, 64, 8):
                assert shell(post(f"flowentry/{command}", dpid=dpid, table_id=table, cookie=0))[0] == 200
        assert shell(f"curl -X DELETE http://localhost:8080/stats/flowentry/clear/{dpid}") == (200, None)
        assert keys(running, USER_MARK) == set()
        assert keys(running, COOKIE_MARK) == ours
        running.settle()
        assert running.mesh() == []


def test_a_flow_of_the_labs_is_not_replaced_and_says_why_it_is_there(lab: Labs) -> None:
    running = lab(TOPOLOGY)
    dpid, ours = running.model.chassis["hv1"].id, keys(running, COOKIE_MARK)
    with shell_of(running) as shell:
        _, answer = shell(f"curl -X GET http://localhost:8080/stats/flow/{dpid}")
        refused = 0
        for flow in answer[str(dpid)]:
            if set(flow["match"]) <= {"in_port", "dl_vlan", "dl_dst", "dl_type"}:
                asked = {name: flow[name] for name in ("table_id", "priority", "match")}
                status, problem = shell(post("flowentry/add", dpid=dpid, **asked))
                assert status == 409, flow
                assert "the lab's own, there for" in problem["detail"]
                assert "(lab.yaml:" in problem["detail"]
                refused += 1
    assert refused > 5
    assert keys(running, COOKIE_MARK) == ours
    assert keys(running, USER_MARK) == set()
