"""What a request asks for in its query is known, or refused: nothing is done that was meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from sdn.api import console
from sdn.api.parameters import only_known
from tests.unit.api.lab import api, fill, store_at


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with store_at(tmp_path) as found:
        fill(found)
        yield found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/nodes/fw?dryrun=true"),
        ("GET", "/v1/ports/web1:eth0?limit=2"),
        ("GET", "/v1/nodes?network=web"),
        ("GET", "/v1/events?most=2"),
        ("POST", "/v1/rollback?revision=1"),
    ],
)
async def test_unknown_ones_are_refused(socket: Path, method: str, path: str) -> None:
    async with api(socket) as client:
        answer = await client.request(method, path)
        assert answer.status_code == 400
        name = path.partition("?")[2].partition("=")[0]
        assert f"has no parameter '{name}'" in answer.json()["detail"]
        assert client.live.revision == 1


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/ports?up=maybe", "'up' is never 'maybe'"),
        ("/v1/ports?up=true&up=yes", "'up' is never 'yes'"),
        ("/v1/links?up=", "'up' is never ''"),
        ("/v1/switches?connected=1", "'connected' is never '1'"),
    ],
)
async def test_what_is_true_or_false_is_nothing_else(socket: Path, path: str, told: str) -> None:
    """Nothing is found by it, and that would be taken for an answer."""
    async with api(socket) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:sdn:problem:malformed")
        assert answer.json()["detail"] == told


@pytest.mark.parametrize("path", ["/v1/nodes?chassis=hv1&limit=2", "/v1/links?up=true", "/stats/switches?x=1"])
async def test_known_ones_are_not(socket: Path, path: str) -> None:
    async with api(socket) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", console.NO_SUCH, "there is no guest 'vm9'"),
        ("?read_only=true", console.NO_SUCH, "there is no guest 'vm9'"),
        ("?readonly=true", 1008, "GET /v1/guests/vm9/console has no parameter 'readonly'"),
    ],
)
def test_those_of_a_console(query: str, code: int, reason: str) -> None:
    """Its websocket is opened all the same: one who wanted only to read must not get one who writes."""
    app = FastAPI(dependencies=[Depends(only_known)])
    app.include_router(console.router())
    app.state.live = SimpleNamespace(model=SimpleNamespace(guests={}))
    with pytest.raises(WebSocketDisconnect) as caught:  # noqa: SIM117
        with TestClient(app).websocket_connect(f"/v1/guests/vm9/console{query}") as socket:
            socket.receive_bytes()
    assert (caught.value.code, caught.value.reason) == (code, reason)
