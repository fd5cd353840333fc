"""The history over HTTP: pages, revisions in the file's words, plans, differences, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.memory import TOPOLOGY, Running, running

pytestmark = pytest.mark.asyncio


async def read(lab: Running, path: str, status: int = 200) -> Any:
    answer = await lab.http.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def change(lab: Running, method: str, path: str, fields: dict[str, Any] | None = None) -> None:
    answer = await lab.http.request(method, path, json=fields)
    assert answer.is_success, answer.text


async def with_changes(lab: Running) -> None:
    """Revision 2 changes a network, 3 adds a node, 4 takes another away."""
    await change(lab, "PATCH", "/v1/networks/web", {"mtu": 1400})
    await change(lab, "POST", "/v1/nodes", {"name": "c", "network": "db", "chassis": "hv1"})
    await change(lab, "DELETE", "/v1/nodes/b")


async def test_a_page_has_the_newest_first() -> None:
    async with running() as lab:
        await with_changes(lab)
        lab.store.settle(2, ["hv1: no"])
        page = await read(lab, "/v1/revisions?limit=3")
        assert [item["number"] for item in page["items"]] == [4, 3, 2]
        assert page["items"][2] | {"time": ""} == {
            "number": 2,
            "time": "",
            "author": "root",
            "origin": "PATCH /v1/networks/web",
            "changes": {"networks": {"added": 0, "changed": 1, "removed": 0}},
            "settled": True,
            "errors": ["hv1: no"],
            "seconds": 0.25,
        }
        assert page["items"][0]["seconds"] is None
        (last,) = (await read(lab, page["next"]))["items"]
        assert (last["number"], last["author"], last["origin"]) == (1, "alice", "sdn up small.yaml")
        assert (await read(lab, "/v1/revisions?after=2"))["next"] is None


async def test_a_revision_in_the_files_words() -> None:
    async with running() as lab:
        await with_changes(lab)
        (changed,) = (await read(lab, "/v1/revisions/2"))["entries"]
        assert (changed["kind"], changed["name"], changed["change"]) == ("network", "web", "changed")
        assert changed["fields"] == [{"field": "mtu", "before": 1450, "after": 1400}]
        (added,) = (await read(lab, "/v1/revisions/3"))["entries"]
        assert added["before"] is None
        assert added["after"]["ports"][0]["network"] == "db"
        (gone,) = (await read(lab, "/v1/revisions/4"))["entries"]
        assert (gone["name"], gone["change"], gone["after"]) == ("b", "removed", None)
        first = (await read(lab, "/v1/revisions/1"))["entries"]
        assert [entry["name"] for entry in first] == ["hv1", "hv2", "web", "db", "a", "b"]


async def test_what_a_revision_did() -> None:
    async with running() as lab:
        await with_changes(lab)
        plan = await read(lab, "/v1/revisions/3/plan")
        assert {(step["where"], step["verb"], step["what"]) for step in plan["steps"]} >= {("hv1", "add", "node c")}
        assert plan["flows"]["hv1"][0] > 0
        first = await read(lab, "/v1/revisions/1/plan")
        assert {step["verb"] for step in first["steps"]} == {"add"}


async def test_differences_go_both_ways() -> None:
    async with running() as lab:
        await with_changes(lab)
        there = await read(lab, "/v1/diff?from=1")
        assert (there["from"], there["to"]) == (1, 4)
        assert {(entry["name"], entry["change"]) for entry in there["entries"]} == {
            ("web", "changed"),
            ("b", "removed"),
            ("c", "added"),
        }
        back = await read(lab, "/v1/diff?from=4&to=1")
        swapped = {entry["name"]: (entry["after"], entry["before"]) for entry in there["entries"]}
        assert {entry["name"]: (entry["before"], entry["after"]) for entry in back["entries"]} == swapped
        assert (await read(lab, "/v1/diff?from=3&to=3"))["entries"] == []
        everything = await read(lab, "/v1/diff?from=0&to=1")
        assert {entry["change"] for entry in everything["entries"]} == {"added"}


async def test_a_port_more_is_one_field() -> None:
    async with running() as lab:
        await change(lab, "POST", "/v1/ports", {"name": "a:eth1", "network": "db"})
        await change(lab, "PATCH", "/v1/ports/a:eth1", {"ip": "10.8.0.99"})
        (entry,) = (await read(lab, "/v1/revisions/2"))["entries"]
        assert [field["field"] for field in entry["fields"]] == ["ports.eth1"]
        (entry,) = (await read(lab, "/v1/revisions/3"))["entries"]
        assert [(field["field"], field["after"]) for field in entry["fields"]] == [("ports.eth1.ip", ["10.8.0.99"])]


async def test_the_way_back_is_a_revision_with_the_same_numbers() -> None:
    async with running() as lab:
        before = lab.store.model()
        await with_changes(lab)
        answer = await lab.http.post("/v1/rollback", json={"revision": 1})
        assert answer.status_code == 200
        assert answer.headers["sdn-revision"] == "5"
        assert answer.json() == {"to": 1, "revision": 5, "changed": True}
        after = lab.store.model()
        assert before
        assert after == before.with_revision(5), "ids, MACs, ofports, and lines of the file"
        newest = (await read(lab, "/v1/revisions?limit=1"))["items"][0]
        assert (newest["origin"], newest["author"]) == ("rollback to 1", "root")
        again = await lab.http.post("/v1/rollback", json={"revision": 1})
        assert again.json() == {"to": 1, "revision": 5, "changed": False}


async def test_a_dry_run_changes_nothing() -> None:
    async with running() as lab:
        await with_changes(lab)
        answer = await lab.http.post("/v1/rollback?dry_run=true", json={"revision": 1})
        told = answer.json()
        assert (told["to"], told["revision"], told["changed"]) == (1, 4, False)
        assert {(step["verb"], step["what"]) for step in told["plan"]["steps"]} >= {
            ("add", "node b"),
            ("remove", "node c"),
        }
        model = lab.store.model()
        assert model
        assert model.revision == 4


async def test_the_way_back_may_depend_on_what_was_seen() -> None:
    async with running() as lab:
        await with_changes(lab)
        stale = await lab.http.post("/v1/rollback", json={"revision": 1}, headers={"If-Match": '"3"'})
        assert stale.status_code == 412
        fresh = await lab.http.post("/v1/rollback", json={"revision": 1}, headers={"If-Match": '"4"'})
        assert fresh.json()["revision"] == 5


async def test_who_waits_in_vain_is_told_what_is_missing() -> None:
    async with running() as lab:
        await with_changes(lab)
        answer = await lab.http.post("/v1/rollback?wait=whole&timeout=0.05", json={"revision": 1})
        assert answer.status_code == 202
        assert any("hv1" in text for text in answer.json()["applied"]["missing"])


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/v1/revisions/9", 404, "not-found"),
        ("/v1/revisions/1", 404, "not-found"),
        ("/v1/revisions/1/plan", 404, "not-found"),
        ("/v1/revisions/2", 404, "not-found"),
        ("/v1/diff?from=1", 404, "not-found"),
        ("/v1/diff?from=0", 404, "not-found"),
        ("/v1/diff?from=3&to=99", 404, "not-found"),
        ("/v1/diff", 400, "malformed"),
        ("/v1/diff?from=x", 400, "malformed"),
        ("/v1/revisions/0", 400, "malformed"),
        ("/v1/revisions/99999999999999999999999", 400, "malformed"),
        ("/v1/revisions?limit=0", 400, "malformed"),
    ],
)
async def test_what_is_not_there_or_forgotten(path: str, status: int, kind: str) -> None:
    async with running() as lab:
        await with_changes(lab)
        lab.store.prune(2)
        problem = await read(lab, path, status)
        assert problem["type"] == f"urn:sdn:problem:{kind}"


@pytest.mark.parametrize("body", [{}, {"revision": "1"}, {"revision": True}, {"revision": 9}, {"revision": 1}])
async def test_no_way_back(body: dict[str, Any]) -> None:
    async with running() as lab:
        await with_changes(lab)
        lab.store.prune(2)
        for query in ("", "?dry_run=true"):
            answer = await lab.http.post(f"/v1/rollback{query}", json=body)
            assert answer.status_code == 422
            assert answer.json()["type"] == "urn:sdn:problem:file"


async def test_all_of_it_is_documented() -> None:
    async with running() as lab:
        paths = (await read(lab, "/v1/openapi.json"))["paths"]
        for path in ("/v1/events", "/v1/revisions", "/v1/revisions/{number}", "/v1/diff", "/v1/rollback"):
            operation = next(iter(paths[path].values()))
            assert operation["responses"]["200"]["content"]["application/json"]["schema"]


async def test_lines_that_moved_in_the_file_are_no_difference() -> None:
    """A line more at the top of a file moves all that follow; the whole file is sent again."""
    async with running() as lab:
        moved = "# a line more\n" + TOPOLOGY
        answer = await lab.http.put("/v1/topology?file=small.yaml", content=moved)
        assert answer.json()["changed"], answer.text
        assert (await read(lab, "/v1/diff?from=1"))["entries"] == []
        found = await read(lab, "/v1/revisions/2")
        assert (found["changes"], found["entries"]) == ({}, [])
        assert (await read(lab, "/v1/nodes/a"))["source"] == "small.yaml:8:3"
