"""What a request asks for in its query is known, or refused: nothing is done that was meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
        ("GET", "/v1/events?limit=2"),
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


@pytest.mark.parametrize("path", ["/v1/nodes?chassis=hv1&limit=2", "/v1/links?up=true", "/stats/switches?x=1"])
async def test_known_ones_are_not(socket: Path, path: str) -> None:
    async with api(socket) as client:
        assert (await client.get(path)).status_code == 200
