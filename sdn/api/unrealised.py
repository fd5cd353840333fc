"""What the file has a word for and this version does not realise yet: routers, security groups, floating IPs.

Enters: requests. Leaves: empty lists, so that a client need not know the version; for writes the file's own refusal.
Never: something that is accepted and then ignored.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from datapath.errors import FileError
from sdn.api import conditions, openapi
from sdn.api.answer import answer
from sdn.api.crud import live_of
from sdn.api.problem import NotFoundError
from sdn.topology.hosts import NOT_YET

SECTIONS: Final = {"routers": "routers", "security-groups": "security_groups", "floating-ips": "floating_ips"}
"""By path the section of the file."""


def routers() -> list[APIRouter]:
    return [_router(path, section) for path, section in SECTIONS.items()]


def _router(path: str, section: str) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{path}", tags=[path])

    @router.get(
        "", **_words(f"List {path}", openapi.found("None", openapi.page({"type": "object"}), ETag="Of the lab"))
    )
    async def _list(request: Request) -> Response:
        live = live_of(request)
        told: dict[str, Any] = {"items": [], "next": None, "revision": live.revision}
        return answer(told, headers=conditions.headers(live, live.revision))

    @router.get("/{name}", **_words("Get one: there is none", {}))
    async def _get(name: str) -> Response:
        raise NotFoundError(f"there is nothing called '{name}': '{section}' {NOT_YET}")

    @router.post("", **_words("Create one: refused", {}))
    async def _create() -> Response:
        raise _not_yet(section)

    @router.put("/{name}", **_words("Replace one: refused", {}))
    @router.patch("/{name}", **_words("Change one: refused", {}))
    @router.delete("/{name}", **_words("Remove one: refused", {}))
    async def _change(name: str) -> Response:
        raise _not_yet(section, name)

    return router


def _not_yet(section: str, name: str = "") -> FileError:
    about = f"{name}: " if name else ""
    return FileError(f"{about}'{section}' {NOT_YET}; expected no such section")


def _words(summary: str, answers: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    """FastAPI documents a 200 where no other answer is."""
    responses = {**answers, **openapi.refusals(404)}
    found: dict[str, Any] = {"summary": summary, "response_model": None, "responses": responses}
    return found if answers else {**found, "status_code": 404}
