"""Which role a request needs: what its route says, else what its method says.

Enters: the routes of the app; a method, a path, and whether it is a dry run. Leaves: a Role, or None where nobody is
asked who they are. Never: a guess of its own at what a path means: the routes are asked, by the order in which they
will be.

A route says it by `openapi_extra={"x-sdn-role": "read"}`: public, read, operate or admin. Without that GET, HEAD and
OPTIONS need `read`, websockets (consoles) and everything else `operate`. A dry run changes nothing: routes that have
one say by `x-sdn-role-dry-run` what it needs. The page's own files and the two health checks
are public: nothing of the lab is in the former, and the latter tell whom the gate does not know yes or no.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, Protocol

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.datastructures import QueryParams
from starlette.routing import Match

from sdn.api.caller import Role

EXTRA: Final = "x-sdn-role"
EXTRA_DRY: Final = "x-sdn-role-dry-run"
PUBLIC: Final = "public"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC_PATHS: Final = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})
_PAGE: Final = "/page/"
_REMEMBERED, _LONGEST = 8192, 128
"""Paths whose role is known without asking all routes again: those of 1,000 ports and what is about them, each of so
many characters at most."""


class RoleOf(Protocol):
    """`remember` a path: only of those who are known, so that nobody else fills the memory, or empties it of others."""

    def __call__(
        self, kind: str, method: str, path: str, *, dry: bool = False, remember: bool = False
    ) -> Role | None: ...


def roles_of(app: FastAPI) -> RoleOf:
    """Of all routes that are in the app now."""
    contexts = tuple(iter_route_contexts(app.router.routes))

    @lru_cache(_REMEMBERED)
    def known(kind: str, method: str, path: str, dry: bool) -> Role | None:
        scope = _scope(kind, method, path)
        for context in contexts:
            if context.matches(dict(scope))[0] is Match.FULL:
                extra = getattr(context, "openapi_extra", None) or {}
                said = extra.get(EXTRA_DRY if dry and EXTRA_DRY in extra else EXTRA)
                return _by_method(kind, method, path) if said is None else _role(said)
        return _by_method(kind, method, path)

    def role(kind: str, method: str, path: str, *, dry: bool = False, remember: bool = False) -> Role | None:
        ask = known if remember and len(path) <= _LONGEST else known.__wrapped__
        return ask(kind, "GET" if method == "HEAD" else method, path, dry)

    return role


def is_dry(query: bytes) -> bool:
    """Only what no route can take for anything else: it is said once, and plainly."""
    return b"dry_run" in query and QueryParams(query).getlist("dry_run") == ["true"]


def methods_at(contexts: Iterable[RouteContext], path: str) -> frozenset[str]:
    """All that any route has for this path."""
    scope = _scope("http", "", path)
    matching = (each for each in contexts if each.matches(dict(scope))[0] is not Match.NONE)
    found = frozenset(method for each in matching for method in getattr(each, "methods", None) or ())
    return found | {"HEAD"} if "GET" in found else found


def _scope(kind: str, method: str, path: str) -> dict[str, Any]:
    return {"type": kind, "method": method, "path": path, "root_path": "", "headers": []}


def _role(said: str) -> Role | None:
    return None if said == PUBLIC else Role[said.upper()]


def _by_method(kind: str, method: str, path: str) -> Role | None:
    if kind != "http" or method not in READING:
        return Role.OPERATE
    return None if path in _PUBLIC_PATHS or path.startswith(_PAGE) else Role.READ
