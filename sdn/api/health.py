"""Whether this process works, and whether the lab is whole: for whoever restarts or waits.

Enters: a request. Leaves: 200 or 503, with the reasons. Never: a change.

/healthz is about this process alone: it lives, and the store answers. /readyz is about the lab: every chassis has
confirmed the newest revision, nothing is in error, all processes run. A lab that is not whole is no reason to restart
the API.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from sdn.api import openapi
from sdn.api.answer import answer
from sdn.api.live import Live
from sdn.lab import condition, processes

PATIENCE: Final = 1.0
"""Seconds that the store may take to answer."""
_ECHO: Final = b'{"method":"echo","params":[],"id":"healthz"}'
"""RFC 7047 section 4.1.11."""

_PROBLEMS: Final = {"type": "array", "items": {"type": "string"}}
_HEALTH: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["healthy", "reasons"],
    "properties": {"healthy": {"type": "boolean"}, "reasons": _PROBLEMS},
}
_READY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ready", "lab", "revision", "confirmed", "reasons"],
    "properties": {
        "ready": {"type": "boolean"},
        "lab": {"type": "string"},
        "revision": {"type": "integer", "description": "The newest; 0: nothing has been applied."},
        "confirmed": {"type": "integer", "description": "The newest that every chassis has confirmed."},
        "reasons": _PROBLEMS,
    },
}


def router() -> APIRouter:
    made = APIRouter(tags=["health"])

    @made.get(
        "/healthz",
        summary="Whether this process works",
        description="It lives, and its store answers. Nobody is asked who they are.",
        response_model=None,
        openapi_extra={"x-sdn-role": "public"},
        responses=_answers("It works", "The store does not answer", _HEALTH),
    )
    async def _healthz(request: Request) -> Response:
        reasons = await _ills(request.app.state.live)
        return answer({"healthy": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @made.get(
        "/readyz",
        summary="Whether the lab is whole",
        description="Every chassis has confirmed the newest revision without errors, and all processes run.",
        response_model=None,
        responses=_answers("It is whole", "It is not, for these reasons", _READY),
    )
    async def _readyz(request: Request) -> Response:
        live: Live = request.app.state.live
        state = await asyncio.to_thread(readiness, live)
        state["reasons"] += await _ills(live)
        state["ready"] = not state["reasons"]
        return answer(state, 200 if state["ready"] else 503)

    return made


def _answers(well: str, ill: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {**openapi.refusals(), **openapi.found(well, schema), **openapi.found(ill, schema, 503)}


async def _ills(live: Live) -> list[str]:
    """A store that was killed takes no connections, one that hangs takes them and says nothing."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(live.run.store_socket)
            try:
                writer.write(_ECHO)
                if not await reader.read(1):
                    return ["the store has closed the connection"]
            finally:
                writer.close()
    except TimeoutError:
        return [f"the store does not answer within {PATIENCE:g} s"]
    except OSError as error:
        return [f"the store does not answer: {error.strerror or error}"]
    return []


def readiness(live: Live) -> dict[str, Any]:
    """In a worker thread: it looks at each port."""
    if not live.revision:
        reasons = ["nothing has been applied yet"]
        return {"lab": live.lab, "revision": 0, "confirmed": 0, "reasons": reasons}
    model, facts = live.model, live.facts
    reasons = condition.chassis_troubles(model, facts)
    reasons += [f"{each.name} is not running" for each in processes.read(live.run.processes) if each.is_missing]
    if live.run.supervisor is None:
        reasons.append("supervisor is not running")
    confirmed = condition.confirmed_revision(model, facts)
    return {"lab": live.lab, "revision": model.revision, "confirmed": confirmed, "reasons": reasons}
