"""An app behind the gate, with routes of every kind; where it listens is up to the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sdn.api import connections, sessions, tokens
from sdn.api.audit import Audit
from sdn.api.caller import Role, caller
from sdn.api.connections import Connection
from sdn.api.gate import Gate
from sdn.api.listeners import Listener, parse
from sdn.api.tokens import Tokens

LOOPBACK = parse("127.0.0.1:8080")
GUARDED = Listener(LOOPBACK.address, 8080, token=True)
ELSEWHERE = Listener(parse("192.0.2.7:8443").address, 8443, tls=True, token=True)
UNIX = parse("unix:/run/x/api.sock")


def app() -> FastAPI:
    made = FastAPI()
    routes = APIRouter()

    async def who(request: Request) -> dict[str, str]:
        found = caller(request)
        return {"name": found.name, "role": found.role.label}

    async def keep(request: Request) -> Response:
        body = await request.body()
        return Response(str(len(body)), headers={"Sdn-Revision": "7"})

    async def remove(request: Request) -> Response:
        await request.app.state.removing.wait()
        return Response(status_code=204)

    async def large() -> Response:
        return Response(b"x" * (8 << 20))

    async def events(request: Request) -> Response:
        return StreamingResponse(_endless(), media_type="text/event-stream")

    async def console(websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.send_text(await websocket.receive_text())

    for path in ("/v1/ports/{name}", "/healthz", "/", "/page/x/js/main.js"):
        routes.add_api_route(path, who, methods=["GET"])
    routes.add_api_route("/v1/ports/{name}", keep, methods=["PUT"])
    routes.add_api_route("/v1/topology", keep, methods=["PUT"], openapi_extra={"x-sdn-role-dry-run": "read"})
    made.state.removing = asyncio.Event()
    routes.add_api_route("/v1/large", large, methods=["GET"])
    routes.add_api_route("/v1/ports/{name}", remove, methods=["DELETE"])
    routes.add_api_route("/v1/trace", who, methods=["POST"], openapi_extra={"x-sdn-role": "read"})
    routes.add_api_route("/v1/open", who, methods=["POST"], openapi_extra={"x-sdn-role": "public"})
    routes.add_api_route("/v1/rollback", who, methods=["POST"], openapi_extra={"x-sdn-role": "admin"})
    routes.add_api_route("/v1/events", events, methods=["GET"])
    routes.add_api_websocket_route("/v1/guests/{name}/console", console)
    made.include_router(routes)
    made.include_router(sessions.router())
    return made


async def _endless() -> AsyncIterator[str]:
    yield "data: first\n\n"
    await asyncio.Event().wait()


@dataclass
class Guarded:
    folder: Path
    streams: int = 256
    streams_of_one: int = 32

    def __post_init__(self) -> None:
        self.tokens = self.folder / "tokens.json"
        self.gate = Gate(
            Tokens(self.tokens), Audit(self.folder), streams=self.streams, streams_of_one=self.streams_of_one
        )
        self.app = app()
        self.removing: asyncio.Event = self.app.state.removing
        self.aborted = asyncio.Event()

    def token(self, name: str = "bob", role: Role = Role.READ, lifetime: float | None = 60.0) -> str:
        return tokens.create(name, role, lifetime, self.tokens)[1]

    def at(self, listener: Listener, user: int | None = 0) -> ASGIApp:
        """Asked by a process of this user."""
        gated = self.gate.in_front_of(self.app, listener)

        async def asked(scope: Scope, receive: Receive, send: Send) -> None:
            connection = Connection(user, self.aborted.set)
            await gated({**scope, "state": {connections.STATE: connection, **scope.get("state", {})}}, receive, send)

        return asked

    def client(self, listener: Listener, token: str = "", **headers: str) -> httpx.AsyncClient:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.at(listener), client=("198.51.100.9", 4711))
        base = listener.url if listener.path is None else "http://sdn/"
        return httpx.AsyncClient(transport=transport, base_url=base, headers={**bearer, **headers})

    def refused(self) -> list[dict[str, Any]]:
        """What the log of strangers' refusals has."""
        return self.audited("refused.log")

    def audited(self, name: str = "audit.log") -> list[dict[str, Any]]:
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
