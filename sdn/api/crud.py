"""The resources that can be changed: list, get, create, replace, patch, delete.

Enters: requests under /v1/<kind>. Leaves: resources as JSON; for writes, once they are stored, or with `?wait=` once
they are confirmed. Never: two ways to change one thing: every write is an edit, given to `Live.change`.
"""

from __future__ import annotations

import asyncio
import time
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from datapath.errors import ConflictError, FileError
from sdn.api import conditions, lists, openapi, whole, writes
from sdn.api.answer import answer, mapping_of
from sdn.api.caller import caller
from sdn.api.live import Live
from sdn.api.origin import origin
from sdn.api.problem import NotFoundError
from sdn.api.resources import KINDS, Kind, Resource
from sdn.bounds import LONGEST_WAIT, Wait
from sdn.model import Model
from sdn.store import Edit, Written
from sdn.topology.edit import edited

Until = Annotated[
    Wait, Query(description="When to answer: stored, confirmed by the switches (applied), or by the hosts too (whole).")
]
Timeout = Annotated[float, Query(gt=0, le=LONGEST_WAIT, description="Seconds to wait at most.")]


Dry = Annotated[bool, Query(description="Only say what would be done, step by step.")]


class Asked(NamedTuple):
    """What a write wants of its answer."""

    wait: str
    timeout: float
    started: float
    dry: bool = False


def live_of(request: Request) -> Live:
    found: Live = request.app.state.live
    return found


def routers() -> list[APIRouter]:
    """One for each kind."""
    return [_router(kind) for kind in KINDS.values()]


def _router(kind: Kind) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{kind.path}", tags=[kind.path])
    words = openapi.Words(kind)

    @router.get("", **words.listing())
    async def _list(
        request: Request, limit: lists.Limit = lists.USUAL, after: lists.After = "", name: lists.Pattern = ""
    ) -> Response:
        return _listed(live_of(request), kind, request, limit, after, name)

    @router.get("/{name}", **words.getting())
    async def _get(request: Request, name: str) -> Response:
        live = live_of(request)
        return _resource(live.model, live, kind, name)

    @router.post("", **words.creating())
    async def _create(
        request: Request, wait: Until = "stored", timeout: Timeout = 30.0, dry_run: Dry = False
    ) -> Response:
        asked = Asked(wait, timeout, time.monotonic(), dry_run)
        fields = await mapping_of(request)
        name = _name_in(kind, fields)
        return await _write(request, kind, name, lambda model: _created(model, kind, name, fields), asked)

    @router.put("/{name}", **words.replacing())
    async def _replace(
        request: Request, name: str, wait: Until = "stored", timeout: Timeout = 30.0, dry_run: Dry = False
    ) -> Response:
        asked = Asked(wait, timeout, time.monotonic(), dry_run)
        fields = await mapping_of(request)
        _check_same(kind, name, fields)
        return await _write(request, kind, name, lambda model: writes.replaced(model, kind, name, fields), asked)

    @router.patch("/{name}", **words.patching())
    async def _patch(
        request: Request, name: str, wait: Until = "stored", timeout: Timeout = 30.0, dry_run: Dry = False
    ) -> Response:
        asked = Asked(wait, timeout, time.monotonic(), dry_run)
        patch = await mapping_of(request)
        _check_same(kind, name, patch)
        return await _write(
            request, kind, name, lambda model: writes.patched(_having(model, kind, name), kind, name, patch), asked
        )

    @router.delete("/{name}", **words.deleting())
    async def _delete(
        request: Request, name: str, wait: Until = "stored", timeout: Timeout = 30.0, dry_run: Dry = False
    ) -> Response:
        asked = Asked(wait, timeout, time.monotonic(), dry_run)
        return await _removed(request, kind, name, asked)

    return router


# Reading


def _listed(live: Live, kind: Kind, request: Request, limit: int, after: str, pattern: str) -> Response:
    model, facts = live.model, live.facts
    wanted = lists.filters(kind.filters, request)
    names = [name for name in kind.names(model) if not pattern or fnmatchcase(name, pattern)]
    names = names[lists.begin(names, after) :]
    items: list[Resource] = []
    for index, name in enumerate(names):
        item = kind.view(model, facts, name)
        if all(_text(item, field) in values for field, values in wanted.items()):
            items.append(item)
        if len(items) == limit:
            more = index + 1 < len(names)
            return _page(live, model, items, lists.next_page(request, limit, name) if more else None)
    return _page(live, model, items, None)


def _page(live: Live, model: Model, items: list[Resource], more: str | None) -> Response:
    return answer(
        {"items": items, "next": more, "revision": model.revision}, headers=conditions.headers(live, model.revision)
    )


def _text(item: Resource, field: str) -> str:
    """A field of the resource, or of its status, as a query has it."""
    return lists.text(item.get(field, item["status"].get(field)))


def _resource(model: Model, live: Live, kind: Kind, name: str, status: int = 200, **more: Any) -> Response:
    try:
        found = kind.view(model, live.facts, name)
    except KeyError:
        raise lists.unknown(live.lab, kind.noun, kind.path, name) from None
    location = {"Location": f"/v1/{kind.path}/{quote(name, safe=':')}"} if status == 201 else {}
    return answer(found | more, status, {**conditions.headers(live, model.revision), **location})


def _having(model: Model, kind: Kind, name: str) -> Model:
    """Raises NotFoundError where it has no such resource."""
    if name not in kind.names(model):
        raise lists.unknown(model.lab, kind.noun, kind.path, name)
    return model


# Writing


async def _write(request: Request, kind: Kind, name: str, edits: Any, asked: Asked) -> Response:
    live, edit = live_of(request), _edit(request, kind, name, edits)
    if asked.dry:
        return await _planned(live, edit)
    written = await live.change(edit, **_told(request, kind, name))
    is_new = written.before is None or name not in kind.names(written.before)
    more = await applied(live, written, asked)
    status = 202 if more.get("applied", {}).get("missing") else 201 if is_new else 200
    return _resource(written.model, live, kind, name, status, **more)


async def _removed(request: Request, kind: Kind, name: str, asked: Asked) -> Response:
    """What others need cannot go: that is a conflict with them, and no mistake in the request."""
    live = live_of(request)

    def edits(model: Model) -> Any:
        return writes.removed(_having(model, kind, name), kind, name)

    edit = _edit(request, kind, name, edits)
    try:
        if asked.dry:
            return await _planned(live, edit)
        written = await live.change(edit, **_told(request, kind, name))
    except NotFoundError:
        raise
    except FileError as error:
        raise needed(error, kind, name) from error
    more = await applied(live, written, asked)
    if not more:
        return Response(status_code=204, headers=conditions.headers(live, written.revision))
    return answer(
        {"name": name, **more}, 202 if more["applied"]["missing"] else 200, conditions.headers(live, written.revision)
    )


async def _planned(live: Live, edit: Edit) -> Response:
    """What the change would come to, made of the present model."""
    present = live.model
    plan = await asyncio.to_thread(lambda: whole.plan_of(edit(present), present))
    return answer(plan, headers=conditions.headers(live, present.revision))


def needed(error: FileError, kind: Kind, name: str) -> ConflictError:
    told = "; ".join(str(each) for each in error.problems[:3]) or error.message
    return ConflictError(f"{kind.noun} '{name}' is needed by others: {told}", remedy="change or remove those first")


def _edit(request: Request, kind: Kind, name: str, edits: Any) -> Edit:
    confined = not caller(request).is_local

    def edit(base: Model | None) -> Model:
        model = base if base is not None else live_of(request).model
        conditions.check_presence(request, name in kind.names(model), model.revision)
        return edited(model, edits(model), confined=confined)

    return edit


def _told(request: Request, kind: Kind, name: str) -> dict[str, Any]:
    return {
        "author": caller(request).name,
        "origin": origin(request),
        "since": conditions.precondition(request, live_of(request), lambda changes: kind.touched(changes, name)),
    }


def _created(model: Model, kind: Kind, name: str, fields: Resource) -> Any:
    """A create of what is there already, and so, changes nothing; of something else it is a conflict."""
    found = writes.replaced(model, kind, name, fields)
    if name in kind.names(model) and edited(model, found) != model:
        raise ConflictError(
            f"there is a {kind.noun} '{name}' already, and it is another",
            remedy=f"PUT or PATCH /v1/{kind.path}/{name} changes it",
        )
    return found


def _name_in(kind: Kind, fields: Resource) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise FileError(f"the {kind.noun} has no name", remedy='expected "name" in what is sent')
    return name


def _check_same(kind: Kind, name: str, fields: Resource) -> None:
    if fields.get("name", name) != name:
        raise FileError(f"'{name}' cannot be renamed to '{fields['name']}'", remedy=f"create another {kind.noun}")


async def applied(live: Live, written: Written, asked: Asked) -> dict[str, Any]:
    """What the answer to a write says of its confirmation: nothing where nobody asked for it."""
    if asked.wait == "stored":
        return {}
    left = max(asked.timeout - (time.monotonic() - asked.started), 0.0)
    found = await live.applied(written.revision, timeout=left, whole=asked.wait == "whole")
    seconds = round(time.monotonic() - asked.started, 6)
    return {"applied": {"revision": found.revision, "seconds": seconds, "missing": list(found.missing)}}
