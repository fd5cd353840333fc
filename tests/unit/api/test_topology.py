"""Whole files over HTTP: read, applied, planned, refused; traces, derived resources, pictures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datapath import probe
from datapath.probe import Outcome
from sdn.api import looks, whole
from sdn.api.caller import Caller, Role
from sdn.topology import parse, written
from tests.unit.api.lab import FILE, Api, api, model, socket, store_at

__all__ = ["socket"]

YAML = {"Content-Type": "application/yaml"}
FAR = Caller("eve", Role.OPERATE)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    with store_at(tmp_path) as path:
        yield path


async def put(client: Api, text: str, query: str = "", **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.put(f"/v1/topology{query}", content=text, headers=YAML | names)


class TestRead:
    async def test_in_yaml_as_one_would_write_it(self, socket: Path) -> None:
        async with api(socket) as client:
            answer = await client.get("/v1/topology")
            assert (answer.headers["content-type"], answer.headers["sdn-revision"]) == ("application/yaml", "1")
            assert "  web2: {chassis: hv2, network: web, ip: [10.0.0.22, " in answer.text
            assert written.document(parse(answer.text, "t")) == written.document(model())

    async def test_in_json_with_nothing_left_open(self, socket: Path) -> None:
        async with api(socket) as client:
            answer = await client.get("/v1/topology", headers={"Accept": "application/json"})
            assert answer.json() == written.document(model())

    async def test_before_the_first_file(self, empty: Path) -> None:
        async with api(empty) as client:
            answer = await client.get("/v1/topology")
            assert (answer.status_code, "no topology has been applied" in answer.text) == (422, True)
            lab = (await client.get("/v1/labs/t")).json()
            assert (lab["revision"], lab["underlay"], lab["counts"]["nodes"]) == (0, None, 0)
            assert "no topology has been applied" in lab["troubles"]

    @pytest.mark.parametrize(
        ("accept", "is_json"),
        [
            ("", False),
            ("*/*", False),
            ("application/json", True),
            ("application/yaml, application/json;q=0.5", False),
            ("application/yaml;q=0.2, application/json;q=0.5", True),
            ("text/html, application/json, */*;q=0.1", True),
            ("application/json;q=x", False),
            ("text/yaml", False),
        ],
    )
    def test_accept(self, accept: str, is_json: bool) -> None:
        assert whole.wants_json(accept) == is_json


class TestApply:
    async def test_the_first_file(self, empty: Path) -> None:
        async with api(empty) as client:
            planned = await put(client, FILE, "?dry_run=true")
            assert "chassis hv1" in {step["what"] for step in planned.json()["steps"]}
            assert client.live.revision == 0
            done = (await put(client, FILE, "?file=t.yaml", If_None_Match="*")).json()
            assert (done["revision"], done["changed"], done["counts"]["ports"]) == (1, True, 4)
            assert done["seconds"] < 1
            assert (await client.get("/v1/nodes/web2")).json()["source"] == "t.yaml:9:3"
            assert (await put(client, FILE, If_None_Match="*")).status_code == 412

    async def test_what_was_read_changes_nothing_but_lines(self, socket: Path) -> None:
        async with api(socket) as client:
            before = client.live.model
            text = (await client.get("/v1/topology")).text
            assert (await put(client, text)).status_code == 200
            assert {n: (p.id, p.ofport, p.mac, p.ips) for n, p in client.live.model.ports.items()} == {
                n: (p.id, p.ofport, p.mac, p.ips) for n, p in before.ports.items()
            }
            again = (await put(client, text)).json()
            assert not again["changed"]
            sections = (await client.get("/v1/topology", headers={"Accept": "application/json"})).json()
            assert not (await client.put("/v1/topology", json=sections)).json()["changed"]

    async def test_numbers_of_a_running_lab_stay(self, socket: Path) -> None:
        async with api(socket) as client:
            await client.patch("/v1/ports/web1:eth0", json={"ip": "10.0.0.77"})
            done = await put(client, FILE.replace("tests:", "  new: {network: db}\ntests:"))
            assert done.status_code == 200, done.text
            assert (await client.get("/v1/ports/web1:eth0")).json()["ip"][0] == "10.0.0.77"

    async def test_mistakes_have_lines(self, socket: Path) -> None:
        async with api(socket) as client:
            wrong = FILE.replace("network: web,", "netwrok: web,").replace("vxlan: 11", "vxlan: 10")
            for answer in (
                await put(client, wrong, "?file=x.yaml"),
                await put(client, wrong, "?file=x.yaml&dry_run=true"),
                await client.post("/v1/plan?file=x.yaml", content=wrong, headers=YAML),
            ):
                assert answer.status_code == 422
                places = [(e["file"], e["line"], e["column"]) for e in answer.json()["errors"]]
                assert ("x.yaml", 9, 24) in places, answer.text
            assert client.live.revision == 1

    async def test_mistakes_in_json_have_pointers(self, socket: Path) -> None:
        async with api(socket) as client:
            sections = written.document(model())
            sections["nodes"]["web1"]["ports"][0]["network"] = "wbe"
            answer = await client.put("/v1/topology", json=sections)
            assert answer.json()["errors"][0]["pointer"] == "/nodes/web1/ports/0/network"
            for body in (b"{", b"[]"):
                answer = await client.put("/v1/topology", content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code in (400, 422)

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"- x", b"name: t", b"a: [", b"\x00"])
    async def test_no_file_at_all(self, socket: Path, body: bytes) -> None:
        async with api(socket) as client:
            answer = await client.put("/v1/topology", content=body, headers=YAML)
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")

    async def test_another_labs(self, socket: Path) -> None:
        async with api(socket) as client:
            answer = await put(client, FILE.replace("name: t", "name: other"))
            assert (answer.status_code, "lab 'other'" in answer.text) == (422, True)

    async def test_if_match_is_about_all_of_it(self, socket: Path) -> None:
        async with api(socket) as client:
            await client.post("/v1/nodes", json={"name": "x", "network": "db"})
            for query in ("", "?dry_run=true"):
                assert (await put(client, FILE, query, If_Match='"1"')).status_code == 412
            assert (await put(client, FILE, If_Match='"2"')).status_code == 200
            assert (await client.get("/v1/nodes/x")).status_code == 404

    async def test_wait(self, socket: Path) -> None:
        async with api(socket) as client:
            text = FILE.replace("vxlan: 11", "vxlan: 12")
            late = await put(client, text, "?wait=applied&timeout=0.05")
            assert (late.status_code, bool(late.json()["applied"]["missing"])) == (202, True)
            await asyncio.to_thread(client.confirm, 2)
            done = await put(client, text, "?wait=whole")
            assert (done.status_code, done.json()["applied"]["missing"]) == (200, [])

    async def test_a_client_of_elsewhere_has_no_files_here(self, socket: Path, tmp_path: Path) -> None:
        (tmp_path / "image.raw").write_bytes(b"")
        text = FILE + f"guests: {{g: {{network: web, image: {tmp_path}/image.raw}}}}\n"
        async with api(socket) as client:
            for answer in (
                await put(client.by(FAR), text, f"?file={tmp_path}/t.yaml"),
                await put(client.by(FAR), text.replace(f"{tmp_path}/", "./"), f"?file={tmp_path}/t.yaml&dry_run=true"),
                await client.by(FAR).put("/v1/topology", json=yaml.safe_load(text)),
            ):
                assert (answer.status_code, "is not in the pool" in answer.text) == (422, True), answer.text


async def test_a_plan_says_what_is_wrong_already(socket: Path) -> None:
    async with api(socket) as client:
        plan = (await client.post("/v1/plan", content=FILE.replace("vxlan: 11", "vxlan: 12"), headers=YAML)).json()
        assert next(step["what"] for step in plan["steps"]) == "network db"
        assert plan["flows"]["hv1"]
        assert "hv1: the switch is not connected to the controller" in plan["troubles"]
        assert client.live.revision == 1


class TestLooks:
    async def test_trace(self, socket: Path) -> None:
        async with api(socket) as client:
            body = {"from": "web1", "to": "web2", "protocol": "tcp/80"}
            found = (await client.post("/v1/trace", json=body)).json()
            assert (found["reached"], found["delivered"]) == (True, ["web2:eth0"])
            first, second = found["hops"]
            assert first["came"] == {"link": "web1:eth0", "kind": "port", "chassis": None, "port": "web1:eth0"}
            assert [each["link"] for each in first["leads"]] == ["hv1--hv2/vxlan"]
            assert (second["came"]["link"], second["came"]["chassis"]) == ("hv1--hv2/vxlan", "hv1")
            links = {each["name"] for each in (await client.get("/v1/links")).json()["items"]}
            assert {place["link"] for hop in found["hops"] for place in (hop["came"], *hop["leads"])} <= links

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"from": "web1"},
            {"from": "web1", "to": 5},
            {"from": "web1", "to": "nowhere"},
            {"from": "web1", "to": "web2", "protocol": "tcp/²"},
            {"from": "web1", "to": "web2", "colour": "red"},
            [],
        ],
    )
    async def test_no_trace(self, socket: Path, body: Any) -> None:
        async with api(socket) as client:
            assert (await client.post("/v1/trace", json=body)).status_code == 422

    async def test_one_run_of_tests_at_a_time(self, socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It does not hold up others."""
        begun, may_end = asyncio.Event(), threading.Event()
        monkeypatch.setattr(probe, "run", _held_up(begun, may_end))
        async with api(socket) as client:
            first = asyncio.create_task(client.post("/v1/test", json={"only": "a*", "matrix": True}))
            await asyncio.wait_for(begun.wait(), 5)
            assert (await client.get("/v1/nodes")).status_code == 200
            second = await client.post("/v1/test")
            assert (second.status_code, second.json()["detail"]) == (409, "tests are running already")
            may_end.set()
            found = (await first).json()
            assert (found["passed"], found["tests"][0]["pairs"]) == (True, 2)
            assert {"from": "web1", "to": "web2", "result": "reaches"} in found["matrix"]
            assert (await client.post("/v1/test", json={"only": "none"})).status_code == 422
            assert (await client.post("/v1/test", content=b"")).status_code == 200

    async def test_pictures(self, socket: Path) -> None:
        async with api(socket) as client:
            picture = await client.get("/v1/graph.svg")
            assert (picture.headers["content-type"], picture.text[:4]) == (looks.SVG, "<svg")
            tag = picture.headers["etag"]
            same = await client.get("/v1/graph.svg", headers={"If-None-Match": f'"x", W/{tag}'})
            assert (same.status_code, same.content) == (304, b"")
            assert (await client.get("/v1/graph.svg?format=dot")).text.startswith('graph "t"')
            assert (await client.get("/v1/graph.svg?format=mermaid")).text.startswith("flowchart")
            assert (await client.get("/v1/graph.svg?format=x")).status_code == 400


def _held_up(begun: asyncio.Event, may_end: threading.Event) -> Any:
    """Probes that succeed once they may."""
    loop = asyncio.get_running_loop()

    def probed(probes: Any, _progress: Any = None) -> list[Outcome]:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(10)
        return [Outcome(each, True, 0.001, 1) for each in probes]

    return probed


class TestDerived:
    async def test_switches(self, socket: Path) -> None:
        async with api(socket) as client:
            await asyncio.to_thread(client.confirm, 1)
            await client.patch("/v1/chassis/hv2", json={"datapath": "linux"})
            items = (await client.get("/v1/switches")).json()["items"]
            assert [each["name"] for each in items] == ["hv1"]
            one = (await client.get("/v1/switches/hv1")).json()
            assert (int(one["dpid_hex"], 16), one["connected"], one["flows"]["revision"]) == (one["dpid"], True, 1)
            assert (one["description"], "nobody listens" in one["error"]) == (None, True)
            assert (await client.get("/v1/switches/hv2")).status_code == 404
            assert (await client.get("/v1/switches?connected=false")).json()["items"] == []

    async def test_links(self, socket: Path) -> None:
        async with api(socket) as client:
            await client.post("/v1/physnets", json={"name": "office"})
            for chassis in ("hv1", "hv2"):
                await client.patch(f"/v1/chassis/{chassis}", json={"physnets": ["office"]})
            desk = {"name": "desk", "segment": {"vlan": 5, "physnet": "office"}}
            assert (await client.post("/v1/networks", json=desk)).status_code == 201
            links = {each["name"]: each for each in (await client.get("/v1/links")).json()["items"]}
            nodes = ["web1:eth0", "web2:eth0", "fw:eth0"]
            assert sorted(links) == sorted([*nodes, "hv1--hv2/vxlan", "hv1--office", "hv2--office"])
            assert links["fw:eth0"]["networks"] == ["web", "db"]
            assert links["hv1--hv2/vxlan"]["networks"] == ["web"]
            assert links["hv1--office"]["networks"] == ["desk"]
            assert not any(each["up"] for each in links.values())
            await asyncio.to_thread(client.confirm, 5)
            ups = (await client.get("/v1/links?up=true&kind=tunnel&kind=uplink")).json()["items"]
            assert len(ups) == 3
            assert (await client.get("/v1/links/hv1--hv2/vxlan")).json()["medium"] == "vxlan"
            assert (await client.get("/v1/links/hv1--hv9/vxlan")).status_code == 404
            page = (await client.get("/v1/links?limit=4")).json()
            assert len((await client.get(page["next"])).json()["items"]) == 2

    async def test_links_say_where_they_are_counted(self, socket: Path) -> None:
        async with api(socket) as client:
            await client.post("/v1/physnets", json={"name": "office"})
            await client.patch("/v1/chassis/hv1", json={"physnets": ["office"]})

            async def counted(link: str) -> list[str]:
                found: list[str] = (await client.get(f"/v1/links/{link}")).json()["counters"]
                return found

            assert await counted("web1:eth0") == ["web1:eth0"]
            assert await counted("hv1--office") == ["hv1--office"]
            assert await counted("hv1--hv2/vxlan") == ["hv1:vxlan", "hv2:vxlan"]
            await client.patch("/v1/chassis/hv2", json={"datapath": "linux"})
            assert await counted("hv1--hv2/vxlan") == ["hv1:vxlan", "hv2:vxlan:web"], "a device for each network"
            answer = await client.patch("/v1/networks/web", json={"segment": {"nvgre": 5000}})
            assert answer.is_success, answer.text
            assert await counted("hv1--hv2/nvgre") == ["hv1:nvgre", "hv2:nvgre:web:hv1"], "and for each peer"

    async def test_flows_of_switches_that_are_away(self, socket: Path) -> None:
        async with api(socket) as client:
            await client.patch("/v1/chassis/hv2", json={"datapath": "linux"})
            found = (await client.get("/v1/flows")).json()
            assert found["items"] == []
            assert "nobody listens" in found["missing"]["hv1"]
            assert "no flow tables" in found["missing"]["hv2"]
            assert (await client.get("/v1/flows?chassis=hv1")).status_code == 503
            assert "bridge fdb" in (await client.get("/v1/flows?chassis=hv2")).json()["remedy"]
            for query in ("chassis=x", "table=x", "node=x", "network=x", "port=x", "cookie=x"):
                assert (await client.get(f"/v1/flows?{query}")).status_code == 422, query

    async def test_what_is_not_realised(self, socket: Path) -> None:
        async with api(socket) as client:
            for path in ("routers", "security-groups", "floating-ips"):
                assert (await client.get(f"/v1/{path}")).json() == {"items": [], "next": None, "revision": 1}
                assert (await client.get(f"/v1/{path}/x")).status_code == 404
                for method, where in (("POST", ""), ("PUT", "/x"), ("PATCH", "/x"), ("DELETE", "/x")):
                    answer = await client.request(method, f"/v1/{path}{where}", json={})
                    assert answer.status_code == 422
                    assert "is not realised by this version of sdn yet" in answer.json()["detail"]
