"""Lists: pages of them, and what narrows them down.

Enters: a request, members by name in order. Leaves: a page, and the path of the page after it. Never: a page
that begins somewhere else because the member before it has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from sdn.api import conditions
from sdn.api.answer import answer
from sdn.api.live import Live
from sdn.api.problem import NotFoundError

Item = dict[str, Any]

USUAL: Final = 500
MOST: Final = 5000
"""Members of a list in one answer."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Members of the list in one answer.")]
After = Annotated[str, Query(description="Only those behind this name: from `next` of the answer before.")]
Pattern = Annotated[str, Query(description="Only those with such a name, such as web*.")]


def filters(known: Iterable[str], request: Request) -> dict[str, set[str]]:
    """By field; several values of one are alternatives. What is not known has been refused (`parameters`)."""
    given = request.query_params
    return {field: set(given.getlist(field)) for field in known if field in given}


def text(value: Any) -> str:
    """As a query has it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def begin(names: Sequence[str], after: str) -> int:
    """Where the page behind one of them begins. Raises NotFoundError where that is gone."""
    if not after:
        return 0
    if after not in names:
        raise NotFoundError(f"there is no '{after}' any more", remedy="begin with the first page again")
    return names.index(after) + 1


def page(
    request: Request, live: Live, found: Sequence[tuple[str, Item]], limit: int, after: str, revision: int, **more: Any
) -> Response:
    """The members behind one of them. Raises NotFoundError where that is gone."""
    first = begin([key for key, _ in found], after)
    some = found[first : first + limit]
    following = next_page(request, limit, some[-1][0]) if first + limit < len(found) else None
    told = {"items": [item for _, item in some], "next": following, "revision": revision, **more}
    return answer(told, headers=conditions.headers(live, revision))


def next_page(request: Request, limit: int, name: str) -> str:
    query = [(key, value) for key, value in request.query_params.multi_items() if key not in ("limit", "after")]
    return f"{request.url.path}?{urlencode([*query, ('limit', limit), ('after', name)])}"


def unknown(lab: str, noun: str, path: str, name: str) -> NotFoundError:
    return NotFoundError(f"there is no {noun} '{name}' in lab {lab}", remedy=f"see: GET /v1/{path}")
