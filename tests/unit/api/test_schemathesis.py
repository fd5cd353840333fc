"""Schemathesis against the API: whatever is sent, the answer is one that the description has, and never a fault.

Over a real store and a real socket; the lab does not run, so its switches are away. Paths name what is there more often
than not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sdn.api.app import create_app
from sdn.api.live import Live
from sdn.lab.rundir import RunDir
from tests.unit.api.lab import as_caller, fill, opened, store_at

EXAMPLES = int(os.environ.get("SDN_EXAMPLES", "6"))
"""Requests for each operation; a hundred find more, in some minutes."""
STREAMS = ("/v1/events", "/v1/counters/stream")
"""They do not end."""
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
NAMES = {
    "chassis": ["hv1", "hv2"],
    "networks": ["web", "db"],
    "nodes": ["web1", "web2", "fw"],
    "ports": ["web1:eth0", "web2:eth0", "fw:eth0", "fw:eth0.20", "web1:eth1"],
    "tests": ["all"],
    "labs": ["t"],
    "switches": ["hv1", "hv2"],
    "links": ["web1:eth0", "hv1--hv2/vxlan"],
}
"""Of what is in the lab, by collection."""


class Announced(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with store_at(tmp_path_factory.mktemp("store")) as socket:
        fill(socket)
        with opened(socket) as store:
            app = create_app(Live(RunDir("t"), store))
            config = uvicorn.Config(as_caller(app), port=0, log_level="error", lifespan="off")
            server = Announced(config)

            async def serve() -> None:
                async with app.router.lifespan_context(app):
                    await server.serve()

            thread = threading.Thread(target=lambda: asyncio.run(serve()))
            thread.start()
            try:
                assert server.listens.wait(10)
                port = server.servers[0].sockets[0].getsockname()[1]
                yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/v1/openapi.json")
            finally:
                server.should_exit = True
                thread.join(10)


def test_every_answer_is_documented(schema: Any) -> None:
    """All faults at once, by operation."""
    faults: dict[str, str] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in STREAMS:
            continue
        try:
            _try(operation)
        except Exception as error:  # whatever a check raises
            faults[operation.label] = _told(error)
    assert not faults, "\n\n".join(f"{label}\n{fault}" for label, fault in faults.items())


def _try(operation: Any) -> None:
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in CHECKS]

    @seed(5)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(operation.as_strategy(), st.sampled_from(_names(operation.path)))
    def asked(case: Any, name: str | None) -> None:
        if name is not None:
            case.path_parameters["name"] = name
        if (case.query or {}).get("wait") in ("applied", "whole"):
            case.query["timeout"] = 0.02  # nobody confirms anything here
        response = case.call()
        assert response.status_code < 500 or response.status_code == 503, response.text
        case.validate_response(response, checks=checks)

    asked()


def _names(path: str) -> list[str | None]:
    """With None for whatever name is made up."""
    collection = path.removeprefix("/v1/").partition("/")[0]
    return [None, *NAMES[collection]] if path.endswith("/{name}") and collection in NAMES else [None]


def _told(error: BaseException) -> str:
    several = getattr(error, "exceptions", ())
    return "\n".join(map(_told, several)) if several else f"{type(error).__name__}: {error}"
