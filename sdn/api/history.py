"""The history over HTTP: which revisions there were, what they changed, and the way back.

Enters: requests. Leaves: revisions and differences in the words of the topology file; a rollback, which is a revision
like any other. Never: a number that is other than it was: addresses, MACs and ids come back as they were stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from datapath.errors import FileError
from sdn.api import conditions, confirmed, openapi, whole
from sdn.api.answer import answer, mapping_of
from sdn.api.caller import caller
from sdn.api.differences import differences, nothing
from sdn.api.happened import PLURAL, summary
from sdn.api.hub import moment
from sdn.api.live import Live, live_of
from sdn.api.origin import origin
from sdn.api.problem import NotFoundError
from sdn.bounds import REVISIONS_KEPT
from sdn.model import Model
from sdn.model.history import Revision
from sdn.store.history import model_at
from sdn.topology import confinement

LARGEST: Final = 2**63 - 1

Number = Annotated[int, Path(ge=1, le=LARGEST, description="A revision's number.")]
Limit = Annotated[int, Query(ge=1, le=REVISIONS_KEPT, description="Revisions in one answer.")]
After = Annotated[int | None, Query(ge=1, le=LARGEST, description="Only older ones than this: from `next`.")]
From = Annotated[int, Query(alias="from", ge=0, le=LARGEST, description="A revision; 0 is the empty lab.")]
To = Annotated[int | None, Query(ge=0, le=LARGEST, description="A revision; the present one without it.")]

_ENTRY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["kind", "name", "change", "before", "after", "fields"],
    "properties": {
        "kind": {"type": "string"},
        "name": {"type": "string"},
        "change": {"type": "string", "enum": ["added", "changed", "removed"]},
        "before": {"type": ["object", "null"]},
        "after": {"type": ["object", "null"]},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "before", "after"],
                "properties": {"field": {"type": "string"}, "before": {}, "after": {}},
            },
        },
    },
}
_ENTRIES: Final[dict[str, Any]] = {"type": "array", "items": _ENTRY}
_REVISION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["number", "time", "author", "origin", "changes", "settled", "errors", "seconds"],
    "properties": {
        "number": {"type": "integer"},
        "time": {"type": "string", "format": "date-time"},
        "author": {"type": "string"},
        "origin": {"type": "string", "description": "The command or request."},
        "changes": {
            "type": "object",
            "description": "How many objects of each kind were added, changed and removed.",
            "additionalProperties": {
                "type": "object",
                "properties": {verb: {"type": "integer"} for verb in ("added", "changed", "removed")},
            },
        },
        "settled": {"type": "boolean", "description": "Whether every chassis has confirmed it, or a newer one."},
        "errors": {"type": "array", "items": {"type": "string"}, "description": "What was wrong in the lab then."},
        "seconds": {"type": ["number", "null"], "description": "Until it was settled."},
    },
}
_WHOLE: Final[dict[str, Any]] = {**_REVISION, "properties": {**_REVISION["properties"], "entries": _ENTRIES}}
_DIFF: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["from", "to", "entries"],
    "properties": {"from": {"type": "integer"}, "to": {"type": "integer"}, "entries": _ENTRIES},
}
_ROLLED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["to", "revision", "changed"],
    "properties": {
        "to": {"type": "integer"},
        "revision": {"type": "integer", "description": "That has the old content now."},
        "changed": {"type": "boolean", "description": "False where it was so already, or where it was a dry run."},
        "plan": openapi.PLAN,
        "applied": openapi.APPLIED,
    },
}
_BACK: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["revision"],
    "properties": {"revision": {"type": "integer", "minimum": 1}},
}


def router() -> APIRouter:
    made = APIRouter(prefix="/v1", tags=["history"])
    _add_reading(made)
    _add_rollback(made)
    return made


def _add_reading(made: APIRouter) -> None:
    @made.get("/revisions", **_words("Revisions, the newest first", "A page of them", openapi.page(_REVISION)))
    async def _revisions(request: Request, limit: Limit = 50, after: After = None) -> Response:
        return _page(live_of(request), limit, after)

    @made.get("/revisions/{number}", **_words("A revision, and what it changed", "The revision", _WHOLE, 404))
    async def _revision(request: Request, number: Number) -> Response:
        live = live_of(request)
        revision = _known(live, number)
        before, after = await asyncio.to_thread(_both, live, number - 1, number)
        entries = [each.as_plain() for each in differences(before, after)]
        return answer({**as_plain(revision), "entries": entries})

    @made.get("/revisions/{number}/plan", **_words("What a revision did, step by step", "Its plan", openapi.PLAN, 404))
    async def _plan(request: Request, number: Number) -> Response:
        live = live_of(request)
        _known(live, number)
        return answer(await asyncio.to_thread(_plan_of, live, number))

    @made.get("/diff", **_words("What differs between two revisions", "Entries of the file", _DIFF, 404))
    async def _diff(request: Request, old: From, to: To = None) -> Response:
        live = live_of(request)
        new = live.revision if to is None else to
        before, after = await asyncio.to_thread(_both, live, old, new)
        entries = [each.as_plain() for each in differences(before, after)]
        return answer({"from": old, "to": new, "entries": entries})


def _words(summary: str, description: str, schema: dict[str, Any], *refusals: int) -> dict[str, Any]:
    answers = {**openapi.found(description, schema), **openapi.refusals(*refusals)}
    return {"summary": summary, "response_model": None, "responses": answers}


def as_plain(revision: Revision) -> dict[str, Any]:
    counts = summary(revision.packed).counts
    return {
        "number": revision.number,
        "time": moment(revision.time),
        "author": revision.author,
        "origin": revision.origin,
        "changes": {PLURAL[noun]: count._asdict() for noun, count in counts.items()},
        "settled": revision.settled,
        "errors": list(revision.errors),
        "seconds": revision.seconds,
    }


def _page(live: Live, limit: int, after: int | None) -> Response:
    revisions = live.store.revisions()
    newest_first = [number for number in sorted(revisions, reverse=True) if after is None or number < after]
    items = [as_plain(revisions[number]) for number in newest_first[:limit]]
    more = f"/v1/revisions?limit={limit}&after={items[-1]['number']}" if len(newest_first) > limit else None
    return answer({"items": items, "next": more, "revision": live.revision})


def _known(live: Live, number: int) -> Revision:
    """Raises NotFoundError."""
    found = live.store.revisions().get(number)
    if found is None:
        _at(live.model, live.store.revisions(), number)
        raise NotFoundError(f"revision {number} of lab {live.lab} is forgotten", remedy="see: GET /v1/revisions")
    return found


def _both(live: Live, old: int, new: int) -> tuple[Model, Model]:
    model = live.model
    revisions = live.store.revisions()
    return _at(model, revisions, old), _at(model, revisions, new)


def _at(model: Model, revisions: Mapping[int, Revision], number: int) -> Model:
    """The model then; what a path or a query names and is not there is a NotFoundError."""
    try:
        return past_model(model, revisions, number)
    except FileError as error:
        raise NotFoundError(error.message, remedy=error.remedy) from error


def past_model(model: Model, revisions: Mapping[int, Revision], number: int) -> Model:
    """As `model_at`; 0 is the empty lab. Raises FileError."""
    if number != 0:
        return model_at(model, revisions, number)
    if 1 not in revisions:
        _ = model_at(model, revisions, 1)  # says what is still known
    return nothing(model)


def _plan_of(live: Live, number: int) -> dict[str, Any]:
    from sdn.lab.plan import plan

    before, after = _both(live, number - 1, number)
    return asdict(plan(after, before if number > 1 else None))


def _add_rollback(made: APIRouter) -> None:
    done = openapi.found("The old content is the newest revision", _ROLLED, ETag="The lab's revision")
    late = openapi.found("Stored, but not confirmed in time", _ROLLED, 202)
    words: dict[str, Any] = {
        "summary": "Back to what a revision was",
        "response_model": None,
        "responses": {**done, **late, **openapi.refusals(404, 409, 412)},
        "openapi_extra": {
            **openapi.request_body(_BACK, {"revision": 11}),
            "parameters": [openapi.IF_MATCH],
            **openapi.DRY,
        },
    }

    @made.post("/rollback", **words)
    async def _rollback(request: Request, asked: confirmed.Asked) -> Response:
        number = _number_in(await mapping_of(request))
        live = live_of(request)
        if asked.dry:
            plan = await asyncio.to_thread(_planned, request, live, number)
            return answer(plan, headers=conditions.headers(live, plan["revision"]))
        return await _rolled_back(request, live, number, asked)


def _number_in(fields: dict[str, Any]) -> int:
    number = fields.get("revision")
    if not isinstance(number, int) or isinstance(number, bool):
        raise FileError("the request names no revision", remedy='send {"revision": N}; see: GET /v1/revisions')
    return number


def _back_at(request: Request, live: Live, present: Model, number: int) -> Model:
    """Raises FileError where somebody elsewhere would give the lab what is this machine's again."""
    model = model_at(present, live.store.revisions(), number)
    if not caller(request).is_local:
        confinement.check(model, present)
    return model


def _planned(request: Request, live: Live, number: int) -> dict[str, Any]:
    present = live.model
    plan = whole.plan_of(_back_at(request, live, present, number), present)
    return {"to": number, "revision": present.revision, "changed": False, "plan": plan}


async def _rolled_back(request: Request, live: Live, number: int, asked: confirmed.Wanted) -> Response:
    def edit(base: Model | None) -> Model:
        present = base if base is not None else live.model
        return _back_at(request, live, present, number).with_revision(present.revision)

    since = conditions.precondition(request, live)
    author = caller(request).name
    written = await live.change(edit, author=author, origin=origin(request, f"rollback to {number}"), since=since)
    more = await confirmed.applied(live, written, asked)
    told = {"to": number, "revision": written.revision, "changed": written.changed, **more}
    return answer(told, confirmed.status(more), conditions.headers(live, written.revision))
