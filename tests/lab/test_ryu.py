"""Ryu's `ofctl_rest`: the examples of its documentation by curl against a real Open vSwitch, and in a lab beside ours.

https://ryu.readthedocs.io/en/latest/app/ofctl_rest.html; the commands are as they stand there, up to `localhost:8080`.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import socket
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from datapath.errors import RefusedError, TransientError
from datapath.spec import INTEGRATION_BRIDGE
from sdn.api.ryu import router
from sdn.names import names
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK
from sdn.southbound.plain import Plain, connect
from sdn.southbound.requests import ALL_FLOWS, Request
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.ovs import Ovs, private_ovs, run

pytestmark = pytest.mark.lab

DOCUMENTED = "http://localhost:8080"
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Switches:
    """By management socket; a session for each request."""

    sockets: Mapping[int, Path]

    def dpids(self) -> list[int]:
        return sorted(self.sockets)

    @asynccontextmanager
    async def connect(self, dpid: int) -> AsyncIterator[Plain]:
        async with connect(self.sockets[dpid], name=f"switch {dpid}") as session:
            yield session


Curl = Callable[[str], tuple[int, Any]]
"""Runs a command of the documentation; returns the HTTP status and the answer (None where it is empty)."""


@contextmanager
def served(switches: Switches, **options: Any) -> Iterator[Curl]:
    app = FastAPI()
    app.include_router(router(switches, **options), prefix="/stats")
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield lambda command: curl(command, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def curl(command: str, where: str) -> tuple[int, Any]:
    words = shlex.split(command.replace(DOCUMENTED, where).removeprefix("$ "))
    assert words[0] == "curl"
    words[1:1] = ["--silent", "--show-error", "--max-time", str(ANSWER_SECONDS), "--write-out", "\n%{http_code}"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


# ── a switch of our own: 1, with ports 1 and 2 ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovs]:
    with private_ovs(tmp_path_factory.mktemp("ovs")) as started:
        started.add_bridge("s1", settings=["other_config:datapath-id=0000000000000001"])
        for number in (1, 2):
            name = f"s1-eth{number}"
            started.vsctl(
                "add-port", "s1", name, "--", "set", "interface", name, "type=internal", f"ofport_request={number}"
            )
            run("ip", "-n", started.ns, "link", "set", name, "up")
        yield started


@pytest.fixture(scope="module")
def shell(ovs: Ovs) -> Iterator[Curl]:
    with served(Switches({1: ovs.management("s1")})) as found:
        yield found


@pytest.fixture
def switch(ovs: Ovs) -> Ovs:
    """Without flows, groups and meters, but for one that is not the user's."""
    ovs.ofctl("del-flows", "s1")
    ovs.ofctl("del-groups", "s1")
    ovs.ofctl("del-meters", "s1")
    ovs.ofctl("add-flow", "s1", f"table=9,priority=9,cookie={COOKIE_MARK << 48 | 2 << 40 | 16:#x},ip,actions=drop")
    return ovs


def flows(ovs: Ovs) -> list[str]:
    """The user's, as ovs-ofctl prints them, without counters; the cookie without its mark."""
    dump = ovs.ofctl("dump-flows", "s1", "--no-stats")
    found = re.findall(rf"cookie=0x{USER_MARK:x}(\w{{12}}),? (.*)", dump)
    return sorted(f"{int(cookie, 16)} {rest}" for cookie, rest in found)


def others(ovs: Ovs) -> int:
    return len(re.findall(rf"cookie=0x{COOKIE_MARK:x}", ovs.ofctl("dump-flows", "s1")))


def traced(ovs: Ovs, packet: str) -> str:
    """What the switch would do with a packet: the datapath actions, by names of ports."""
    return ovs.appctl("ofproto/trace", "--names", "s1", packet).rpartition("Datapath actions: ")[2].strip()


# ── retrieve the switch stats ─────────────────────────────────────────────────────────────────────────────────────────

FLOW = {
    "length", "table_id", "duration_sec", "duration_nsec", "priority", "idle_timeout", "hard_timeout", "flags",
    "cookie", "packet_count", "byte_count", "match", "actions",
}  # fmt: skip
PORT = {
    "port_no", "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped", "tx_dropped", "rx_errors", "tx_errors",
    "rx_frame_err", "rx_over_err", "rx_crc_err", "collisions", "duration_sec", "duration_nsec",
}  # fmt: skip
PORT_DESCRIPTION = {
    "port_no", "hw_addr", "name", "config", "state", "curr", "advertised", "supported", "peer", "curr_speed",
    "max_speed",
}  # fmt: skip
GROUP = {
    "length", "group_id", "ref_count", "packet_count", "byte_count", "duration_sec", "duration_nsec", "bucket_stats",
}  # fmt: skip
METER = {
    "meter_id", "len", "flow_count", "packet_in_count", "byte_in_count", "duration_sec", "duration_nsec", "band_stats",
}  # fmt: skip
TABLE_FEATURES = {"metadata_write", "config", "table_id", "metadata_match", "max_entries", "properties", "name"}
GETS = {
    "flow/1": FLOW,
    "aggregateflow/1": {"packet_count", "byte_count", "flow_count"},
    "table/1": {"active_count", "table_id", "lookup_count", "matched_count"},
    "tablefeatures/1": TABLE_FEATURES,
    "port/1": PORT,
    "portdesc/1": PORT_DESCRIPTION,
    "queueconfig/1/1": {"port", "queues"},
    "group/1": GROUP,
    "groupdesc/1": {"type", "group_id", "buckets"},
    "groupfeatures/1": {"types", "capabilities", "max_groups", "actions"},
    "meter/1": METER,
    "meterconfig/1": {"flags", "meter_id", "bands"},
    "meterfeatures/1": {"max_meter", "band_types", "capabilities", "max_bands", "max_color"},
}
"""What the documentation shows of OpenFlow 1.3 for each."""


def test_switches(shell: Curl) -> None:
    assert shell("$ curl -X GET http://localhost:8080/stats/switches") == (200, [1])


def test_description(shell: Curl) -> None:
    status, answer = shell("$ curl -X GET http://localhost:8080/stats/desc/1")
    assert status == 200
    assert answer["1"].keys() == {"mfr_desc", "hw_desc", "sw_desc", "serial_num", "dp_desc"}
    assert (answer["1"]["mfr_desc"], answer["1"]["hw_desc"]) == ("Nicira, Inc.", "Open vSwitch")


@pytest.mark.parametrize("path", GETS)
def test_attributes_are_the_documented_ones(switch: Ovs, shell: Curl, path: str) -> None:
    switch.ofctl("add-group", "s1", "group_id=1,type=all,bucket=output:1")
    switch.ofctl("add-meter", "s1", "meter=1,kbps,band=type=drop,rate=1000")
    status, answer = shell(f"$ curl -X GET http://localhost:8080/stats/{path}")
    assert status == 200
    assert answer["1"]
    for item in answer["1"]:
        assert item.keys() == GETS[path]


def test_one_of_several(switch: Ovs, shell: Curl) -> None:
    for number in (1, 2):
        switch.ofctl("add-group", "s1", f"group_id={number},type=all,bucket=output:{number}")
        switch.ofctl("add-meter", "s1", f"meter={number},kbps,band=type=drop,rate=1000")
    for path, key in (
        ("port/1/2", "port_no"), ("portdesc/1/2", "port_no"), ("queueconfig/1/2", "port"), ("group/1/2", "group_id"),
        ("groupdesc/1/2", "group_id"), ("meter/1/2", "meter_id"), ("meterconfig/1/2", "meter_id"),
    ):  # fmt: skip
        status, answer = shell(f"$ curl -X GET http://localhost:8080/stats/{path}")
        assert (path, status, [item[key] for item in answer["1"]]) == (path, 200, [2])
    _, every = shell("$ curl -X GET http://localhost:8080/stats/port/1/ALL")
    assert {port["port_no"] for port in every["1"]} == {1, 2, "LOCAL"}


def test_queues(switch: Ovs, shell: Curl) -> None:
    """They are made in the database of Open vSwitch, as every lab does it."""
    switch.vsctl(
        "set", "port", "s1-eth1", "qos=@qos", "--", "--id=@qos", "create", "qos", "type=linux-htb", "queues:1=@one",
        "--", "--id=@one", "create", "queue", "other-config:min-rate=8000000",
    )  # fmt: skip
    try:
        status, answer = shell("$ curl -X GET http://localhost:8080/stats/queue/1")
        assert status == 200
        (queue,) = [queue for queue in answer["1"] if queue["queue_id"] == 1]
        assert queue.keys() == {
            "port_no", "queue_id", "tx_bytes", "tx_packets", "tx_errors", "duration_sec", "duration_nsec",
        }  # fmt: skip
        _, chosen = shell("$ curl -X GET http://localhost:8080/stats/queue/1/ALL/1")
        assert [(queue["port_no"], queue["queue_id"]) for queue in chosen["1"]] == [(1, 1)]
        _, configured = shell("$ curl -X GET http://localhost:8080/stats/queueconfig/1/1")
        (found,) = [queue for queue in configured["1"][0]["queues"] if queue["queue_id"] == 1]
        assert found.keys() == {"properties", "port", "queue_id"}
        assert {rate["property"] for rate in found["properties"]} <= {"MIN_RATE", "MAX_RATE"}
        _, described = shell("$ curl -X GET http://localhost:8080/stats/queuedesc/1/1/1")
        assert [(queue["port_no"], queue["queue_id"]) for queue in described["1"]] == [(1, 1)]
        assert {rate["type"] for rate in described["1"][0]["properties"]} <= {"MIN_RATE", "MAX_RATE"}
    finally:
        switch.vsctl(
            "clear", "port", "s1-eth1", "qos", "--", "--all", "destroy", "qos", "--", "--all", "destroy", "queue"
        )


FLOWS_FILTERED = """$ curl -X POST -d '{
     "table_id": 0,
     "out_port": 2,
     "cookie": 1,
     "cookie_mask": 1,
     "match":{
         "in_port":1
     }
 }' http://localhost:8080/stats/flow/1"""


def test_flows_filtered(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_OUTPUT) == (200, None)
    switch.ofctl("add-flow", "s1", f"cookie={COOKIE_MARK << 48 | 1:#x},priority=3,in_port=1,actions=output:2")
    for command in (ADD_GOTO, ADD_METADATA):
        assert shell(command) == (200, None)
    status, answer = shell(FLOWS_FILTERED)
    assert status == 200
    (flow,) = answer["1"]
    assert flow["match"] == {"in_port": 1}
    assert flow["actions"] == ["OUTPUT:2"]
    assert (flow["cookie"], flow["priority"], flow["idle_timeout"], flow["flags"]) == (1, 11111, 30, 1)
    _, summed = shell(FLOWS_FILTERED.replace("/flow/", "/aggregateflow/"))
    assert summed == {"1": [{"packet_count": 0, "byte_count": 0, "flow_count": 1}]}


# ── update the switch stats: flows ────────────────────────────────────────────────────────────────────────────────────

ADD_OUTPUT = """$ curl -X POST -d '{
    "dpid": 1,
    "cookie": 1,
    "cookie_mask": 1,
    "table_id": 0,
    "idle_timeout": 30,
    "hard_timeout": 30,
    "priority": 11111,
    "flags": 1,
    "match":{
        "in_port":1
    },
    "actions":[
        {
            "type":"OUTPUT",
            "port": 2
        }
    ]
 }' http://localhost:8080/stats/flowentry/add"""


def simple(priority: int, action: str) -> str:
    return f"""$ curl -X POST -d '{{
    "dpid": 1,
    "priority": {priority},
    "match":{{
        "in_port":1
    }},
    "actions":[
        {{
            {action}
        }}
    ]
 }}' http://localhost:8080/stats/flowentry/add"""


ADD_GOTO = simple(22222, '"type":"GOTO_TABLE",\n            "table_id": 1')
ADD_METADATA = simple(33333, '"type":"WRITE_METADATA",\n            "metadata": 1,\n            "metadata_mask": 1')
ADD_METER = simple(44444, '"type":"METER",\n            "meter_id": 1')
TIMES = "idle_timeout=30, hard_timeout=30, send_flow_rem "


def test_add(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_OUTPUT) == (200, None)
    assert flows(switch) == [f"1 {TIMES}priority=11111,in_port=1 actions=output:2"]
    assert traced(switch, "in_port=1") == "s1-eth2"
    assert shell(ADD_GOTO) == (200, None)
    assert traced(switch, "in_port=1") == "drop", "table 1 has no flows"
    assert shell(ADD_METADATA) == (200, None)
    assert shell(ADD_METER)[0] == 400, "there is no meter yet"
    assert shell(ADD_A_METER) == (200, None)
    assert shell(ADD_METER) == (200, None)
    done = {flow.partition("actions=")[2] for flow in flows(switch)}
    assert done == {"meter:1", "goto_table:1", "write_metadata:0x1/0x1", "output:2"}


def later(action: str) -> str:
    """The same with 1.4's instructions, which the documentation shows too."""
    return ADD_OUTPUT.replace(
        ADD_OUTPUT[ADD_OUTPUT.index('"actions"') : ADD_OUTPUT.index(" }'")], f'"instructions": [{action}]\n'
    )


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        ('{"type": "APPLY_ACTIONS", "actions": [{"max_len": 65535, "port": 2, "type": "OUTPUT"}]}', "output:2"),
        ('{"type": "GOTO_TABLE", "table_id": 1}', "goto_table:1"),
        ('{"type": "WRITE_METADATA", "metadata": 1, "metadata_mask": 1}', "write_metadata:0x1/0x1"),
    ],
)
def test_add_as_for_openflow_1_4(switch: Ovs, shell: Curl, action: str, shown: str) -> None:
    assert shell(later(action)) == (200, None)
    assert [flow.partition("actions=")[2] for flow in flows(switch)] == [shown]


def test_modify_and_delete(switch: Ovs, shell: Curl) -> None:
    """The example changes nothing, as it asks for what is there; so it is also run with another port."""
    for command in ("modify", "modify_strict"):
        assert shell(ADD_OUTPUT.replace("/add", f"/{command}")) == (200, None)
        assert flows(switch) == [], "there is nothing to modify, and nothing is added"
    assert shell(ADD_OUTPUT) == (200, None)
    for command, port in (("modify", "LOCAL"), ("modify_strict", "CONTROLLER")):
        assert shell(ADD_OUTPUT.replace("/add", f"/{command}")) == (200, None)
        assert flows(switch) == [f"1 {TIMES}priority=11111,in_port=1 actions=output:2"]
        asked = ADD_OUTPUT.replace("/add", f"/{command}").replace('"port": 2', f'"port": "{port}"')
        assert shell(asked) == (200, None)
        assert f"actions={port}" in "".join(flows(switch))
    for command in ("delete", "delete_strict"):
        assert shell(ADD_OUTPUT) == (200, None)
        assert shell(ADD_OUTPUT.replace("/add", f"/{command}")) == (200, None)
        assert flows(switch) == []
    assert others(switch) == 1


def test_strict_and_loose(switch: Ovs, shell: Curl) -> None:
    for command in (ADD_OUTPUT, ADD_GOTO, ADD_METADATA):
        assert shell(command) == (200, None)
    assert shell(ADD_GOTO.replace("/add", "/delete_strict")) == (200, None)
    assert len(flows(switch)) == 2
    assert shell(ADD_OUTPUT.replace("/add", "/delete")) == (200, None), "it names cookie 1"
    assert [flow.split()[0] for flow in flows(switch)] == ["0"]
    assert shell(ADD_GOTO.replace("/add", "/delete")) == (200, None)
    assert flows(switch) == []
    assert others(switch) == 1


def test_clear(switch: Ovs, shell: Curl) -> None:
    switch.ofctl("add-flow", "s1", "table=7,cookie=0x77,actions=drop")
    assert shell(ADD_OUTPUT) == (200, None)
    assert shell(
        ADD_GOTO.replace('"priority"', '"table_id": 5, "priority"').replace('"table_id": 1', '"table_id": 6')
    ) == (
        200,
        None,
    )
    assert len(flows(switch)) == 2
    assert shell("$ curl -X DELETE http://localhost:8080/stats/flowentry/clear/1") == (200, None)
    assert flows(switch) == []
    assert others(switch) == 1
    assert "cookie=0x77" in switch.ofctl("dump-flows", "s1"), "by ovs-ofctl; it is not the REST user's"


def vlan(value: str) -> str:
    return f"""$ curl -X POST -d '{{
    "dpid": 1,
    "match":{{
        "dl_vlan": {value}
    }},
    "actions":[
        {{
            "type":"OUTPUT",
            "port": 1
        }}
    ]
 }}' http://localhost:8080/stats/flowentry/add"""


@pytest.mark.parametrize(
    ("value", "matching"),
    [
        ("5", "dl_vlan=5"),
        ('"0x0000"   # Describe OFPVID_NONE(0x0000)', "vlan_tci=0x0000/0x1fff"),
        ('"0x1000/0x1000"   # Describe OFPVID_PRESENT(0x1000/0x1000)', "vlan_tci=0x1000/0x1000"),
        ('"0x1005"   # Describe sum of VLAN-ID(e.g. 5) | OFPVID_PRESENT(0x1000)', "dl_vlan=5"),
    ],
)
def test_vlan_id(switch: Ovs, shell: Curl, value: str, matching: str) -> None:
    """With the comments that the documentation has in them."""
    assert shell(vlan(value)) == (200, None)
    (flow,) = flows(switch)
    assert matching in flow
    outcomes = {tag: traced(switch, f"in_port=2,{tag}") != "drop" for tag in ("vlan_tci=0", "dl_vlan=5", "dl_vlan=6")}
    assert outcomes == {
        "vlan_tci=0": "0x0000" in value,
        "dl_vlan=5": "0x0000" not in value,
        "dl_vlan=6": "0x1000/" in value,
    }


SET_FIELD = """$ curl -X POST -d '{
    "dpid": 1,
    "match":{
        "dl_type": "0x8000"
    },
    "actions":[
        {
            "type": "PUSH_VLAN",     # Push a new VLAN tag if a input frame is non-VLAN-tagged
            "ethertype": 33024       # Ethertype 0x8100(=33024): IEEE 802.1Q VLAN-tagged frame
        },
        {
            "type": "SET_FIELD",
            "field": "vlan_vid",     # Set VLAN ID
            "value": 4102            # Describe sum of vlan_id(e.g. 6) | OFPVID_PRESENT(0x1000=4096)
        },
        {
            "type": "OUTPUT",
            "port": 2
        }
    ]
 }' http://localhost:8080/stats/flowentry/add"""


def test_set_field(switch: Ovs, shell: Curl) -> None:
    assert shell(SET_FIELD) == (200, None)
    assert traced(switch, "in_port=1,dl_type=0x8000") == "push_vlan(vid=6,pcp=0),s1-eth2"


def test_a_flow_of_others_is_not_replaced(switch: Ovs, shell: Curl) -> None:
    status, answer = shell(
        """$ curl -X POST -d '{"dpid": 1, "table_id": 9, "priority": 9, "match": {"dl_type": 2048}}'
        http://localhost:8080/stats/flowentry/add"""
    )
    assert status == 409
    assert "the lab's own, there for network 16" in answer["detail"]
    assert others(switch) == 1
    assert flows(switch) == []


# ── groups, ports, meters, messages ───────────────────────────────────────────────────────────────────────────────────

ADD_GROUP = """$ curl -X POST -d '{
    "dpid": 1,
    "type": "ALL",
    "group_id": 1,
    "buckets": [
        {
            "actions": [
                {
                    "type": "OUTPUT",
                    "port": 1
                }
            ]
        }
    ]
 }' http://localhost:8080/stats/groupentry/add"""
DELETE_GROUP = """$ curl -X POST -d '{
    "dpid": 1,
    "group_id": 1
 }' http://localhost:8080/stats/groupentry/delete"""


def test_groups(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_GROUP) == (200, None)
    _, described = shell("$ curl -X GET http://localhost:8080/stats/groupdesc/1")
    bucket = {"weight": 0, "watch_port": 4294967295, "watch_group": 4294967295, "actions": ["OUTPUT:1"]}
    assert described == {"1": [{"type": "ALL", "group_id": 1, "buckets": [bucket]}]}
    assert shell(simple(7, '"type":"GROUP", "group_id": 1').replace('"in_port":1', '"in_port":2')) == (200, None)
    assert traced(switch, "in_port=2") == "s1-eth1"
    assert shell(ADD_GROUP.replace("/add", "/modify").replace('"port": 1', '"port": "LOCAL"')) == (200, None)
    assert "actions=LOCAL" in switch.ofctl("dump-groups", "s1")
    assert shell(ADD_GROUP.replace("/add", "/modify")) == (200, None)
    assert shell(DELETE_GROUP) == (200, None)
    assert "group_id" not in switch.ofctl("dump-groups", "s1")
    assert flows(switch) == [], "a group takes its flows along (OpenFlow 1.3 section 6.7)"


def test_a_group_that_is_there_already(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_GROUP) == (200, None)
    status, answer = shell(ADD_GROUP)
    assert status == 400
    assert "OFPGMFC_GROUP_EXISTS" in answer["detail"]


MODIFY_PORT = """$ curl -X POST -d '{
    "dpid": 1,
    "port_no": 1,
    "config": 1,
    "mask": 1
    }' http://localhost:8080/stats/portdesc/modify"""


def test_port(switch: Ovs, shell: Curl) -> None:
    def config() -> int:
        _, answer = shell("$ curl -X GET http://localhost:8080/stats/portdesc/1/1")
        found: int = answer["1"][0]["config"]
        return found

    assert config() == 0
    assert shell(MODIFY_PORT) == (200, None)
    assert config() == 1
    assert "state DOWN" in run("ip", "-n", switch.ns, "link", "show", "s1-eth1")
    assert shell(MODIFY_PORT.replace('"config": 1', '"config": 0')) == (200, None)
    assert config() == 0


ADD_A_METER = """$ curl -X POST -d '{
    "dpid": 1,
    "flags": "KBPS",
    "meter_id": 1,
    "bands": [
        {
            "type": "DROP",
            "rate": 1000
        }
    ]
 }' http://localhost:8080/stats/meterentry/add"""
DELETE_METER = """$ curl -X POST -d '{
    "dpid": 1,
    "meter_id": 1
 }' http://localhost:8080/stats/meterentry/delete"""


def test_meters(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_A_METER) == (200, None)
    _, answer = shell("$ curl -X GET http://localhost:8080/stats/meterconfig/1")
    band = {"type": "DROP", "rate": 1000, "burst_size": 1000}  # Open vSwitch makes it the rate, where 0 was asked
    assert answer == {"1": [{"flags": ["KBPS"], "meter_id": 1, "bands": [band]}]}
    assert shell("$ curl -X GET http://localhost:8080/stats/meterdesc/1/1") == (200, answer)
    assert shell(ADD_A_METER.replace("/add", "/modify").replace("1000", "2000")) == (200, None)
    assert "rate=2000" in switch.ofctl("dump-meters", "s1")
    assert shell(DELETE_METER) == (200, None)
    assert "meter=1" not in switch.ofctl("dump-meters", "s1")


def test_experimenter(shell: Curl) -> None:
    """Ryu sends it and says 200; here the switch's own answer counts, and Open vSwitch knows no experimenter 1."""
    status, answer = shell(
        """$ curl -X POST -d '{
    "dpid": 1,
    "experimenter": 1,
    "exp_type": 1,
    "data_type": "ascii",
    "data": "data"
    }' http://localhost:8080/stats/experimenter/1"""
    )
    assert status == 400
    assert "OFPBRC_BAD_EXPERIMENTER" in answer["detail"]


def test_learn_is_refused(switch: Ovs, shell: Curl) -> None:
    """By it a user's flow would remove ours, if it learns with our cookie and NX_LEARN_F_DELETE_LEARNED."""
    before = flows(switch)
    ours = COOKIE_MARK << 48 | 4 << 40 | 16
    learn = struct.pack("!HHHHQHBxHH4x", 16, 0, 0, 50, ours, 2, 0, 0, 0)  # nx_action_learn behind its experimenter
    action = {"type": "EXPERIMENTER", "experimenter": 0x2320, "data_type": "base64"}
    body = {"dpid": 1, "actions": [{**action, "data": base64.b64encode(learn).decode()}]}
    status, answer = shell(f"curl -X POST -d '{json.dumps(body)}' http://localhost:8080/stats/flowentry/add")
    assert status == 400
    assert "could change flows that are not the user's" in answer["detail"]
    assert flows(switch) == before


def test_role(shell: Curl) -> None:
    assert shell("""$ curl -X POST -d '{"dpid": 1, "role": "EQUAL"}' http://localhost:8080/stats/role""") == (200, None)
    status, answer = shell("$ curl -X GET http://localhost:8080/stats/role/1")
    assert (status, answer["1"][0]["role"]) == (200, "EQUAL")


def test_a_switch_that_is_away(tmp_path: Path) -> None:
    with served(Switches({1: tmp_path / "nobody"})) as shell:
        status, answer = shell("$ curl -X GET http://localhost:8080/stats/desc/1")
    assert status == 503
    assert "nobody listens" in answer["detail"]


async def test_a_session_speaks_1_3_and_nothing_else(ovs: Ovs) -> None:
    async with connect(ovs.management("s1")) as session:
        assert session.version == 4
        with pytest.raises(RefusedError, match="OFPBRC_BAD_TYPE"):
            await session.tell(Request("Nonsense", 35))
        await session.tell(Request("SetConfig", 9, bytes(4)))
        assert len(await session.question(ALL_FLOWS)) == 1
    ovs.vsctl("set", "bridge", "s1", "protocols=OpenFlow14")
    try:
        with pytest.raises(TransientError, match=r"1\.3|refused"):
            async with connect(ovs.management("s1")):
                pass
    finally:
        ovs.vsctl("set", "bridge", "s1", "protocols=OpenFlow13,OpenFlow14")


# ── in a lab, beside ours ─────────────────────────────────────────────────────────────────────────────────────────────

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
