"""What the API says of itself is OpenAPI 3.1, and every route is in it with what it may answer."""

from __future__ import annotations

from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.unit.api.lab import api, fill, store_at


async def test_the_description_is_valid(tmp_path: Path) -> None:
    with store_at(tmp_path) as socket:
        fill(socket)
        async with api(socket) as client:
            told = (await client.get("/v1/openapi.json")).json()
    assert [str(error) for error in OpenAPIV31SpecValidator(told).iter_errors()] == []
    for path, methods in told["paths"].items():
        for method, words in methods.items():
            assert words["summary"], (method, path)
            assert words["responses"].keys() - {"422"}, (method, path)
