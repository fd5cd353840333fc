"""What the file has a word for and this version does not realise yet: routers, security groups, floating IPs.

Enters: requests. Leaves: empty lists, so that a client need not know the version; for writes the file's own refusal.
Never: something that is accepted and then ignored.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from datapath.errors import FileError
from sdn.api import lists, openapi
from sdn.api.live import live_of
from sdn.api.problem import NotFoundError
from sdn.topology.hosts import NOT_YET

SECTIONS: Final = {"routers": "routers", "security-groups": "security_groups", "floating-ips": "floating_ips"}
"""By path the section of the file."""


def routers() -> list[APIRouter]:
    return [_router(path, section) for path, section in SECTIONS.items()]


def _router(path: str, section: str) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{path}", tags=[path])

    @router.get("", **openapi.read(f"List {path}", "None", openapi.page({"type": "object"})))
    async def _list(request: Request, asked: lists.Asked) -> Response:
        live = live_of(request)
        return lists.page(request, live, (), lambda _: None, asked, live.revision)

    @router.get("/{name}", **_words("Get one: there is none"))
    async def _get(name: str) -> Response:
        raise NotFoundError(f"there is nothing called '{name}': '{section}' {NOT_YET}")

    @router.post("", **_words("Create one: refused"))
    async def _create() -> Response:
        raise _not_yet(section)

    @router.put("/{name}", **_words("Replace one: refused"))
    @router.patch("/{name}", **_words("Change one: refused"))
    @router.delete("/{name}", **_words("Remove one: refused"))
    async def _change(name: str) -> Response:
        raise _not_yet(section, name)

    return router


def _not_yet(section: str, name: str = "") -> FileError:
    about = f"{name}: " if name else ""
    return FileError(f"{about}'{section}' {NOT_YET}; expected no such section")


def _words(summary: str) -> dict[str, Any]:
    """FastAPI documents a 200 where no other status is said to be the usual one."""
    return {"summary": summary, "response_model": None, "responses": openapi.refusals(404), "status_code": 404}
