"""Resources: created, changed, removed and listed as HTTP has it, by the file's own checks, and nothing is lost."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdn.api.caller import Caller, Role
from sdn.model.facts import FlowFacts, HostFacts
from tests.unit.api.lab import Api, api, socket

__all__ = ["socket"]


async def test_lists_have_pages_and_filters(socket: Path) -> None:
    """In the order of names, whatever that of the file."""
    async with api(socket) as client:
        first = (await client.get("/v1/ports?limit=2")).json()
        assert [each["name"] for each in first["items"]] == ["fw:eth0", "fw:eth0.20"]
        assert first["revision"] == 1
        second = (await client.get(first["next"])).json()
        assert [each["name"] for each in second["items"]] == ["web1:eth0", "web2:eth0"]
        assert second["next"] is None
        for query, names in {
            "node=fw": ["fw:eth0", "fw:eth0.20"],
            "network=db": ["fw:eth0.20"],
            "chassis=hv2": ["web2:eth0"],
            "chassis=hv2&chassis=hv1&network=db": ["fw:eth0.20"],
            "name=web*": ["web1:eth0", "web2:eth0"],
            "up=true": [],
        }.items():
            found = (await client.get(f"/v1/ports?{query}")).json()
            assert [each["name"] for each in found["items"]] == names, query
        wrong = await client.get("/v1/ports?colour=red")
        assert (wrong.status_code, wrong.json()["type"]) == (400, "urn:sdn:problem:malformed")


async def test_pages_go_on_while_others_write(socket: Path) -> None:
    """Who comes and goes meanwhile is in the list or not; who stays is there once."""
    async with api(socket) as client:
        for number in range(10):
            await client.post("/v1/nodes", json={"name": f"n{number}", "network": "db"})
        page = (await client.get("/v1/nodes?limit=4")).json()
        seen = [each["name"] for each in page["items"]]
        await client.delete("/v1/nodes/web1")
        await client.delete("/v1/nodes/n7")
        await client.post("/v1/nodes", json={"name": "late", "network": "db"})
        while page["next"]:
            page = (await client.get(page["next"])).json()
            seen += [each["name"] for each in page["items"]]
        stayed = {"web2", "fw", *(f"n{number}" for number in range(10) if number != 7)}
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen) <= stayed | {"web1", "n7", "late"}
        await client.delete("/v1/nodes/n3")
        for after, names in {"n3": ["n4", "n5"], "n": ["n0", "n1"], "web10": [], "٣": []}.items():
            page = (await client.get("/v1/nodes", params={"after": after, "limit": 2})).json()
            assert [each["name"] for each in page["items"]] == names, after
        assert (await client.get("/v1/nodes", params={"after": "n" * 513})).status_code == 400


async def test_creates_can_be_repeated(socket: Path) -> None:
    async with api(socket) as client:
        wanted = {"name": "x", "network": "db", "chassis": "hv1"}
        made = await client.post("/v1/nodes", json=wanted)
        assert (made.status_code, made.headers["location"], made.headers["sdn-revision"]) == (201, "/v1/nodes/x", "2")
        again = await client.post("/v1/nodes", json=wanted)
        assert (again.status_code, again.headers["sdn-revision"]) == (200, "2")
        read = (await client.get("/v1/nodes/x")).json()
        assert (await client.post("/v1/nodes", json=read)).status_code == 200, "what was read can be sent"
        other = await client.post("/v1/nodes", json=wanted | {"network": "web"})
        assert (other.status_code, other.json()["type"]) == (409, "urn:sdn:problem:conflict")
        only = await client.put("/v1/nodes/x", json={"network": "web"}, headers={"If-None-Match": "*"})
        assert only.status_code == 412


async def test_if_match_is_about_the_resource(socket: Path) -> None:
    """Somebody's change of another object does not make an ETag stale; one of this object does."""
    async with api(socket) as client:
        tag = (await client.get("/v1/nodes/web1")).headers["etag"]
        await client.post("/v1/nodes", json={"name": "x", "network": "db"})
        fine = await client.patch("/v1/nodes/web1", json={"ip": "10.0.0.97"}, headers={"If-Match": tag})
        assert fine.status_code == 200
        stale = await client.patch("/v1/nodes/web1", json={"ip": "10.0.0.98"}, headers={"If-Match": tag})
        assert (stale.status_code, stale.json()["type"]) == (412, "urn:sdn:problem:stale")
        port = await client.delete("/v1/ports/web1:eth0", headers={"If-Match": tag})
        assert port.status_code == 412, "a port is in its node's entry"
        there = await client.put("/v1/nodes/none", json={"network": "web"}, headers={"If-Match": "*"})
        assert there.status_code == 412
        assert (await client.patch("/v1/nodes/web1", json={}, headers={"If-Match": "x"})).status_code == 400
        planned = await client.patch("/v1/nodes/web1?dry_run=true", json={"mac": None}, headers={"If-Match": tag})
        assert planned.status_code == 412, "what would not be done is not planned"
        future = await client.patch("/v1/nodes/web1", json={}, headers={"If-Match": '"999"'})
        assert future.status_code == 412


class TestPatch:
    async def test_null_is_left_to_sdn(self, socket: Path) -> None:
        """Which keeps what is there, as for a file that says less than the one before."""
        async with api(socket) as client:
            before = (await client.get("/v1/ports/web2:eth0")).json()
            assert before["ip"] == ["10.0.0.22", "fd00::7a2"]
            after = (await client.patch("/v1/ports/web2:eth0", json={"ip": None, "mac": None})).json()
            assert (after["ip"], after["mac"]) == (before["ip"], before["mac"])
            assert (await client.patch("/v1/ports/web2:eth0", json={"network": None})).status_code == 422

    async def test_another_network_brings_another_address(self, socket: Path) -> None:
        async with api(socket) as client:
            after = (await client.patch("/v1/ports/web2:eth0", json={"network": "db"})).json()
            assert (after["network"], after["ip"][0][:5]) == ("db", "10.1.")
            told = (await client.patch("/v1/nodes/web1", json={"network": "db", "ip": "10.1.0.7"})).json()
            assert told["ports"][0]["ip"] == ["10.1.0.7"]

    async def test_a_node_with_one_interface_has_its_words(self, socket: Path) -> None:
        async with api(socket) as client:
            before = (await client.get("/v1/nodes/web2")).json()["ports"][0]
            after = (await client.patch("/v1/nodes/web2", json={"spoof_guard": False, "ip": "10.0.0.9"})).json()
            assert after["ports"] == [before | {"spoof_guard": False, "ip": ["10.0.0.9", "fd00::7a2"]}]
            moved = (await client.patch("/v1/nodes/web2", json={"network": "db"})).json()["ports"][0]
            assert (moved["network"], moved["mac"], moved["spoof_guard"]) == ("db", before["mac"], False)
            await client.post("/v1/ports", json={"name": "web2:eth1", "network": "web"})
            beside = await client.patch("/v1/nodes/web2", json={"network": "web"})
            assert beside.status_code == 422, "which of them is meant?"

    async def test_other_subnets_rehome_their_ports(self, socket: Path) -> None:
        async with api(socket) as client:
            macs = {p["name"]: p["mac"] for p in (await client.get("/v1/ports")).json()["items"]}
            done = await client.patch("/v1/networks/web", json={"subnets": ["10.7.0.0/24"]})
            assert done.status_code == 200, done.text
            ports = (await client.get("/v1/ports")).json()["items"]
            assert {p["name"]: p["mac"] for p in ports} == macs
            assert all(p["ip"][0].startswith("10.7.") for p in ports if p["network"] == "web")

    async def test_another_segment(self, socket: Path) -> None:
        async with api(socket) as client:
            found = (await client.patch("/v1/networks/db", json={"segment": {"geneve": 77}})).json()
            assert found["segment"] == {"geneve": 77}
            wrong = await client.patch("/v1/networks/db", json={"segment": {"vxlan": 10}})
            assert wrong.status_code == 422
            assert wrong.json()["errors"][0]["pointer"] == "/networks/db/segment/vxlan"

    async def test_a_test_of_another_kind(self, socket: Path) -> None:
        async with api(socket) as client:
            found = (await client.patch("/v1/tests/all", json={"tcp": 80, "expect": "denied"})).json()
            assert (found["tcp"], found["expect"], "ping" in found) == (80, "denied", False)

    async def test_nothing_is_changed_by_nothing(self, socket: Path) -> None:
        async with api(socket) as client:
            for path in ("nodes/fw", "ports/fw:eth0.20", "networks/web", "chassis/hv1", "tests/all"):
                same = await client.patch(f"/v1/{path}", json={})
                assert (same.status_code, same.headers["sdn-revision"]) == (200, "1"), path
                assert same.headers["sdn-changed"] == "false"
            other = await client.patch("/v1/networks/db", json={"mtu": 1300})
            assert other.headers["sdn-changed"] == "true"
            assert (await client.patch("/v1/nodes/none", json={})).status_code == 404


async def test_trunks(socket: Path) -> None:
    """Ports of one interface share its MAC; the last one cannot go."""
    async with api(socket) as client:
        made = await client.post("/v1/ports", json={"name": "web1:eth0.30", "network": "db"})
        assert made.status_code == 201, made.text
        assert made.json()["mac"] == (await client.get("/v1/ports/web1:eth0")).json()["mac"]
        assert (await client.get("/v1/nodes/web1")).json()["ports"][0]["trunk"].keys() == {"native", "30"}
        assert (await client.delete("/v1/ports/web1:eth0")).status_code == 204
        assert (await client.get("/v1/nodes/web1")).json()["ports"][0]["trunk"].keys() == {"30"}
        last = await client.delete("/v1/ports/web1:eth0.30")
        assert (last.status_code, last.json()["type"]) == (409, "urn:sdn:problem:conflict")


async def test_what_others_need_stays(socket: Path) -> None:
    async with api(socket) as client:
        for path in ("networks/web", "chassis/hv1", "nodes/web1"):
            kept = await client.delete(f"/v1/{path}")
            assert (kept.status_code, kept.json()["type"]) == (409, "urn:sdn:problem:conflict"), kept.text
            assert (await client.get(f"/v1/{path}")).status_code == 200
        assert (await client.delete("/v1/nodes/none")).status_code == 404


async def test_who_needs_it_is_named(socket: Path) -> None:
    """All of them, and no other name that might be meant."""
    async with api(socket) as client:
        await client.post("/v1/nodes", json={"name": "two", "ports": [{"network": "web"}, {"network": "web"}]})
        found = (await client.delete("/v1/networks/web")).json()
        assert found["detail"] == "network 'web' is needed by node fw, node two, node web1 and node web2"
        assert found["errors"][2] == {
            "pointer": "/nodes/two/ports/1/network",
            "message": "node two needs network 'web'",
        }
        assert len(found["errors"]) == 5
        assert (await client.delete("/v1/networks/web?dry_run=true")).json() == found
        planned = (await client.delete("/v1/nodes/web1")).json()
        assert planned["detail"] == "node 'web1' is needed by test all"
        for number in range(20):
            await client.post("/v1/nodes", json={"name": f"n{number}", "network": "db", "chassis": "hv1"})
        many = (await client.delete("/v1/chassis/hv1")).json()
        assert many["detail"].startswith("chassis 'hv1' is needed by node fw, node n0, ")
        assert many["detail"].endswith(" more")
        assert {each["pointer"] for each in many["errors"]} >= {f"/nodes/n{number}/chassis" for number in range(20)}
        last = await client.delete("/v1/ports/web1:eth0")
        assert "is the only port of 'web1'" in last.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "nodes", {"network": "web"}, 422, "the node has no name"),
        ("POST", "nodes", {"name": "n[1-3]", "network": "web"}, 422, "is a range"),
        ("POST", "nodes", {"name": "hv1", "network": "web"}, 422, "'hv1' is the name of a chassis too"),
        ("POST", "nodes", {"name": "Ä", "network": "web"}, 422, ""),
        ("POST", "nodes", [], 422, "no JSON object"),
        ("PUT", "nodes/x", {"name": "y", "network": "web"}, 422, "cannot be renamed"),
        ("PUT", "nodes/x", {"network": "wbe"}, 422, "did you mean 'web'"),
        ("PUT", "ports/x", {"network": "web"}, 422, "is no name of a port"),
        ("PUT", "ports/none:eth0", {"network": "web"}, 422, "there is no node 'none'"),
        ("PUT", "ports/web1:eth1", {"network": "web", "node": "web2"}, 422, "the name web1:eth1 says"),
        ("PUT", "networks/n", {"segment": {"vxlan": 10}}, 422, "is the segment of 'web' too"),
    ],
)
async def test_mistakes(socket: Path, method: str, path: str, body: Any, status: int, said: str) -> None:
    async with api(socket) as client:
        answer = await client.request(method, f"/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert said in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/v1/nodes")).headers["sdn-revision"] == "1", "nothing was written"


async def test_a_body_that_is_no_json(socket: Path) -> None:
    async with api(socket) as client:
        answer = await client.post("/v1/nodes", content=b"{")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:sdn:problem:malformed")


async def test_clients_of_other_machines_have_no_files_here(socket: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("ssh-ed25519 AAAA x\n")
    (tmp_path / "disk.raw").write_bytes(b"")
    async with api(socket) as client:
        far = client.by(Caller("eve", Role.OPERATE))
        for more in (
            {"image": str(tmp_path / "disk.raw")},
            {"kernel": {"image": str(tmp_path / "disk.raw")}},
            {"image": str(tmp_path / "disk.raw"), "cloud": {"ssh_keys": [str(tmp_path / "secret")]}},
        ):
            answer = await far.post("/v1/guests", json={"name": "g", "network": "web", **more})
            assert answer.status_code == 422
            assert "is not in the pool" in answer.text


async def test_the_history_says_who_and_how(socket: Path) -> None:
    async with api(socket) as client:
        await client.by(Caller("alice", Role.OPERATE)).patch("/v1/ports/web1:eth0", json={"ip": "10.0.0.50"})
        revision = (await client.get("/v1/revisions/2")).json()
        assert (revision["author"], revision["origin"]) == ("alice", "PATCH /v1/ports/web1:eth0")


class TestWait:
    async def test_applied(self, socket: Path) -> None:
        async with api(socket) as client:
            asking = asyncio.create_task(client.post("/v1/nodes?wait=applied", json={"name": "x", "network": "web"}))
            await client.until(2)
            assert not asking.done()
            await asyncio.to_thread(client.confirm, 2)
            answer = await asyncio.wait_for(asking, 5)
            assert answer.status_code == 201
            assert answer.json()["applied"]["revision"] == 2
            assert 0 < answer.json()["applied"]["seconds"] < 5
            assert answer.json()["applied"]["missing"] == []

    async def test_whole_waits_for_the_hosts(self, socket: Path) -> None:
        async with api(socket) as client:
            asking = asyncio.create_task(client.delete("/v1/nodes/fw?wait=whole"))
            await client.until(2)
            await asyncio.to_thread(client.confirm, 2)
            answer = await asyncio.wait_for(asking, 5)
            assert (answer.status_code, answer.json()["name"]) == (200, "fw")

    async def test_not_in_time(self, socket: Path) -> None:
        """It is stored all the same, and the answer says what is missing."""
        async with api(socket) as client:
            answer = await client.put("/v1/nodes/x?wait=applied&timeout=0.1", json={"network": "web"})
            assert answer.status_code == 202
            assert "hv1: the switch is not connected" in answer.json()["applied"]["missing"][0]
            assert (await client.get("/v1/nodes/x")).status_code == 200
            gone = await client.delete("/v1/nodes/x?wait=applied&timeout=0.1")
            assert gone.status_code == 202

    async def test_what_was_refused_is_told(self, socket: Path) -> None:
        """A switch or a host that cannot do it says so, and nobody waits for it: that is no success."""
        async with api(socket) as client:
            asking = asyncio.create_task(client.post("/v1/nodes?wait=applied", json={"name": "x", "network": "web"}))
            await client.until(2)
            await asyncio.to_thread(client.confirm, 2)
            assert (await asking).json()["applied"]["missing"] == []
            full, broken = FlowFacts(True, 3, 9, "the table is full"), HostFacts(3, "netdev", ("no veth",))
            fine = FlowFacts(True, 3, 9), HostFacts(3, "netdev")
            for wait, missing in (("applied", ["hv1: the table is full"]), ("whole", ["hv1: no veth"])):
                report = partial(
                    client.live.store.report,
                    flows={"hv1": full if wait == "applied" else fine[0], "hv2": fine[0]},
                    hosts={"hv1": broken, "hv2": fine[1]},
                )
                asking = asyncio.create_task(client.put(f"/v1/nodes/x?wait={wait}", json={"network": "db"}))
                await client.until(3)
                await asyncio.to_thread(report)
                answer = await asyncio.wait_for(asking, 5)
                assert (answer.status_code, answer.json()["applied"]["missing"][:1]) == (202, missing)


WRITES = 200
"""Of each of two writers."""


async def test_two_writers_lose_nothing(socket: Path) -> None:
    """Two processes, each with a road of its own to the store; what one has made the other finds."""
    async with api(socket) as one, api(socket) as other:

        async def write(client: Api, prefix: str) -> None:
            for number in range(WRITES):
                answer = await client.post("/v1/tests", json=_test(f"{prefix}{number}"))
                assert answer.status_code == 201, answer.text

        await asyncio.gather(write(one, "a"), write(other, "b"))
        await one.until(1 + 2 * WRITES)
        names = {each["name"] for each in (await one.get("/v1/tests?limit=5000")).json()["items"]}
        assert names == {"all", *(f"{prefix}{number}" for prefix in "ab" for number in range(WRITES))}


async def test_two_counters_with_if_match(socket: Path) -> None:
    """Each reads, adds one and writes it back only if nobody else did: no addition is lost."""
    async with api(socket) as one, api(socket) as other:
        await one.put("/v1/tests/count", json=_test() | {"within": 1})
        refused = 0

        async def add(client: Api) -> None:
            nonlocal refused
            done = 0
            while done < WRITES:
                read = await client.get("/v1/tests/count")
                value = {"within": read.json()["within"] + 1}
                answer = await client.patch("/v1/tests/count", json=value, headers={"If-Match": read.headers["etag"]})
                assert answer.status_code in (200, 412), answer.text
                done += answer.status_code == 200
                refused += answer.status_code == 412

        await other.until(2)
        await asyncio.gather(add(one), add(other))
        await one.until(2 + 2 * WRITES)
        assert (await one.get("/v1/tests/count")).json()["within"] == 1 + 2 * WRITES
        assert refused, "they were in each other's way"


def _test(name: str = "count") -> dict[str, Any]:
    return {"name": name, "from": ["web1"], "to": ["web2"], "ping": "ok"}


async def test_a_dry_run_changes_nothing(socket: Path) -> None:
    async with api(socket) as client:
        made = await client.post("/v1/nodes?dry_run=true", json={"name": "x", "chassis": "hv1", "network": "web"})
        assert made.status_code == 200
        assert ("hv1", "add", "node x") in [(s["where"], s["verb"], s["what"]) for s in made.json()["steps"]]
        gone = await client.delete("/v1/nodes/fw?dry_run=true")
        assert ("hv1", "remove", "node fw") in [(s["where"], s["verb"], s["what"]) for s in gone.json()["steps"]]
        moved = await client.patch("/v1/nodes/fw?dry_run=true", json={"chassis": "hv2"})
        assert moved.json()["flows"].keys() == {"hv1", "hv2"}
        assert (await client.put("/v1/nodes/y?dry_run=true", json={"network": "wbe"})).status_code == 422
        assert (await client.delete("/v1/networks/web?dry_run=true")).status_code == 409
        assert client.live.revision == 1
