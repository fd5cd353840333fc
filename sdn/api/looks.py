"""Looking at a lab: where a packet would go, what the file's tests say, and its picture.

Enters: requests. Leaves: what `sdn trace -o json`, `sdn test -o json` and `sdn graph` print. Never: a change of the
lab; tests send packets, though, for which one has to be more than a reader.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from datapath.errors import ConflictError, FileError, TransientError
from datapath.openflow.flow import Flow
from sdn import plainly
from sdn.api import conditions, openapi
from sdn.api.answer import answer, mapping_of
from sdn.api.dumps import Dumps, Which
from sdn.api.hub import Hub
from sdn.api.live import Live, live_of
from sdn.graph import FORMATS
from sdn.lab import told
from sdn.lab.observed import patiently
from sdn.lab.reach import WORDS
from sdn.model import Model

if TYPE_CHECKING:
    from sdn.trace import Observed

TRACES: Final = 4
"""Packets that are followed at a time. In threads of their own: while they wait for a switch, its flows are decoded in
the loop's."""
WITHIN: Final = 7.0
"""Seconds that a switch may take to tell its flows: 100,000 take about three, and it may be telling them already."""

Format = Annotated[
    Literal["svg", "dot", "mermaid"], Query(alias="format", description="SVG, or text for tools that lay out.")
]

SVG: Final = "image/svg+xml"
_TEXT: Final = "text/plain; charset=utf-8"
_PLACE: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Where it came from or went to.",
    "required": ["link", "kind", "chassis", "port"],
    "properties": {
        "link": {"type": "string", "description": "One of /v1/links; '' where it is none of them."},
        "kind": {"type": "string", "enum": ["port", "tunnel", "uplink"]},
        "chassis": {"type": ["string", "null"], "description": "At the other end of a tunnel."},
        "port": {"type": ["string", "null"], "description": "The port at the end, or the beginning, of its way."},
    },
}
_STEP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["table", "flow", "raw", "about", "changes", "foreign"],
    "properties": {
        "table": {"type": "string"},
        "flow": {"type": "string"},
        "raw": {"type": ["string", "null"], "description": "As ovs-ofctl reads it; null where no flow matches."},
        "about": {
            "type": "string",
            "description": "The object behind the flow, and its line in the file; of one that is not the lab's, whose.",
        },
        "changes": {"type": "array", "items": {"type": "string"}},
        "foreign": {"type": "boolean", "description": "Whether the flow is not the lab's."},
    },
}
_HOP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["chassis", "in_port", "realised_by", "unread", "steps", "outputs", "ended", "came", "leads"],
    "properties": {
        "chassis": {"type": "string"},
        "in_port": {"type": "string"},
        "realised_by": {"type": ["string", "null"], "description": "What does there what these tables say."},
        "unread": {
            "type": ["string", "null"],
            "description": "Why its switch did not say what it has; then these are the flows that it shall have.",
        },
        "steps": {"type": "array", "items": _STEP},
        "outputs": {"type": "array", "items": {"type": "string"}},
        "ended": {"type": "string"},
        "came": _PLACE,
        "leads": {"type": "array", "items": _PLACE, "description": "Where each of `outputs` leads."},
    },
}
_TRACE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["hops", "delivered", "target", "reached", "verdict"],
    "properties": {
        "hops": {"type": "array", "items": _HOP},
        "delivered": {"type": "array", "items": {"type": "string"}, "description": "The ports that got it."},
        "target": {"type": "string"},
        "reached": {"type": "boolean"},
        "verdict": {"type": "string"},
    },
}
_WAY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["from", "to"],
    "additionalProperties": False,
    "properties": {
        "from": {"type": "string", "description": "A node or a port."},
        "to": {"type": "string", "description": "A node, a port or an address."},
        "protocol": {"type": "string", "default": "icmp", "description": "icmp, arp, tcp/80 or udp/53."},
    },
}
_FAILURE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["from", "to", "address", "attempts", "answered", "detail"],
    "properties": {
        "from": {"type": "string"},
        "to": {"type": "string"},
        "address": {"type": "string"},
        "attempts": {"type": "integer"},
        "answered": {"type": "boolean"},
        "detail": {"type": "string"},
    },
}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "source", "probe", "port", "expect", "passed", "pairs", "passed_pairs", "failures"],
    "properties": {
        "name": {"type": "string"},
        "source": {"type": "string"},
        "probe": {"type": "string"},
        "port": {"type": "integer"},
        "expect": {"type": "string"},
        "passed": {"type": "boolean"},
        "pairs": {"type": "integer"},
        "passed_pairs": {"type": "integer"},
        "failures": {"type": "array", "items": _FAILURE},
        "explanation": {"type": "array", "items": {"type": "string"}},
    },
}
_PAIR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["from", "to", "result"],
    "properties": {
        "from": {"type": "string"},
        "to": {"type": "string"},
        "result": {"type": "string", "enum": list(WORDS.values())},
    },
}
_TESTED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["lab", "passed", "seconds", "tests"],
    "properties": {
        "lab": {"type": "string"},
        "passed": {"type": "boolean"},
        "seconds": {"type": "number"},
        "tests": {"type": "array", "items": _RESULT},
        "matrix": {"type": "array", "items": _PAIR, "description": "Every node to every other, if asked for."},
    },
}
_WANTED: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "only": {"type": "string", "description": "Tests with such a name, such as db-*."},
        "matrix": {"type": "boolean", "default": False, "description": "Try every node to every other too."},
    },
}


def router() -> APIRouter:
    made = APIRouter(prefix="/v1")
    testing = asyncio.Lock()
    tracers = ThreadPoolExecutor(TRACES, thread_name_prefix="trace")

    @made.post("/trace", **_tracing())
    async def _trace(request: Request) -> Response:
        fields = _known(await mapping_of(request), _WAY)
        loop = asyncio.get_running_loop()
        observed = observer(request.app.state.dumps, loop)
        return answer(await loop.run_in_executor(tracers, _traced, live_of(request), fields, observed))

    @made.post("/test", **_testing())
    async def _test(request: Request) -> Response:
        fields = _known(await mapping_of(request) if await request.body() else {}, _WANTED)
        live = live_of(request)
        if testing.locked():
            raise ConflictError("tests are running already", remedy="try again when they have ended")
        observed = observer(request.app.state.dumps, asyncio.get_running_loop())
        async with testing:
            found = await asyncio.to_thread(_tested, live, live.model, fields, observed)
        hub: Hub = request.app.state.hub
        hub.say(told.of_tests(found))
        return answer(found)

    @made.get("/graph.svg", **_drawing())
    async def _graph(request: Request, form: Format = "svg") -> Response:
        live = live_of(request)
        picture = (await asyncio.to_thread(FORMATS[form], live.model, live.facts)).encode()
        told = {"ETag": f'"{conditions.digest(picture)}"', "Cache-Control": "no-cache"}
        return conditions.unless_known(request, picture, SVG if form == "svg" else _TEXT, told)

    return made


def _known(fields: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What was sent, if each field is there and of its kind. Raises FileError."""
    kinds = {"string": str, "boolean": bool}
    for key, value in fields.items():
        kind = schema["properties"].get(key, {}).get("type")
        if kind is None:
            raise FileError(f"'{key}' is not understood", remedy=f"there are: {', '.join(schema['properties'])}")
        if not isinstance(value, kinds[kind]):
            raise FileError(f"'{key}' is no {'text' if kind == 'string' else 'true or false'}")
    missing = [key for key in schema.get("required", ()) if key not in fields]
    if missing:
        raise FileError(f"'{missing[0]}' is missing; expected {schema['properties'][missing[0]]['description']}")
    return fields


def observer(dumps: Dumps, loop: asyncio.AbstractEventLoop) -> Observed:
    """The flows that a switch has, for who is in another thread than the loop."""

    def observed(chassis: str) -> list[Flow]:
        asked = asyncio.run_coroutine_threadsafe(dumps.of(chassis, Which()), loop)
        try:
            return [stats.flow for stats in asked.result(WITHIN)]
        except TimeoutError:
            asked.cancel()
            raise TransientError(f"{chassis}: its switch does not answer") from None

    return patiently(observed)


def _traced(live: Live, fields: dict[str, Any], observed: Observed) -> dict[str, Any]:
    from sdn.trace import Fabric, endpoints, trace

    model, facts = live.model, live.facts
    kind, port = plainly.protocol(fields.get("protocol", "icmp"))
    ends = endpoints(model, fields["from"], fields["to"])
    return plainly.trace(trace(Fabric(model, observed, facts), *ends, kind, port))


def _tested(live: Live, model: Model, fields: dict[str, Any], observed: Observed) -> dict[str, Any]:
    from sdn.lab import testing

    tests = testing.chosen(model.tests, fields.get("only"))
    found = testing.run(model, tests, lambda: live.facts, observed, matrix=fields.get("matrix", False))
    return testing.values(found)


# What the API says of it


def _tracing() -> dict[str, Any]:
    example = {"from": "web1", "to": "web2", "protocol": "tcp/80"}
    return {
        "summary": "Where a packet would go",
        "description": "It is run through the flows that the switches on its way have now; none is sent.",
        "tags": ["looks"],
        "response_model": None,
        "responses": {**openapi.found("Its way", _TRACE), **openapi.refusals()},
        "openapi_extra": {**openapi.request_body(_WAY, example), "x-sdn-role": "read"},
    }


def _testing() -> dict[str, Any]:
    body = openapi.request_body(_WANTED, {"only": "db-*"})
    body["requestBody"]["required"] = False
    return {
        "summary": "Run the file's tests",
        "description": "Real packets, between real nodes. One run at a time.",
        "tags": ["looks"],
        "response_model": None,
        "responses": {**openapi.found("What came of them", _TESTED), **openapi.refusals(409)},
        "openapi_extra": {**body, "x-sdn-role": "operate"},
    }


def _drawing() -> dict[str, Any]:
    pictures = {SVG: {"schema": {"type": "string"}}, "text/plain": {"schema": {"type": "string"}}}
    found = {"description": "The picture", "content": pictures, "headers": openapi.documented({"ETag": "Of it"})}
    words = openapi.reading("The lab's picture", {200: found})
    return {**words, "tags": ["looks"], "response_class": Response}
