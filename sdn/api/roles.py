"""Which role a request needs: what its route says, else what its method says.

Enters: the routes of the app; a method and a path. Leaves: a Role, or None where nobody is asked who they are. Never: a
guess of its own at what a path means: the routes are asked, by the order in which they will be.

A route says it by `openapi_extra={"x-sdn-role": "read"}`: public, read, operate or admin. Without that GET, HEAD and
OPTIONS need `read`, websockets (consoles) and everything else `operate`. The page's own files and the two health checks
are public: nothing of the lab is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Match

from sdn.api.caller import Role

EXTRA: Final = "x-sdn-role"
PUBLIC: Final = "public"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC_PATHS: Final = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})
_PAGE: Final = "/page/"
_REMEMBERED: Final = 8192
"""Paths whose role is known without asking all routes again: those of 1,000 ports and what is about them."""

RoleOf = Callable[[str, str, str], Role | None]
"""Of (scope type, method, path)."""


def roles_of(app: FastAPI) -> RoleOf:
    """Of all routes that are in the app now."""
    contexts = tuple(iter_route_contexts(app.router.routes))

    @lru_cache(_REMEMBERED)
    def role(kind: str, method: str, path: str) -> Role | None:
        scope = {"type": kind, "method": method, "path": path, "root_path": "", "headers": []}
        for context in contexts:
            if context.matches(dict(scope))[0] is Match.FULL:
                said = (getattr(context, "openapi_extra", None) or {}).get(EXTRA)
                return _by_method(kind, method, path) if said is None else _role(said)
        return _by_method(kind, method, path)

    return role


def _role(said: str) -> Role | None:
    return None if said == PUBLIC else Role[said.upper()]


def _by_method(kind: str, method: str, path: str) -> Role | None:
    if kind != "http" or method not in READING:
        return Role.OPERATE
    return None if path in _PUBLIC_PATHS or path.startswith(_PAGE) else Role.READ
