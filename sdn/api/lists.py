"""Lists: pages of them, and what narrows them down.

Enters: a request, the names of members. Leaves: a page, by the order of the names, and the path of the page after it.
Never: a page that begins somewhere else, or none at all, because the member before it has gone: its name still says
where it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from sdn.api import conditions
from sdn.api.live import Live
from sdn.api.problem import MalformedError, NotFoundError
from sdn.bounds import YES_OR_NO
from sdn.natural import natural

Item = dict[str, Any]
Wanted = Mapping[str, set[str]]
"""By field what it may be."""
Place = Callable[[str], tuple[Any, ...]]

USUAL: Final = 500
MOST: Final = 5000
"""Members of a list in one answer."""
LONGEST: Final = 512
"""Characters of a name that is asked for: more than any has."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Members of the list in one answer.")]
After = Annotated[
    str,
    Query(
        max_length=LONGEST,
        description="Only those behind this name, be it there or not: from `next` of the answer before.",
    ),
]
Pattern = Annotated[str, Query(description="Only those with such a name, such as web*.")]


class Page(NamedTuple):
    """What was asked for of a list."""

    limit: int
    after: str
    pattern: str = ""


async def _asked(limit: Limit = USUAL, after: After = "", name: Pattern = "") -> Page:
    return Page(limit, after, name)


Asked = Annotated[Page, Depends(_asked)]


def filters(known: Iterable[str], request: Request) -> Wanted:
    """By field; several values of one are alternatives. What is not known has been refused (`parameters`).

    Raises MalformedError for what such a field never is: an empty list would be taken for an answer.
    """
    given = request.query_params
    found = {field: set(given.getlist(field)) for field in known if field in given}
    for field in found.keys() & YES_OR_NO:
        if wrong := sorted(found[field] - {"true", "false"}):
            raise MalformedError(f"'{field}' is never '{wrong[0]}'", remedy=f"expected {field}=true or {field}=false")
    return found


def fits(item: Item, wanted: Wanted) -> bool:
    """By fields of the resource, or of its status."""
    return all(values & _texts(item.get(field, item.get("status", {}).get(field))) for field, values in wanted.items())


def _texts(value: Any) -> set[str]:
    """What a query may say for it; of a list any of its members."""
    return set(map(str, value)) if isinstance(value, list) else {_text(value)}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def place(name: str) -> tuple[Any, ...]:
    """What lists are sorted by: of two that count as the same (web1, web01) one is always first."""
    return natural(name), name


@lru_cache(32)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """A thousand take 2 ms, and are asked for again before there are others."""
    return tuple(sorted(names, key=place))


def matching(names: Iterable[str], pattern: str) -> Sequence[str]:
    """In order."""
    ordered = _in_order(tuple(names))
    return [name for name in ordered if fnmatchcase(name, pattern)] if pattern else ordered


def page(
    request: Request,
    live: Live,
    ordered: Sequence[str],
    view: Callable[[str], Item | None],
    asked: Page,
    revision: int,
    place: Place = place,
    **more: Any,
) -> Response:
    """Of names that are ordered by `place`, those of which `view` has an item, and only as many as are asked for."""
    first = bisect_right(ordered, place(asked.after), key=place) if asked.after else 0
    items: list[Item] = []
    last, following = "", None
    for index in range(first, len(ordered)):
        item = view(ordered[index])
        if item is None:
            continue
        if len(items) == asked.limit:
            following = next_page(request, asked.limit, last)
            break
        items.append(item)
        last = ordered[index]
    return conditions.read(request, live, revision, {"items": items, "next": following, "revision": revision, **more})


def next_page(request: Request, limit: int, name: str) -> str:
    query = [(key, value) for key, value in request.query_params.multi_items() if key not in ("limit", "after")]
    return f"{request.url.path}?{urlencode([*query, ('limit', limit), ('after', name)])}"


def unknown(lab: str, noun: str, path: str, name: str) -> NotFoundError:
    return NotFoundError(f"there is no {noun} '{name}' in lab {lab}", remedy=f"see: GET /v1/{path}")
