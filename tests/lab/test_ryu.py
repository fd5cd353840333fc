"""Ryu's `ofctl_rest`: what is read of a real Open vSwitch by the examples of its documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdn.pipeline.fields import COOKIE_MARK
from tests.lab.ofctl_rest import ADD_GOTO, ADD_METADATA, ADD_OUTPUT, Curl, Switches, ovs, served, shell, switch
from tests.lab.ovs import Ovs

pytestmark = pytest.mark.lab
__all__ = ["ovs", "shell", "switch"]

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


def test_a_switch_that_is_away(tmp_path: Path) -> None:
    with served(Switches({1: tmp_path / "nobody"})) as shell:
        status, answer = shell("$ curl -X GET http://localhost:8080/stats/desc/1")
    assert status == 503
    assert "nobody listens" in answer["detail"]
