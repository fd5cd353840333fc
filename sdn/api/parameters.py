"""Query parameters that a route does not have are mistakes: `?dry_run=true` on what knows of none would be a write.

Enters: a request. Leaves: nothing, or a problem that names what there is. Ryu's paths take what they are given, as Ryu.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute

from sdn.api.problem import MalformedError

_RYU: Final = "/stats/"


async def only_known(request: Request) -> None:
    """Raises MalformedError."""
    asked = request.query_params
    route = request.scope.get("route")
    if not asked or route is None or request.url.path.startswith(_RYU):
        return
    known = _known(route)
    for name in asked:
        if name not in known:
            remedy = f"there are: {', '.join(sorted(known))}" if known else "it has none"
            raise MalformedError(f"{request.method} {request.url.path} has no parameter '{name}'", remedy=remedy)


def _known(route: APIRoute) -> frozenset[str]:
    """Those of its function, and those that only its description has."""
    described: list[dict[str, Any]] = (route.openapi_extra or {}).get("parameters", [])
    own = {parameter.alias for parameter in route.dependant.query_params}
    return frozenset(own | {each["name"] for each in described if each["in"] == "query"})
