"""Events over HTTP: server-sent events (WHATWG HTML section 9.2), or the list of what is known.

Enters: a request with filters, and with the id of the last event seen. Leaves: what followed, as it happens. Never: an
event lost in silence: one who resumes too late, or reads too slowly, is told so by an event `missed`.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from sdn.api import openapi
from sdn.api.answer import encode
from sdn.api.happened import KINDS
from sdn.api.hub import KEPT, Entry, Filter, Hub
from sdn.api.lists import next_page
from sdn.api.problem import MalformedError

PING: Final = 15.0
"""Seconds after which a silent stream says that it is there: proxies cut what is silent for a minute."""
PATIENCE: Final = 30.0
"""Seconds that a listener may take to read what it was sent."""
RETRY: Final = 500
"""Milliseconds after which a browser comes back."""
AT_ONCE: Final = 500
"""Events in one piece."""

Kinds = Annotated[list[str], Query(alias="kind", description="Only of such kinds, such as port.*")]
Objects = Annotated[list[str], Query(alias="object", description="Only about such objects, such as port/web1:*")]
Chassis = Annotated[list[str], Query(description="Only on such chassis.")]
After = Annotated[str, Query(description="Resume behind the event with this id; 0: with the oldest that is kept.")]
Follow = Annotated[
    bool | None,
    Query(
        description="Go on as things happen, or give a list of what is known; without it, what `Accept` asks for: "
        "a list where that has application/json and not text/event-stream."
    ),
]
Limit = Annotated[int, Query(ge=1, le=KEPT, description="Events in one answer, if that is a list.")]

_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "time", "kind", "lab", "object", "revision", "message", "data"],
    "properties": {
        "id": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "kind": {"type": "string", "enum": list(KINDS)},
        "lab": {"type": "string"},
        "object": {
            "type": ["object", "null"],
            "required": ["kind", "name"],
            "properties": {"kind": {"type": "string"}, "name": {"type": "string"}},
        },
        "revision": {"type": ["integer", "null"]},
        "message": {"type": "string"},
        "data": {"type": "object"},
    },
}
_LIST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["items", "next", "last"],
    "properties": {
        "items": {"type": "array", "items": _EVENT, "description": "The oldest first."},
        "next": {"type": ["string", "null"], "description": "Path of the page that follows, if there is one by now."},
        "last": {"type": "string", "description": "For `after`: what follows this list."},
    },
}


def _answers() -> dict[int | str, dict[str, Any]]:
    answers = openapi.found("A stream of events, or the list of those that are kept", _LIST)
    answers[200]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {**answers, **openapi.refusals()}


def router() -> APIRouter:
    made = APIRouter(tags=["events"])

    @made.get("/v1/events", summary="What happens in the lab", response_model=None, responses=_answers())
    async def _events(
        request: Request,
        kind: Kinds = [],  # noqa: B006  # FastAPI makes a list for each request
        object_: Objects = [],  # noqa: B006
        chassis: Chassis = [],  # noqa: B006
        after: After = "",
        follow: Follow = None,
        limit: Limit = KEPT,
    ) -> Response:
        hub: Hub = request.app.state.hub
        wanted = Filter(tuple(kind), tuple(object_), tuple(chassis))
        begin = request.headers.get("last-event-id") or after
        if follow is None:
            follow = not _wants_list(request.headers.get("accept", ""))
        if not follow:
            return _known(request, hub, wanted, begin or "0", limit)
        return Stream(hub, wanted, begin)

    return made


def _wants_list(accept: str) -> bool:
    return "application/json" in accept and "text/event-stream" not in accept


def _known(request: Request, hub: Hub, wanted: Filter, after: str, limit: int) -> Response:
    number = hub.place(after)
    if number is None:
        raise MalformedError(
            f"'{after}' is no event of this process", remedy="leave `after` out, for all that are kept"
        )
    found = (entry for entry in hub.since(number) if wanted.wants(entry.event))
    some = list(islice(found, limit))
    more = next(found, None) is not None
    last = hub.id(some[-1].number if more else hub.last)
    following = encode(next_page(request, limit, last) if more else None)
    missed = [] if hub.has_all_since(number) else [hub.missed(after)]
    items = b",".join(entry.json for entry in (*missed, *some))
    return Response(
        b'{"items":[%b],"next":%b,"last":"%b"}' % (items, following, last.encode()), media_type="application/json"
    )


class Stream(Response):
    """Sends what the listener wants until it goes. Its only state is its place in the ring."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, wanted: Filter, after: str) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._wanted, self._after = hub, wanted, after

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            with self._hub.listening():
                await self._follow(send, gone)
        except TimeoutError:  # it does not read: there is nobody to say goodbye to
            return
        finally:
            gone.cancel()
            await asyncio.wait((gone,))

    async def _follow(self, send: Send, gone: asyncio.Future[None]) -> None:
        hub = self._hub
        place = hub.place(self._after) if self._after else hub.last
        first = b"retry: %d\n" % RETRY
        if place is None or not hub.has_all_since(place):
            place = hub.last
            first += hub.missed(self._after).block
        await _piece(send, first + self._mark(place))
        while not gone.done():
            news, is_last = hub.news(), hub.is_closed
            if not hub.has_all_since(place):
                await _piece(send, hub.missed(hub.id(place)).block)
                break
            some = hub.since(place, AT_ONCE)
            if some:
                place = some[-1].number
                await self._send(send, some)
            elif is_last:
                break
            elif not await _either(news, gone):
                await _piece(send, b": ping\n" + self._mark(place))
        await _piece(send, b"", more=False)

    def _mark(self, place: int) -> bytes:
        """Behind what to resume, also if nothing happens that this listener wants."""
        return b"id: %b\n\n" % self._hub.id(place).encode()

    async def _send(self, send: Send, entries: list[Entry]) -> None:
        everything = self._wanted.wants_all
        content = b"".join(entry.block for entry in entries if everything or self._wanted.wants(entry.event))
        if content:
            await _piece(send, content)


async def _piece(send: Send, content: bytes, *, more: bool = True) -> None:
    """Raises TimeoutError where the listener does not read."""
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": content, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _either(news: asyncio.Event, gone: asyncio.Future[None]) -> bool:
    """False after a silence."""
    waiting = asyncio.ensure_future(news.wait())
    try:
        done, _ = await asyncio.wait((waiting, gone), timeout=PING, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return bool(done)
