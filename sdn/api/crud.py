"""The resources that can be changed: list, get, create, replace, patch, delete.

Enters: requests under /v1/<kind>. Leaves: resources as JSON; for writes, once they are stored, or with `?wait=` once
they are confirmed. Never: two ways to change one thing: every write is an edit, given to `Live.change`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from datapath.errors import ConflictError, FileError
from sdn.api import conditions, confirmed, lists, needed, openapi, whole, writes
from sdn.api.answer import answer, mapping_of
from sdn.api.caller import caller
from sdn.api.live import Live, live_of
from sdn.api.origin import origin
from sdn.api.problem import NotFoundError
from sdn.api.resources import KINDS, Kind, Resource
from sdn.model import Model
from sdn.store import Edit, Since
from sdn.store.change import newest
from sdn.topology.edit import Edits, edited

CHANGED: Final = "Sdn-Changed"
"""Of answers to writes: `false` where it was so already, and nothing was written."""
EditsOf = Callable[[Model], Edits]


def routers() -> list[APIRouter]:
    """One for each kind."""
    return [_router(kind) for kind in KINDS.values()]


def _router(kind: Kind) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{kind.path}", tags=[kind.path])
    words = openapi.Words(kind)

    @router.get("", **words.listing())
    async def _list(request: Request, asked: lists.Asked) -> Response:
        return _listed(request, kind, asked)

    @router.get("/{name}", **words.getting())
    async def _get(request: Request, name: str) -> Response:
        live = live_of(request)
        model = live.model
        return conditions.read(request, live, model.revision, _view(live, model, kind, name))

    @router.post("", **words.creating())
    async def _create(request: Request, asked: confirmed.Asked) -> Response:
        fields = await mapping_of(request)
        name = _name_in(kind, fields)
        return await _write(request, kind, name, lambda model: _created(model, kind, name, fields), asked)

    @router.put("/{name}", **words.replacing())
    async def _replace(request: Request, name: str, asked: confirmed.Asked) -> Response:
        fields = await mapping_of(request)
        _check_same(kind, name, fields)
        return await _write(request, kind, name, lambda model: writes.replaced(model, kind, name, fields), asked)

    @router.patch("/{name}", **words.patching())
    async def _patch(request: Request, name: str, asked: confirmed.Asked) -> Response:
        patch = await mapping_of(request)
        _check_same(kind, name, patch)
        return await _write(
            request, kind, name, lambda model: writes.patched(_having(model, kind, name), kind, name, patch), asked
        )

    @router.delete("/{name}", **words.deleting())
    async def _delete(request: Request, name: str, asked: confirmed.Asked) -> Response:
        return await _removed(request, kind, name, asked)

    return router


# Reading


def _listed(request: Request, kind: Kind, asked: lists.Page) -> Response:
    live = live_of(request)
    model, facts = live.model, live.facts
    wanted = lists.filters(kind.filters, request)

    def view(name: str) -> Resource | None:
        item = kind.view(model, facts, name)
        return item if lists.fits(item, wanted) else None

    names = lists.matching(kind.names(model), asked.pattern)
    return lists.page(request, live, names, view, asked, model.revision)


def _view(live: Live, model: Model, kind: Kind, name: str) -> Resource:
    """Raises NotFoundError."""
    try:
        return kind.view(model, live.facts, name)
    except KeyError:
        raise lists.unknown(live.lab, kind.noun, kind.path, name) from None


def _having(model: Model, kind: Kind, name: str) -> Model:
    """Raises NotFoundError where it has no such resource."""
    if name not in kind.names(model):
        raise lists.unknown(model.lab, kind.noun, kind.path, name)
    return model


# Writing


async def _write(request: Request, kind: Kind, name: str, edits: EditsOf, asked: confirmed.Wanted) -> Response:
    live, edit, told = live_of(request), _edit(request, kind, name, edits), _told(request, kind, name)
    if asked.dry:
        return await _planned(live, edit, told["since"])
    written = await live.change(edit, **told)
    is_new = written.before is None or name not in kind.names(written.before)
    more = await confirmed.applied(live, written, asked)
    status = confirmed.status(more, is_new=is_new)
    headers = conditions.headers(live, written.revision) | {CHANGED: str(written.changed).lower()}
    if status == 201:
        headers["Location"] = f"/v1/{kind.path}/{quote(name, safe=':')}"
    return answer(_view(live, written.model, kind, name) | more, status, headers)


async def _removed(request: Request, kind: Kind, name: str, asked: confirmed.Wanted) -> Response:
    """What others need cannot go: that is a conflict with them, and no mistake in the request."""
    live = live_of(request)

    def edits(model: Model) -> Edits:
        return writes.removed(_having(model, kind, name), kind, name)

    edit, told = _edit(request, kind, name, edits), _told(request, kind, name)
    try:
        if asked.dry:
            return await _planned(live, edit, told["since"])
        written = await live.change(edit, **told)
    except NotFoundError:
        raise
    except FileError as error:
        raise needed.by_others(error, kind, name) from error
    more = await confirmed.applied(live, written, asked)
    headers = conditions.headers(live, written.revision)
    if not more:
        return Response(status_code=204, headers=headers)
    return answer({"name": name, **more}, confirmed.status(more), headers)


async def _planned(live: Live, edit: Edit, since: Since | None) -> Response:
    """What the change would come to now. Raises StaleError where it would not be made: `since` does not hold."""

    def plan() -> tuple[int, dict[str, Any]]:
        present = newest(live.store, since)
        model = edit(present)
        return present.revision if present else 0, whole.plan_of(model, present)

    revision, found = await asyncio.to_thread(plan)
    return answer(found, headers=conditions.headers(live, revision))


def _edit(request: Request, kind: Kind, name: str, edits: EditsOf) -> Edit:
    confined = not caller(request).is_local

    def edit(base: Model | None) -> Model:
        model = base if base is not None else live_of(request).model
        there = name in kind.names(model)
        conditions.check_presence(request, there, model.revision, f"a {kind.noun} '{name}'")
        return edited(model, edits(model), confined=confined)

    return edit


def _told(request: Request, kind: Kind, name: str) -> dict[str, Any]:
    return {
        "author": caller(request).name,
        "origin": origin(request),
        "since": conditions.precondition(request, live_of(request), lambda changes: kind.touched(changes, name)),
    }


def _created(model: Model, kind: Kind, name: str, fields: Resource) -> Edits:
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
