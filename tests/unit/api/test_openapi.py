"""What the API says of itself is OpenAPI 3.1, and every route is in it with what it may answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from sdn.api.resources import KINDS
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


async def test_who_may_ask_is_described(tmp_path: Path) -> None:
    """Of Ryu's paths too; what is public needs no token."""
    told = await description(tmp_path)
    assert told["components"]["securitySchemes"]["token"] | {"description": ""} == {
        "type": "http",
        "scheme": "bearer",
        "description": "",
    }
    assert {"token": []} in told["security"]
    for path, methods in told["paths"].items():
        for method, words in methods.items():
            if words.get("x-sdn-role") == "public":
                assert words["security"] == [], (method, path)
            else:
                assert words["responses"].keys() >= {"401", "403", "408", "413", "414", "429"}, (method, path)


async def test_a_dry_run_needs_who_may_read(tmp_path: Path) -> None:
    """Of whatever has one, and of nothing else."""
    told = await description(tmp_path)
    dry = 0
    for path, methods in told["paths"].items():
        for method, words in methods.items():
            has_one = any(each["name"] == "dry_run" for each in words.get("parameters", ()))
            assert words.get("x-sdn-role-dry-run") == ("read" if has_one else None), (method, path)
            dry += has_one
    assert dry == 4 * len(KINDS) + 2


async def test_all_that_is_sent_has_an_example(tmp_path: Path) -> None:
    """Which is one of its schema."""
    told = await description(tmp_path)
    for path, methods in told["paths"].items():
        for method, words in methods.items():
            for media, content in words.get("requestBody", {}).get("content", {}).items():
                where, schema = (method, path, media), {**content["schema"], "components": told["components"]}
                example = content.get("example", content["schema"].get("example"))
                assert example is not None, where
                value = yaml.safe_load(example) if isinstance(example, str) else example
                assert list(Draft202012Validator(schema).iter_errors(value)) == [], where


async def description(folder: Path) -> dict[str, Any]:
    with store_at(folder) as socket:
        fill(socket)
        async with api(socket) as client:
            told: dict[str, Any] = (await client.get("/v1/openapi.json")).json()
            return told


async def test_what_is_refused_is_no_instance_of_the_schema(tmp_path: Path) -> None:
    """Of each kind: what was read can be sent back, by both; a field that nobody knows cannot, by neither."""
    with store_at(tmp_path) as socket:
        fill(socket)
        async with api(socket) as client:
            told = (await client.get("/v1/openapi.json")).json()
            for kind in KINDS.values():
                items = (await client.get(f"/v1/{kind.path}")).json()["items"]
                for item in items[:1]:
                    for method in ("PUT", "PATCH"):
                        where = f"{method} {kind.path}"
                        path = f"/v1/{kind.path}/{item['name']}"
                        assert sent_so(told, kind.path, method, item) == [], where
                        assert (await client.request(method, path, json=item)).status_code == 200, where
                        unknown = item | {"colour": "red"}
                        assert sent_so(told, kind.path, method, unknown), where
                        assert (await client.request(method, path, json=unknown)).status_code == 422, where


async def test_what_a_patch_may_say(tmp_path: Path) -> None:
    with store_at(tmp_path) as socket:
        fill(socket)
        async with api(socket) as client:
            told = (await client.get("/v1/openapi.json")).json()
    for path, patch, is_right in (
        ("networks", {"mtu": None}, True),
        ("networks", {"segment": {"vxlan": 12}}, True),
        ("networks", {"segment": {"colour": 12}}, False),
        ("networks", {"mtu": "much"}, False),
        ("nodes", {"trunk": {"20": None}}, True),
        ("nodes", {"ports": [{"name": "eth0", "network": "web", "colour": "red"}]}, False),
    ):
        assert (sent_so(told, path, "PATCH", patch) == []) is is_right, (path, patch)


def sent_so(told: dict[str, Any], path: str, method: str, body: Any) -> list[str]:
    """What the description says against it."""
    content = told["paths"][f"/v1/{path}/{{name}}"][method.lower()]["requestBody"]["content"]
    schema = {**content["application/json"]["schema"], "components": told["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(body)]
