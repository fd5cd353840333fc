"""Query parameters that a route does not have are mistakes: `?dry_run=true` on what knows of none would be a write.

Enters: a request. Leaves: nothing, or a problem that names what there is. Ryu's paths take what they are given, as Ryu.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import WebSocketException
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute, APIWebSocketRoute

from sdn.api.problem import MalformedError

_RYU: Final = "/stats/"
_POLICY: Final = 1008
"""RFC 6455 section 7.4.1."""


async def only_known(request: HTTPConnection) -> None:
    """Raises MalformedError; of a websocket WebSocketException, which refuses its handshake."""
    asked = request.query_params
    route = request.scope.get("route")
    if not asked or route is None or request.url.path.startswith(_RYU):
        return
    known = _known(route)
    for name in asked:
        if name not in known:
            remedy = f"there are: {', '.join(sorted(known))}" if known else "it has none"
            method = request.scope.get("method", "GET")
            mistake = MalformedError(f"{method} {request.url.path} has no parameter '{name}'", remedy=remedy)
            raise mistake if request.scope["type"] == "http" else WebSocketException(_POLICY, mistake.message[:120])


def _known(route: APIRoute | APIWebSocketRoute) -> frozenset[str]:
    """Those of its function and of what that depends on, and those that only its description has."""
    extra: dict[str, Any] = getattr(route, "openapi_extra", None) or {}
    described: list[dict[str, Any]] = extra.get("parameters", [])
    asked = (route.dependant, *route.dependant.dependencies)
    own = {parameter.alias for each in asked for parameter in each.query_params}
    return frozenset(own | {each["name"] for each in described if each["in"] == "query"})
