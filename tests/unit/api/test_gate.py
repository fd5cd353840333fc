"""The gate: who is refused and how, what the role of each route is, and that streams end with their tokens."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sdn.api import limits, passage, tokens
from sdn.api.caller import Role
from sdn.api.limits import ASKING, BODY, FAILING, NOTED
from sdn.api.listeners import Listener
from sdn.api.refusals import Refusal
from sdn.api.roles import roles_of
from sdn.api.sessions import Sessions
from sdn.api.tokens import Tokens
from tests.unit.api.asked import Asked
from tests.unit.api.guarded import ELSEWHERE, GUARDED, LOOPBACK, UNIX, Guarded


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def told(response: httpx.Response) -> str:
    """Where it is a refusal: its kind and why."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    return f"{problem['type'].rpartition(':')[2]}: {problem['detail']}"


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_token(guarded: Guarded) -> None:
    async with guarded.client(GUARDED) as client:
        answer = await client.get("/v1/ports/a")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="sdn"'
    assert told(answer) == "token: this needs a token: Authorization: Bearer sdn_…"


@pytest.mark.parametrize("change", ["secret", "id", "prefix", "nothing", "basic"])
async def test_with_a_wrong_token(guarded: Guarded, change: str) -> None:
    right = guarded.token()
    _, number, secret = right.split("_", 2)
    wrong = {
        "secret": f"sdn_{number}_{secret[:-2]}{'BA' if secret.endswith('AA') else 'AA'}",
        "id": f"sdn_00000000_{secret}",
        "prefix": f"ghp_{number}_{secret}",
        "nothing": "sdn__",
        "basic": "",
    }[change]
    header = f"Bearer {wrong}" if wrong else "Basic Ym9iOmJvYg=="
    async with guarded.client(GUARDED, Authorization=header) as client:
        answer = await client.get("/v1/ports/a")
    assert answer.status_code == 401
    assert "expired" not in answer.text
    if wrong:
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_with_an_expired_token(guarded: Guarded) -> None:
    """That it has expired learns who has the secret, and nobody else."""
    right = guarded.token(lifetime=0.0)
    async with guarded.client(GUARDED, right) as client:
        answer = await client.get("/v1/ports/a")
    assert answer.status_code == 401
    assert "token bob expired at 20" in told(answer)
    async with guarded.client(GUARDED, right[:-4] + "AAAA") as client:
        assert "expired" not in told(await client.get("/v1/ports/a"))


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/v1/ports/a", Role.READ),
        ("HEAD", "/v1/ports/a", Role.READ),
        ("PUT", "/v1/ports/a", Role.OPERATE),
        ("DELETE", "/v1/nothing", Role.OPERATE),
        ("GET", "/v1/nothing", Role.READ),
        ("POST", "/v1/trace", Role.READ),
        ("POST", "/v1/rollback", Role.ADMIN),
        ("PUT", "/v1/topology", Role.OPERATE),
        ("PUT", "/v1/topology?dry_run=true", Role.READ),
        ("PUT", "/v1/topology?wait=whole&dry_run=true", Role.READ),
        ("PUT", "/v1/topology?dry_run=false", Role.OPERATE),
        ("PUT", "/v1/topology?dry_run=true&dry_run=false", Role.OPERATE),
        ("PUT", "/v1/topology?dry%5frun=false&dry_run=true", Role.OPERATE),
        ("PUT", "/v1/topology?dry_run=true%00", Role.OPERATE),
        ("PUT", "/v1/topology?Dry_run=true", Role.OPERATE),
        ("PUT", "/v1/ports/a?dry_run=true", Role.OPERATE),
        ("POST", "/v1/rollback?dry_run=true", Role.ADMIN),
        ("GET", "/metrics", Role.READ),
        ("GET", "/", None),
        ("GET", "/healthz", None),
        ("GET", "/page/x/js/main.js", None),
        ("POST", "/v1/open", None),
        ("POST", "/page/x/js/main.js", Role.OPERATE),
        ("DELETE", "/", Role.OPERATE),
    ],
)
async def test_which_role_is_needed(guarded: Guarded, method: str, path: str, needed: Role | None) -> None:
    for role in Role:
        async with guarded.client(GUARDED, guarded.token(role.label, role)) as client:
            answer = await client.request(method, path)
        if needed is not None and role < needed:
            assert answer.status_code == 403
            assert told(answer) == f"role: this needs role {needed.label}; {role.label} has role {role.label}"
        else:
            assert answer.status_code not in (401, 403)
    async with guarded.client(GUARDED) as client:
        assert ((await client.request(method, path)).status_code == 401) is (needed is not None)


async def test_a_token_that_is_revoked_is_refused_at_once(guarded: Guarded) -> None:
    async with guarded.client(ELSEWHERE, guarded.token()) as client:
        assert (await client.get("/v1/ports/a")).json() == {"name": "bob", "role": "read"}
        tokens.revoke(["bob"], guarded.tokens)
        assert (await client.get("/v1/ports/a")).status_code == 401


async def test_tokens_that_others_could_have_written_vouch_for_nobody(guarded: Guarded) -> None:
    async with guarded.client(GUARDED, guarded.token()) as client:
        guarded.tokens.chmod(0o666)
        os.utime(guarded.tokens)
        answer = await client.get("/v1/ports/a")
    assert answer.status_code == 503
    assert str(guarded.tokens) not in told(answer)


async def test_a_token_is_looked_at_where_none_is_needed_too(guarded: Guarded) -> None:
    async with guarded.client(LOOPBACK, guarded.token()) as client:
        assert (await client.get("/v1/ports/a")).json()["role"] == "read"
        assert (await client.put("/v1/ports/a")).status_code == 403
    async with guarded.client(LOOPBACK, "sdn_0_0") as client:
        assert (await client.get("/v1/ports/a")).status_code == 401


async def test_on_the_unix_socket_root_asks(guarded: Guarded) -> None:
    async with guarded.client(UNIX) as client:
        assert (await client.get("/v1/ports/a")).json() == {"name": "root", "role": "admin"}
        answer = await client.get("/v1/ports/a", headers={"Sdn-Author": "ann", "Host": "whatever"})
        assert answer.json() == {"name": "ann", "role": "admin"}
    async with guarded.client(LOOPBACK) as client:
        answer = await client.get("/v1/ports/a", headers={"Sdn-Author": "ann"})
        assert answer.json()["name"] != "ann"


# ── browsers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("LOCALHOST:9000", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("127.1.2.3", True),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8080", False),
        ("192.0.2.7:8080", False),
        ("::1", False),
        ("", False),
    ],
)
async def test_a_name_that_was_bound_anew_to_loopback_is_refused(guarded: Guarded, host: str, fine: bool) -> None:
    async with guarded.client(LOOPBACK) as client:
        answer = await client.get("/v1/ports/a", headers={"Host": host})
    assert answer.status_code == (200 if fine else 403)


@pytest.mark.parametrize("listener", [LOOPBACK, GUARDED, ELSEWHERE])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://192.0.2.7"])
async def test_pages_of_other_origins_are_refused(guarded: Guarded, listener: Listener, origin: str) -> None:
    async with guarded.client(listener, guarded.token(role=Role.ADMIN)) as client:
        assert (await client.put("/v1/ports/a", headers={"Origin": origin})).status_code == 403
        own = listener.url.rstrip("/")
        assert (await client.put("/v1/ports/a", headers={"Origin": own})).status_code == 200


async def test_a_websocket_of_another_origin_is_refused(guarded: Guarded) -> None:
    asked = Asked(guarded.at(LOOPBACK), "/v1/guests/g/console", "websocket", host="localhost:8080", origin="http://e.x")
    await asked.end()
    assert asked.status == 403
    own = {"host": "localhost:8080", "origin": "http://localhost:8080"}
    asked = Asked(guarded.at(LOOPBACK), "/v1/guests/g/console", "websocket", **own)
    await asked.until("websocket.accept")
    asked.say({"type": "websocket.disconnect", "code": 1000})
    await asked.end()


async def test_every_answer_says_what_a_browser_may_do_with_it(guarded: Guarded) -> None:
    async with guarded.client(GUARDED) as client:
        for path in ("/", "/v1/ports/a"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "script-src" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("listener", "cookie"), [(GUARDED, "sdn-8080"), (ELSEWHERE, "__Host-sdn")])
async def test_a_session_stands_for_its_token(guarded: Guarded, listener: Listener, cookie: str) -> None:
    async with guarded.client(listener) as client:
        text = guarded.token()
        answer = await client.post("/v1/session", headers={"Authorization": f"Bearer {text}"})
        assert answer.json() == {**answer.json(), "name": "bob", "role": "read", "token_needed": True}
        said = answer.headers["set-cookie"]
        assert said.startswith(f"{cookie}=")
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in said.split(";")}
        assert ("Secure" in said) is listener.tls
        assert text.split("_", 2)[2] not in said
        header = {"Cookie": f"other=1; {said.partition(';')[0]}"}
        client.cookies.clear()
        assert (await client.get("/v1/ports/a", headers=header)).json()["name"] == "bob"
        assert (await client.put("/v1/ports/a", headers=header)).status_code == 403
        assert (await client.get("/v1/ports/a", headers={"Cookie": f"{cookie}=x"})).status_code == 401
        assert (await client.delete("/v1/session", headers=header)).status_code == 204
        client.cookies.clear()
        assert (await client.get("/v1/ports/a", headers=header)).status_code == 401


async def test_a_session_ends_with_its_token(guarded: Guarded) -> None:
    async with guarded.client(ELSEWHERE) as client:
        await client.post("/v1/session", headers={"Authorization": f"Bearer {guarded.token()}"})
        assert (await client.get("/v1/session")).status_code == 200
        tokens.revoke(["bob"], guarded.tokens)
        assert (await client.get("/v1/session")).status_code == 401


# ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_stream_ends_when_its_token_is_revoked(guarded: Guarded) -> None:
    asked = Asked(guarded.at(GUARDED), "/v1/events", authorization=f"Bearer {guarded.token()}")
    other = Asked(guarded.at(GUARDED), "/v1/events", authorization=f"Bearer {guarded.token('ann')}")
    await asked.until("http.response.body")
    await other.until("http.response.body")
    tokens.revoke(["bob"], guarded.tokens)
    await asked.end(within=3.0)
    assert asked.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not other.task.done()
    guarded.gate.close()
    await other.end(within=1.0)


async def test_an_event_stream_ends_when_its_token_expires(guarded: Guarded) -> None:
    asked = Asked(guarded.at(GUARDED), "/v1/events", authorization=f"Bearer {guarded.token(lifetime=0.5)}")
    await asked.end(within=3.0)
    assert asked.status == 200


@pytest.mark.parametrize("how", ["log out", "revoke"])
async def test_what_a_session_has_open_ends_with_it(guarded: Guarded, how: str) -> None:
    async with guarded.client(GUARDED) as client:
        answer = await client.post("/v1/session", headers={"Authorization": f"Bearer {guarded.token()}"})
        cookie = answer.headers["set-cookie"].partition(";")[0]
        asked = Asked(guarded.at(GUARDED), "/v1/events", cookie=cookie)
        await asked.until("http.response.body")
        if how == "revoke":
            tokens.revoke(["bob"], guarded.tokens)
        else:
            assert (await client.delete("/v1/session")).status_code == 204
    await asked.end(within=3.0)


async def test_a_websocket_ends_when_its_token_is_revoked(guarded: Guarded) -> None:
    bearer = f"Bearer {guarded.token(role=Role.OPERATE)}"
    asked = Asked(guarded.at(GUARDED), "/v1/guests/g/console", "websocket", authorization=bearer)
    await asked.until("websocket.accept")
    tokens.revoke(["bob"], guarded.tokens)
    await asked.end(within=3.0)
    assert asked.sent[-1]["code"] == passage.POLICY_VIOLATION
    noted = [(entry["method"], entry["caller"], entry["status"], entry["what"]) for entry in guarded.audited()]
    assert noted == [("WEBSOCKET", "bob", 101, "opened"), ("WEBSOCKET", "bob", 101, "closed")]


async def test_a_console_needs_more_than_looking(guarded: Guarded) -> None:
    asked = Asked(guarded.at(GUARDED), "/v1/guests/g/console", "websocket", authorization=f"Bearer {guarded.token()}")
    await asked.end()
    assert asked.status == 403


async def test_the_end_of_the_server_ends_streams(guarded: Guarded) -> None:
    asked = Asked(guarded.at(UNIX), "/v1/events")
    console = Asked(guarded.at(UNIX), "/v1/guests/g/console", "websocket")
    await asked.until("http.response.body")
    await console.until("websocket.accept")
    guarded.gate.close()
    await asked.end(within=1.0)
    await console.end(within=1.0)
    assert console.sent[-1]["code"] == passage.GOING_AWAY


async def test_only_so_many_streams(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, streams=2)
    app = guarded.at(UNIX)
    first, second = Asked(app, "/v1/events"), Asked(app, "/v1/guests/g/console", "websocket")
    await first.until("http.response.body")
    await second.until("websocket.accept")
    for kind, path in (("http", "/v1/events"), ("websocket", "/v1/guests/g/console")):
        third = Asked(app, path, kind)
        await third.end()
        assert third.status == 429
    guarded.gate.close()
    await first.end()
    await second.end()
    again = Asked(app, "/v1/events")
    await again.until("http.response.body")
    assert again.status == 200
    guarded.gate.close()
    await again.end()


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_that_says_it_is_too_large_is_not_read(guarded: Guarded) -> None:
    asked = Asked(guarded.at(UNIX), "/v1/ports/a", method="PUT", content_length=str(BODY + 1))
    await asked.end()
    assert asked.status == 413


async def test_a_body_without_length_is_too_large_as_it_comes(guarded: Guarded) -> None:
    asked = Asked(guarded.at(UNIX), "/v1/ports/a", method="PUT", transfer_encoding="chunked")
    for _ in range(BODY >> 20):
        asked.body(b"x" * (1 << 20), more=True)
    await asyncio.sleep(0)
    assert asked.status == 0
    asked.body(b"x", more=True)
    await asked.end()
    assert asked.status == 413
    assert guarded.audited()[0]["status"] == 413


async def test_a_topology_may_be_larger(guarded: Guarded) -> None:
    async with guarded.client(UNIX) as client:
        body = b"x" * (BODY + 1)
        assert (await client.put("/v1/topology", content=body)).text == str(BODY + 1)
        assert (await client.put("/v1/ports/a", content=body)).status_code == 413
        assert (await client.put("/v1/ports/a", content=body[:-1])).status_code == 200


async def test_a_body_that_does_not_come(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "BODY_SECONDS", 0.05)
    asked = Asked(guarded.at(UNIX), "/v1/ports/a", method="PUT", content_length="2")
    asked.body(b"x", more=True)
    await asked.end()
    assert asked.status == 408


async def test_an_answer_may_take_longer_than_a_body(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "BODY_SECONDS", 0.05)
    asked = Asked(guarded.at(UNIX), "/v1/events", method="GET", content_length="1")
    asked.body(b"x")
    await asked.until("http.response.body")
    late = Asked(guarded.at(UNIX), "/v1/ports/a", method="PUT", content_length="1")
    await late.end()
    assert late.status == 408
    assert not asked.task.done()
    guarded.gate.close()
    await asked.end()


async def test_a_body_that_nobody_reads_is_not_late(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """DELETE …?wait=applied with a body: the route waits for the lab, not for the body."""
    monkeypatch.setattr(passage, "BODY_SECONDS", 0.0)
    asked = Asked(guarded.at(UNIX), "/v1/ports/a", method="DELETE", content_length="2")
    await asyncio.sleep(0)
    assert not asked.task.done()
    guarded.removing.set()
    await asked.end()
    assert asked.status == 204


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_client_that_does_not_read_is_left(
    guarded: Guarded, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "SEND_SECONDS", 0.0)
    path = "/v1/events" if kind == "http" else "/v1/guests/g/console"
    asked = Asked(guarded.at(UNIX), path, kind, reads=False)
    await asked.end()
    assert guarded.aborted.is_set()


async def test_a_client_that_reads_no_refusal_is_left(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "SEND_SECONDS", 0.0)
    monkeypatch.setattr(passage, "BODY_SECONDS", 0.0)
    asked = Asked(guarded.at(UNIX), "/v1/ports/a", method="PUT", content_length="2", reads=False)
    await asked.end()
    assert guarded.aborted.is_set()


# ── how long ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("listener", [UNIX, LOOPBACK, GUARDED])
async def test_a_path_that_is_too_long(guarded: Guarded, listener: Listener) -> None:
    async with guarded.client(listener, guarded.token()) as client:
        assert (await client.get("/v1/ports/" + "a" * 2000)).status_code == 200
        for path in ("/v1/ports/" + "a" * 2048, "/v1/ports/a?x=" + "a" * 2048):
            answer = await client.get(path)
            assert answer.status_code == 414
            assert told(answer) == "too-long: path and query are longer than 2048 bytes"
    assert {len(entry["path"]) for entry in guarded.refused()} == {501}


async def test_roles_are_remembered_for_those_who_are_known(guarded: Guarded) -> None:
    """Nobody else makes the server remember anything."""
    roles = roles_of(guarded.app)
    asked: list[tuple[str, bool]] = []

    def role_of(kind: str, method: str, path: str, *, dry: bool = False, remember: bool = False) -> Role | None:
        asked.append((path, remember))
        return roles(kind, method, path, dry=dry, remember=remember)

    for headers in ({}, {b"authorization": f"Bearer {guarded.token()}".encode()}):
        scope = {"type": "http", "method": "GET", "path": "/v1/ports/a"}
        with suppress(Refusal):
            guarded.gate._admit(GUARDED, role_of, scope, headers)
    assert asked == [("/v1/ports/a", False), ("/v1/ports/a", True)]


# ── others of this machine ────────────────────────────────────────────────────────────────────────────────────────────


async def test_on_loopback_without_tokens_another_user_is_refused(guarded: Guarded) -> None:
    for user, status in ((0, 200), (1234, 403), (None, 403)):
        transport = httpx.ASGITransport(guarded.at(LOOPBACK, user))
        async with httpx.AsyncClient(transport=transport, base_url=LOOPBACK.url) as client:
            answer = await client.get("/v1/ports/a")
            assert answer.status_code == status
            if status == 403:
                assert told(answer).startswith("user: without a token only root")
                assert "--require-token" in answer.json()["remedy"]
            assert (await client.get("/")).status_code == 200, "the page's files are everybody's"
            bearer = {"Authorization": f"Bearer {guarded.token(f't{user}')}"}
            assert (await client.get("/v1/ports/a", headers=bearer)).json()["name"] == f"t{user}"
    assert guarded.audited() == []
    assert len(guarded.refused()) == 2


async def test_what_is_public_knows_whom_the_gate_knows(guarded: Guarded) -> None:
    async with guarded.client(GUARDED) as client:
        assert (await client.get("/healthz")).json()["name"] == "nobody"
        wrong = {"Authorization": "Bearer sdn_1_2"}
        assert (await client.get("/healthz", headers=wrong)).json()["name"] == "nobody"
    async with guarded.client(GUARDED, guarded.token()) as client:
        assert (await client.get("/healthz")).json()["name"] == "bob"


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(guarded: Guarded) -> None:
    async with guarded.client(GUARDED, "sdn_1_2") as client:
        statuses = [(await client.get("/v1/ports/a")).status_code for _ in range(int(FAILING.burst) + 3)]
        assert statuses == [401] * int(FAILING.burst) + [429] * 3
        assert (await client.get("/v1/ports/a")).headers["retry-after"] == "1"
    async with guarded.client(GUARDED, guarded.token()) as client:
        assert (await client.get("/v1/ports/a")).status_code == 200
    assert (len(guarded.audited()), len(guarded.refused())) == (0, FAILING.burst)


async def test_one_who_asks_too_often_waits_and_others_do_not(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(guarded.gate, "_asking", limits.Buckets(ASKING, lambda: now[0]))
    async with guarded.client(GUARDED, guarded.token()) as client:
        statuses = {(await client.get("/v1/ports/a")).status_code for _ in range(int(ASKING.burst))}
        assert statuses == {200}
        refused = await client.get("/v1/ports/a")
        assert refused.status_code == 429
        assert told(refused).startswith("too-many: ")
        assert refused.headers["retry-after"] == "1"
        async with guarded.client(GUARDED, guarded.token("ann")) as other:
            assert (await other.get("/v1/ports/a")).status_code == 200
        now[0] += 1 / ASKING.rate
        assert [(await client.get("/v1/ports/a")).status_code for _ in range(2)] == [200, 429]


async def test_the_unix_socket_is_not_slowed_down(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded.gate, "_asking", limits.Buckets(limits.Rate(0.001, 1)))
    async with guarded.client(UNIX) as client:
        assert {(await client.get("/v1/ports/a")).status_code for _ in range(5)} == {200}


async def test_one_token_does_not_take_all_streams(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, streams=4, streams_of_one=2)
    app = guarded.at(GUARDED)
    reader, other = (f"Bearer {guarded.token(name)}" for name in ("reader", "other"))
    opened = [Asked(app, "/v1/events", authorization=who) for who in (reader, reader, other)]
    for each in opened:
        await each.until("http.response.body")
    refused = Asked(app, "/v1/events", authorization=reader)
    await refused.end()
    assert refused.status == 429
    root = Asked(guarded.at(UNIX), "/v1/events")
    await root.until("http.response.body")
    guarded.gate.close()
    for each in (*opened, root):
        await each.end()


def test_one_token_does_not_take_all_sessions(guarded: Guarded) -> None:
    found = Tokens(guarded.tokens)
    boss, reader = (found.check(guarded.token(name)) for name in ("boss", "reader"))
    kept = Sessions()
    secret, _ = kept.open(boss)
    first, _ = kept.open(reader)
    for _ in range(2000):
        kept.open(reader)
    assert kept.find(secret)
    assert kept.find(first) is None
    for number in range(40):
        other = found.check(guarded.token(f"t{number}"))
        for _ in range(30):
            kept.open(other)
    assert kept.find(secret), "the one that has most gives"
    assert len(kept._known) == 1024


async def test_a_stream_ends_where_its_token_cannot_be_looked_at(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whatever reason."""
    asked = Asked(guarded.at(GUARDED), "/v1/events", authorization=f"Bearer {guarded.token()}")
    await asked.until("http.response.body")

    def fails(_: object) -> None:
        raise RuntimeError("as if there were a fault")

    monkeypatch.setattr(guarded.gate._tokens, "valid", fails)
    await asked.end(within=3.0)


# ── the audit log ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_writes_and_refusals_are_noted(guarded: Guarded) -> None:
    text = guarded.token(role=Role.OPERATE)
    async with guarded.client(GUARDED, text) as client:
        await client.get("/v1/ports/a")
        await client.put(f"/v1/ports/a?wait=applied&token={text}", content=b"secret body")
        await client.post("/v1/rollback")
    write, refused = guarded.audited()
    assert guarded.refused() == []
    assert write == {
        **write,
        "caller": "bob",
        "role": "operate",
        "peer": "198.51.100.9",
        "method": "PUT",
        "path": "/v1/ports/a?wait=applied&token=sdn_…",
        "status": 200,
        "revision": 7,
    }
    assert 0 < write["seconds"] < 1
    assert (refused["caller"], refused["status"]) == ("bob", 403)
    assert refused["why"] == "this needs role admin; bob has role operate"
    log = (guarded.folder / "audit.log").read_text()
    assert "secret" not in log
    assert text not in log
    assert (guarded.folder / "audit.log").stat().st_mode & 0o777 == 0o600


async def test_refusals_push_nothing_out_of_the_log(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a token have a log of their own; a token has ten lines, and then one a second with their number."""
    now = [0.0]
    monkeypatch.setattr(guarded.gate, "_noted", limits.Buckets(NOTED, lambda: now[0]))
    async with guarded.client(GUARDED, guarded.token()) as client:
        for _ in range(30):
            assert (await client.put("/v1/ports/a")).status_code == 403
        now[0] += 1.0
        await client.put("/v1/ports/a")
    async with guarded.client(GUARDED) as stranger:
        await stranger.put("/v1/ports/a")
    assert [entry.get("more", 0) for entry in guarded.audited()] == [0] * 10 + [20]
    assert [(entry["status"], entry["caller"]) for entry in guarded.refused()] == [(401, "")]
