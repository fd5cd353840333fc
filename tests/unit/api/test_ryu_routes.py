"""Ryu's paths over a switch made of a script: codes, bodies, OpenAPI; whatever a client sends, never a 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.errors import RefusedError, TransientError
from sdn.api.ryu import router
from sdn.api.ryu.paths import COMMANDS, QUESTIONS
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK
from sdn.southbound.messages import dialect
from sdn.southbound.plain import Plain
from sdn.southbound.requests import Request
from tests.unit.api.test_ryu_words import JSON, OBJECTS, V13

FLOW = 1  # OFPMP_FLOW
OURS = COOKIE_MARK << 48 | 2 << 40 | 16
POSTS = [f"/stats/{command.path}" for command in COMMANDS] + ["/stats/flow/1", "/stats/experimenter/1"]


class Script:
    """A switch that has `flows` (as bytes), says yes to everything, or raises `error`."""

    def __init__(self, flows: bytes = b"", error: Exception | None = None) -> None:
        self.flows, self.error = flows, error
        self.requests: list[Request] = []

    @property
    def told(self) -> list[Any]:
        """The flow-mods."""
        return [dialect(V13).decode(request.encode(V13, 1)) for request in self.requests]

    async def question(self, request: Request) -> list[bytes]:
        if self.error:
            raise self.error
        kind = int.from_bytes(request.body[:2], "big")
        body = self.flows if kind == FLOW else bytes(24) if kind == 2 else b""
        return [bytes((V13, 19)) + (16 + len(body)).to_bytes(2, "big") + bytes(4) + request.body[:2] + bytes(6) + body]

    async def tell(self, request: Request) -> None:
        if self.error:
            raise self.error
        self.requests.append(request)


class One:
    """A lab of one switch, 1."""

    def __init__(self, switch: Script) -> None:
        self.switch = switch

    def dpids(self) -> list[int]:
        return [1]

    @asynccontextmanager
    async def connect(self, dpid: int) -> AsyncIterator[Plain]:
        if dpid != 1:
            raise KeyError(dpid)
        yield cast(Plain, self.switch)


def app(switch: Script) -> FastAPI:
    made = FastAPI()
    made.include_router(router(One(switch), lambda dpid, cookie: f"port web1:eth0 of {dpid}"), prefix="/stats")
    return made


@contextmanager
def client(switch: Script) -> Iterator[Any]:
    """A function that makes a request and returns its response."""
    transport = httpx.ASGITransport(app=app(switch))

    def call(method: str, path: str, body: object = None, **how: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            async with httpx.AsyncClient(transport=transport, base_url="http://lab") as http:
                return await http.request(method, path, content=content, **how)

        return asyncio.run(one())

    yield call


def flow_entry(cookie: int, priority: int = 5) -> bytes:
    """Of table 0, matching everything, dropping (OpenFlow 1.3 section 7.3.5.2)."""
    counters = bytes(8) + priority.to_bytes(2, "big") + bytes(10) + cookie.to_bytes(8, "big") + bytes(16)
    return (56).to_bytes(2, "big") + bytes(2) + counters + bytes((0, 1, 0, 4, 0, 0, 0, 0))


# ── codes as Ryu has them ──


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/stats/switches", None, 200),
        ("GET", "/stats/flow/1", None, 200),
        ("GET", "/stats/flow/0x1", None, 200),
        ("GET", "/stats/flow/2", None, 404),
        ("GET", "/stats/flow/x", None, 400),
        ("GET", "/stats/port/1/x", None, 400),
        ("GET", "/stats/nothing/1", None, 404),
        ("POST", "/stats/flowentry/add", {"dpid": 1}, 200),
        ("POST", "/stats/flowentry/add", {"dpid": "0x1"}, 200),
        ("POST", "/stats/flowentry/add", {"dpid": 2}, 404),
        ("POST", "/stats/flowentry/add", {}, 400),
        ("POST", "/stats/flowentry/add", {"dpid": 0}, 400),
        ("POST", "/stats/flowentry/add", {"dpid": "one"}, 400),
        ("POST", "/stats/flowentry/add", b"{", 400),
        ("POST", "/stats/flowentry/replace", {"dpid": 1}, 404),
        ("POST", "/stats/portdesc/modify", {"dpid": 1, "port_no": 9}, 404),
        ("POST", "/stats/portdesc/modify", {"dpid": 1}, 400),
        ("POST", "/stats/experimenter/2", {"experimenter": 1}, 404),
        ("POST", "/stats/experimenter/2", {"experimenter": 1, "dpid": 1}, 200),
        ("DELETE", "/stats/flowentry/clear/1", None, 200),
        ("DELETE", "/stats/flowentry/clear/2", None, 404),
    ],
)
def test_codes(method: str, path: str, body: object, status: int) -> None:
    with client(Script()) as call:
        response = call(method, path, body)
    assert response.status_code == status
    if method == "GET" and status == 200:
        assert response.headers["content-type"] == "application/json"
    elif status == 200:
        assert response.content == b""
    elif "nothing" not in path and "replace" not in path:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == status
        assert response.json()["detail"]


def test_content_type_is_whatever_curl_says() -> None:
    switch = Script()
    with client(switch) as call:
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert call("POST", "/stats/flowentry/add", {"dpid": 1, "priority": 7}, headers=form).status_code == 200
    assert [told.priority for told in switch.told] == [7]


@pytest.mark.parametrize(
    ("error", "status"),
    [(TransientError("hv1: nobody listens"), 503), (RefusedError("hv1 refused FlowMod: OFPBAC_BAD_OUT_PORT"), 400)],
)
def test_errors_of_the_switch(error: Exception, status: int) -> None:
    with client(Script(error=error)) as call:
        for response in (
            call("GET", "/stats/desc/1"),
            call("POST", "/stats/flowentry/delete", {"dpid": 1}),
            call("POST", "/stats/meterentry/add", {"dpid": 1, "meter_id": 1}),
        ):
            assert (response.status_code, response.json()["detail"]) == (status, str(error))


# ── whose flows ──


def test_what_is_sent_carries_the_mark() -> None:
    switch = Script()
    with client(switch) as call:
        for command in ("add", "modify", "modify_strict", "delete", "delete_strict"):
            body = {"dpid": 1, "cookie": 1, "cookie_mask": 1}
            assert call("POST", f"/stats/flowentry/{command}", body).status_code == 200
        assert call("DELETE", "/stats/flowentry/clear/1").status_code == 200
    user, top = USER_MARK << 48, 0xFFFF << 48
    assert [told.command for told in switch.told] == [0, 1, 2, 3, 4, 3]
    assert [told.cookie for told in switch.told] == [user | 1] * 5 + [user]
    assert [told.cookie_mask for told in switch.told] == [0] + [top | 1] * 4 + [top]
    assert switch.told[-1].table_id == 255


def test_cookies_are_shown_without_it() -> None:
    with client(Script(flow_entry(USER_MARK << 48 | 7) + flow_entry(OURS, 6))) as call:
        assert [flow["cookie"] for flow in call("GET", "/stats/flow/1").json()["1"]] == [7, OURS]


@pytest.mark.parametrize(
    ("cookie", "whose"), [(OURS, "the lab's own, there for port web1:eth0 of 1"), (9, "somebody else's")]
)
def test_an_addition_does_not_replace_a_flow_of_others(cookie: int, whose: str) -> None:
    switch = Script(flow_entry(cookie))
    with client(switch) as call:
        refused = call("POST", "/stats/flowentry/add", {"dpid": 1, "priority": 5})
        assert refused.status_code == 409
        assert whose in refused.json()["detail"]
        assert call("POST", "/stats/flowentry/add", {"dpid": 1, "priority": 4}).status_code == 200
        assert (
            call("POST", "/stats/flowentry/add", {"dpid": 1, "priority": 5, "match": {"in_port": 1}}).status_code == 200
        )
    assert [told.priority for told in switch.told] == [4, 5]


def test_an_addition_replaces_one_of_the_users() -> None:
    switch = Script(flow_entry(USER_MARK << 48 | 1))
    with client(switch) as call:
        assert call("POST", "/stats/flowentry/add", {"dpid": 1, "priority": 5}).status_code == 200
    assert len(switch.told) == 1


@pytest.mark.parametrize("cookie", [1 << 48, OURS, -1, 1 << 64])
def test_a_cookie_that_is_not_the_users_to_choose(cookie: int) -> None:
    switch = Script()
    with client(switch) as call:
        response = call("POST", "/stats/flowentry/add", {"dpid": 1, "cookie": cookie})
    assert response.status_code == 400
    assert "cookie" in response.json()["detail"]
    assert switch.requests == []


@pytest.mark.parametrize("experimenter", [0x2320, 0x4F4E4600])
def test_no_way_around_by_experimenter_messages(experimenter: int) -> None:
    switch = Script()
    with client(switch) as call:
        response = call("POST", "/stats/experimenter/1", {"experimenter": experimenter, "exp_type": 13})
    assert response.status_code == 400
    assert switch.requests == []


_LEARN: Final = {"type": "EXPERIMENTER", "data_type": "base64", "data": "ABAAAAAAADJdTgQAAAAAEAAAAAAAAAAAAAAAAAAAAAA="}
"""NXAST_LEARN with a cookie of ours."""


@pytest.mark.parametrize("experimenter", [0x2320, "0x2320", "8992", 0x4F4E4600, 1])
@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("flowentry/add", lambda action: {"actions": [{"type": "OUTPUT", "port": 1}, action]}),
        ("flowentry/modify", lambda action: {"actions": [action]}),
        ("flowentry/add", lambda action: {"actions": [{"type": "WRITE_ACTIONS", "actions": [action]}]}),
        ("flowentry/add", lambda action: {"instructions": [{"type": "APPLY_ACTIONS", "actions": [action]}]}),
        ("flowentry/add", lambda action: {"instructions": [{"type": "WRITE_ACTIONS", "actions": [action]}]}),
        ("groupentry/add", lambda action: {"group_id": 1, "buckets": [{"actions": [action]}]}),
        ("groupentry/modify", lambda action: {"group_id": 1, "buckets": [{"actions": []}, {"actions": [action]}]}),
    ],
)
def test_no_way_around_by_actions(path: str, inside: Callable[[object], dict[str, Any]], experimenter: object) -> None:
    """Nicira's `learn` makes flows with any cookie, and removes those that have it."""
    switch = Script()
    with client(switch) as call:
        response = call("POST", f"/stats/{path}", {"dpid": 1, **inside({**_LEARN, "experimenter": experimenter})})
    assert response.status_code == 400
    assert "could change flows that are not the user's" in response.json()["detail"]
    assert switch.requests == []


def test_an_unknown_action_in_a_bucket_is_not_left_out() -> None:
    switch = Script()
    bucket = {"actions": [{"type": "OUTPUT", "port": 1}, {"type": "NOPE"}]}
    with client(switch) as call:
        response = call("POST", "/stats/groupentry/add", {"dpid": 1, "group_id": 1, "buckets": [bucket]})
    assert response.status_code == 400
    assert "NOPE" in response.json()["detail"]
    assert switch.requests == []


# ── whatever a client sends ──


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POSTS), OBJECTS | JSON)
def test_garbage_gets_an_answer(path: str, body: Any) -> None:
    if isinstance(body, dict):
        body["dpid"] = 1
    with client(Script()) as call:
        assert call("POST", path, body).status_code in (200, 400, 404)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([question.name for question in QUESTIONS]), st.lists(st.text(min_size=1), min_size=1, max_size=3)
)
def test_any_path_gets_an_answer(name: str, rest: list[str]) -> None:
    path = "/".join(httpx.QueryParams({"x": part}).__str__().removeprefix("x=").replace("+", "%20") for part in rest)
    with client(Script()) as call:
        response = call("GET", f"/stats/{name}/{path}")
    assert response.status_code in (200, 307, 400, 404)  # 307: a slash at the end is taken off


# ── OpenAPI ──


def test_every_operation_is_described() -> None:
    paths = app(Script()).openapi()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for path, methods in paths.items():
        for operation in methods.values():
            assert operation["summary"]
            expected = {"200"} if path.endswith("/switches") else {"200", "400", "404", "502", "503"}
            assert expected <= operation["responses"].keys() <= expected | {"409"}
            assert [parameter["name"] for parameter in operation["parameters"]] == [
                part.strip("{}") for part in path.split("/") if part.startswith("{")
            ]
    assert "409" in paths["/stats/flowentry/add"]["post"]["responses"]
    assert {method for path, methods in paths.items() for method in methods} == {"get", "post", "delete"}
