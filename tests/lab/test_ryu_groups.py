"""Ryu's `ofctl_rest`: groups, ports, meters and messages of a real Open vSwitch, by its documentation's examples."""

from __future__ import annotations

import pytest

from datapath.errors import RefusedError, TransientError
from sdn.southbound.plain import connect
from sdn.southbound.requests import ALL_FLOWS, Request
from tests.lab.ofctl_rest import ADD_A_METER, Curl, flows, ovs, shell, simple, switch, traced
from tests.lab.ovs import Ovs, run

pytestmark = pytest.mark.lab
__all__ = ["ovs", "shell", "switch"]

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


def deletion(kind: str) -> str:
    return f"""$ curl -X POST -d '{{
    "dpid": 1,
    "{kind}_id": 1
 }}' http://localhost:8080/stats/{kind}entry/delete"""


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
    assert shell(deletion("group")) == (200, None)
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


def test_meters(switch: Ovs, shell: Curl) -> None:
    assert shell(ADD_A_METER) == (200, None)
    _, answer = shell("$ curl -X GET http://localhost:8080/stats/meterconfig/1")
    band = {"type": "DROP", "rate": 1000, "burst_size": 1000}  # Open vSwitch makes it the rate, where 0 was asked
    assert answer == {"1": [{"flags": ["KBPS"], "meter_id": 1, "bands": [band]}]}
    assert shell("$ curl -X GET http://localhost:8080/stats/meterdesc/1/1") == (200, answer)
    assert shell(ADD_A_METER.replace("/add", "/modify").replace("1000", "2000")) == (200, None)
    assert "rate=2000" in switch.ofctl("dump-meters", "s1")
    assert shell(deletion("meter")) == (200, None)
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


def test_role(shell: Curl) -> None:
    assert shell("""$ curl -X POST -d '{"dpid": 1, "role": "EQUAL"}' http://localhost:8080/stats/role""") == (200, None)
    status, answer = shell("$ curl -X GET http://localhost:8080/stats/role/1")
    assert (status, answer["1"][0]["role"]) == (200, "EQUAL")


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
