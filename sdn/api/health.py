"""Whether this process works, and whether the lab is whole: for whoever restarts or waits.

Enters: a request. Leaves: 200 or 503, with the reasons. Never: a change.

/healthz is about this process alone: it lives, and the store answers. /readyz is about the lab: every chassis has
confirmed the newest revision, nothing is in error, all processes run. A lab that is not whole is no reason to restart
the API. What is wrong with it is for those whom the gate knows; others learn that something is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from sdn.api import openapi
from sdn.api.answer import answer
from sdn.api.caller import NOBODY, SCOPE
from sdn.api.ends import Ends
from sdn.api.live import Live, live_of
from sdn.lab import condition, processes
from sdn.model import Model
from sdn.model.facts import Facts

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
    "required": ["ready"],
    "description": "Without a token: `ready` alone.",
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
    conditions = Conditions()

    @made.get(
        "/healthz",
        summary="Whether this process works",
        description="It lives, and its store answers. Nobody is asked who they are.",
        response_model=None,
        openapi_extra={"x-sdn-role": "public"},
        responses=_answers("It works", "The store does not answer", _HEALTH),
    )
    async def _healthz(request: Request) -> Response:
        reasons = [*_ends(request), *await _ills(live_of(request))]
        return answer({"healthy": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @made.get(
        "/readyz",
        summary="Whether the lab is whole",
        description="Every chassis has confirmed the newest revision without errors, and all processes run.",
        response_model=None,
        responses=_answers("It is whole", "It is not, for these reasons", _READY),
    )
    async def _readyz(request: Request) -> Response:
        live = live_of(request)
        found = await conditions.of(live)
        reasons = [*found.reasons, *await asyncio.to_thread(_missing, live), *_ends(request), *await _ills(live)]
        told: dict[str, Any] = {"ready": not reasons}
        if request.scope.get(SCOPE, NOBODY).is_known:
            told |= {"lab": live.lab, "revision": found.revision, "confirmed": found.confirmed}
            told["reasons"] = reasons
        return answer(told, 503 if reasons else 200)

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


def _ends(request: Request) -> list[str]:
    ends: Ends | None = getattr(request.app.state, "ends", None)
    return ends.reasons if ends else []


@dataclass(frozen=True, slots=True)
class Condition:
    """Of the chassis; `confirmed` is the newest revision that all of them have."""

    revision: int
    confirmed: int
    reasons: tuple[str, ...]


class Conditions:
    """The newest, found once for each model and its facts: it is a look at each port, and whoever likes may ask."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._known: tuple[Model, Facts, Condition] | None = None

    async def of(self, live: Live) -> Condition:
        if not live.revision:
            return Condition(0, 0, ("nothing has been applied yet",))
        async with self._lock:
            model, facts = live.model, live.facts
            if self._known is None or self._known[0] is not model or self._known[1] is not facts:
                self._known = model, facts, await asyncio.to_thread(_condition, model, facts)
            return self._known[2]


def _condition(model: Model, facts: Facts) -> Condition:
    troubles = condition.chassis_troubles(model, facts)
    return Condition(model.revision, condition.confirmed_revision(model, facts), tuple(troubles))


def _missing(live: Live) -> list[str]:
    """Processes that do not run. Before the first file there need not be any."""
    if not live.revision:
        return []
    found = [f"{each.name} is not running" for each in processes.read(live.run.processes) if each.is_missing]
    return [*found, *(["supervisor is not running"] if live.run.supervisor is None else [])]
