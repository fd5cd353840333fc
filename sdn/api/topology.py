"""The topology as a whole: the lab as a file, a file as the lab, and what that would do.

Enters: a topology file, in YAML or JSON. Leaves: it applied, as `sdn apply` does, or its plan; the present lab in the
same words. Never: numbers that change for what the file did not change: those of the running lab are kept.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import yaml
from fastapi import APIRouter, Query, Request, Response

from sdn.api import conditions, confirmed, openapi, whole
from sdn.api.answer import JSON, answer, encode
from sdn.api.caller import caller
from sdn.api.live import Live, live_of
from sdn.api.origin import origin
from sdn.api.whole import YAML, Sent
from sdn.model import Model
from sdn.store import Since
from sdn.store.change import newest
from sdn.topology import written

File = Annotated[
    str,
    Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$", description="What its mistakes and objects are told under."),
]

_EXAMPLE: Final = """name: overlay
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 10010}, subnet: 10.10.0.0/24}
nodes:
  web1: {chassis: hv1, network: web}
  web2: {chassis: hv2, network: web}
tests:
  mesh: {from: web*, to: web*, ping: ok}
"""
_TROUBLES: Final = {
    "type": "array",
    "items": {"type": "string"},
    "description": "What is wrong with the lab as it runs, whatever the file says.",
}
_PLAN: Final[dict[str, Any]] = {**openapi.PLAN, "properties": {**openapi.PLAN["properties"], "troubles": _TROUBLES}}
_STORED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["revision", "changed", "seconds", "counts"],
    "properties": {
        "revision": {"type": "integer", "description": "Of the lab, which has it now."},
        "changed": {"type": "boolean", "description": "False where the lab was so already."},
        "seconds": {"type": "number", "description": "That it took until it was stored."},
        "counts": {
            "type": "object",
            "description": "How many objects of each kind there are.",
            "additionalProperties": {"type": "integer"},
        },
        "applied": openapi.APPLIED,
    },
}


def router() -> APIRouter:
    made = APIRouter(prefix="/v1", tags=["topology"])

    @made.get("/topology", **_reading())
    async def _get(request: Request) -> Response:
        return await _as_file(request, live_of(request).model)

    @made.put("/topology", **_writing())
    async def _put(request: Request, asked: confirmed.Asked, file: File = "") -> Response:
        sent = await _sent(request, file)
        if asked.dry:
            return await _planned(request, sent)
        return await _applied(request, sent, asked)

    @made.post("/plan", **_planning())
    async def _plan(request: Request, file: File = "") -> Response:
        return await _planned(request, await _sent(request, file))

    return made


# Reading


async def _as_file(request: Request, model: Model) -> Response:
    if whole.wants_json(request.headers.get("accept", "")):
        content, media = encode(written.document(model)), JSON
    else:
        content, media = (await asyncio.to_thread(whole.as_text, model)).encode(), YAML
    return conditions.read_as(request, live_of(request), model.revision, content, media, {"Vary": "Accept"})


# Writing


async def _sent(request: Request, name: str) -> Sent:
    """What says that it is JSON is taken for that: its mistakes have pointers instead of lines."""
    live = live_of(request)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media == JSON or media.endswith("+json")
    confined = not caller(request).is_local
    return Sent(live.lab, await request.body(), is_json, name or f"{live.lab}.yaml", confined)


async def _planned(request: Request, sent: Sent) -> Response:
    """Of what runs now. A condition on the revision holds for plans too: what was planned is what is applied."""
    live = live_of(request)
    since = _condition(request, live)

    def plan() -> tuple[Model | None, dict[str, Any]]:
        present = newest(live.store, since)
        return present, whole.plan_of(sent.built(present), present)

    present, found = await asyncio.to_thread(plan)
    headers = conditions.headers(live, present.revision if present else 0)
    return answer(found | {"troubles": whole.troubles(present, live.facts)}, headers=headers)


async def _applied(request: Request, sent: Sent, asked: confirmed.Wanted) -> Response:
    live = live_of(request)
    since = _condition(request, live)
    author = caller(request).name
    written_so = await live.change(sent.built, author=author, origin=origin(request), since=since)
    seconds = asked.seconds
    more = await confirmed.applied(live, written_so, asked)
    told = {
        "revision": written_so.revision,
        "changed": written_so.changed,
        "seconds": seconds,
        "counts": whole.counts(written_so.model),
        **more,
    }
    return answer(told, confirmed.status(more), conditions.headers(live, written_so.revision))


def _condition(request: Request, live: Live) -> Since | None:
    """`If-Match: N`: nothing at all has changed since; `*`: there is a topology; `If-None-Match: *`: there is none."""
    conditions.check_presence(request, bool(live.revision), live.revision, "a topology")
    if request.headers.get("if-none-match", "").strip() == "*":
        return Since(0)
    return conditions.precondition(request, live)


# What the API says of it


def _reading() -> dict[str, Any]:
    content = {
        YAML: {"schema": {"type": "object", "required": ["name", "underlay", "chassis"]}, "example": _EXAMPLE},
        JSON: {"schema": {"type": "object", "required": ["name", "underlay", *written.SECTIONS]}},
    }
    headers = openapi.documented({"ETag": openapi.TAG})
    words = openapi.reading(
        "The lab as a topology file", {200: {"description": "The file", "content": content, "headers": headers}}
    )
    return {**words, "description": "In YAML as one would write it; in JSON with nothing left open."}


def _body() -> dict[str, Any]:
    content = {
        YAML: {"schema": {"$ref": "#/components/schemas/Topology"}, "example": _EXAMPLE},
        JSON: {"schema": {"$ref": "#/components/schemas/Topology"}, "example": yaml.safe_load(_EXAMPLE)},
    }
    return {"requestBody": {"required": True, "content": content}}


def _writing() -> dict[str, Any]:
    stored = {"oneOf": [_STORED, _PLAN], "description": "What was stored; with `dry_run` the plan."}
    late = openapi.found("Stored, but not confirmed in time", _STORED, 202, ETag="The lab's revision")
    return {
        "summary": "Apply a topology file",
        "response_model": None,
        "responses": {
            **openapi.found("It is stored", stored, ETag="The lab's revision"),
            **late,
            **openapi.refusals(409, 412),
        },
        "openapi_extra": {**_body(), "parameters": [openapi.IF_MATCH, openapi.IF_NONE], **openapi.DRY},
    }


def _planning() -> dict[str, Any]:
    return {
        "summary": "What applying a topology file would do",
        "response_model": None,
        "responses": {
            **openapi.found("The plan", _PLAN, ETag="The lab's revision"),
            **openapi.refusals(409, 412),
        },
        "openapi_extra": {**_body(), "parameters": [openapi.IF_MATCH, openapi.IF_NONE], "x-sdn-role": "read"},
    }
