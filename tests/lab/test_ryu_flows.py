"""Ryu's `ofctl_rest`: flows of a real Open vSwitch, changed by the examples of its documentation."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from sdn.pipeline.fields import COOKIE_MARK
from tests.lab.ofctl_rest import (
    ADD_A_METER,
    ADD_GOTO,
    ADD_METADATA,
    ADD_METER,
    ADD_OUTPUT,
    Curl,
    flows,
    others,
    ovs,
    shell,
    switch,
    traced,
)
from tests.lab.ovs import Ovs

pytestmark = pytest.mark.lab
__all__ = ["ovs", "shell", "switch"]

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
