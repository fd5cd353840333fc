"""The flows of the switches as they are now, asked of the switches themselves. GET only.

Enters: requests. Leaves: what `sdn flows -o json` prints, each with its chassis and an id that stays the same as long
as the flow is there. Never: what the controller believes; that is a fact of each switch (`/v1/switches`).

Flows come and go, learned ones by themselves. Where that one has gone which ended a page, the next begins with the
first of its table and priority: some come twice, and none is left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from datapath.errors import FileError, TransientError
from datapath.openflow.codec import FlowStats
from datapath.openflow.text import format_match
from sdn import plainly
from sdn.api import conditions, lists, openapi
from sdn.api.dumps import FRESH, Dumps, Which
from sdn.api.lists import Item
from sdn.api.live import live_of
from sdn.api.problem import MalformedError, NotFoundError
from sdn.model import Model
from sdn.names import names
from sdn.pipeline.fields import USER_MARK, Cookie, Kind
from sdn.pipeline.layout import Table

After = Annotated[
    str,
    Query(
        max_length=lists.LONGEST,
        description="Only those behind the flow of this id: from `next` of the answer before. Where it has gone, "
        "from the first of its table and priority on.",
    ),
]
Stats = Mapping[str, tuple[str, FlowStats]]
"""By id, with their chassis."""

_FILTERS: Final = {
    "chassis": "Only those of this chassis.",
    "table": "Only those of this table, by name or number.",
    "node": "Only those about ports of this node.",
    "port": "Only those about this port.",
    "network": "Only those about this network, or about ports in it.",
    "cookie": "Only those about such objects: chassis, network, port, learned; user (Ryu's REST), other.",
}
KINDS: Final = (*(kind.name.lower() for kind in Kind), "user", "other")

_FLOW: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "chassis", "table", "table_id", "priority", "match", "actions", "packets", "bytes", "cookie"],
    "properties": {
        "id": {"type": "string", "description": "chassis/table/priority/match, the latter as a hash."},
        "chassis": {"type": "string"},
        "table": {"type": "string"},
        "table_id": {"type": "integer"},
        "priority": {"type": "integer"},
        "match": {"type": "string"},
        "actions": {"type": "string"},
        "packets": {"type": "integer"},
        "bytes": {"type": "integer"},
        "seconds": {"type": "number"},
        "cookie": {"type": "string"},
        "object": {"type": ["string", "null"], "description": "What it is there for, with its line in the file."},
        "raw": {"type": "string", "description": "As ovs-ofctl reads it."},
    },
}
_MISSING: Final = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Chassis whose flows are not in the list, and why: a switch is away, or has no tables.",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which flows: of which table, about which objects (cookies), of which kind. None: of any."""

    table: int | None = None
    cookies: frozenset[int] | None = None
    kinds: frozenset[str] | None = None

    def has(self, stats: FlowStats) -> bool:
        flow = stats.flow
        is_about = self.cookies is None or flow.cookie in self.cookies
        return self.table in (None, flow.table) and is_about and (self.kinds is None or kind(flow.cookie) in self.kinds)

    @property
    def on_the_switch(self) -> Which:
        """What a switch can narrow it to: to one cookie, or one kind of cookie."""
        if self.cookies and len(self.cookies) == 1:
            return Which(self.table, next(iter(self.cookies)), _WHOLE)
        of_kind = _OF_KIND.get(next(iter(self.kinds))) if self.kinds and len(self.kinds) == 1 else None
        return Which(self.table, *(of_kind or (0, 0)))


_WHOLE: Final = (1 << 64) - 1
_OF_KIND: Final = {
    **{each.name.lower(): (Cookie(each, 0).pack(), 0xFFFFFF << 40) for each in Kind},
    "user": (USER_MARK << 48, 0xFFFF << 48),
}
"""The bits of a cookie that tell its kind, and which these are; all others have no bits in common."""


def router() -> APIRouter:
    made = APIRouter(prefix="/v1/flows", tags=["flows"])

    @made.get("", **_listing())
    async def _list(request: Request, limit: lists.Limit = lists.USUAL, after: After = "") -> Response:
        live = live_of(request)
        model = live.model
        asked = lists.filters(_FILTERS, request)
        wanted = _wanted(model, asked)
        chassis = _chassis(model, asked.get("chassis"))
        max_age = FRESH if after else 0.0
        dumps, missing = await _dumped(request.app.state.dumps, model, chassis, wanted, max_age)
        if "chassis" in asked and missing:
            raise TransientError("; ".join(missing.values()))
        missing |= _without_tables(model, chassis)
        asked_page = lists.Page(limit, after)

        def page() -> Response:
            found = _by_id(dumps, wanted)
            place = _placing(found)
            ordered, view = sorted(found, key=place), _view(model, found)
            return lists.page(request, live, ordered, view, asked_page, model.revision, place, missing=missing)

        return await asyncio.to_thread(page)

    @made.get("/{chassis}/{table}/{priority}/{match}", **_getting())
    async def _get(request: Request, chassis: str, table: int, priority: int, match: str) -> Response:
        live = live_of(request)
        model = live.model
        name = f"{chassis}/{table}/{priority}/{match}"
        if chassis not in model.chassis:
            raise lists.unknown(live.lab, "chassis", "chassis", chassis)
        if not model.chassis[chassis].has_tables:
            raise NotFoundError(plainly.no_tables(model.chassis[chassis]).message)
        dumps: Dumps = request.app.state.dumps
        dump = {chassis: await dumps.of(chassis, Which(table))}
        found = await asyncio.to_thread(_by_id, dump, Wanted(table))
        if name not in found:
            raise lists.unknown(live.lab, "flow", "flows", name)
        return conditions.read(request, live, model.revision, _view(model, found)(name))

    return made


def flow_id(chassis: str, stats: FlowStats) -> str:
    """What makes it one flow of its switch (OpenFlow 1.4 section 6.4): table, priority and match."""
    flow = stats.flow
    match = hashlib.sha256(format_match(flow.match).encode()).hexdigest()[:16]
    return f"{chassis}/{flow.table}/{flow.priority}/{match}"


def kind(number: int) -> str:
    """What a cookie says that the flow is about."""
    cookie = Cookie.unpack(number)
    if cookie is not None:
        return cookie.kind.name.lower()
    return "user" if number >> 48 == USER_MARK else "other"


def _by_id(dumps: Mapping[str, Iterable[FlowStats]], wanted: Wanted) -> Stats:
    return {
        flow_id(chassis, stats): (chassis, stats)
        for chassis, dump in dumps.items()
        for stats in dump
        if wanted.has(stats)
    }


def _view(model: Model, found: Stats) -> Callable[[str], Item]:
    known = {chassis: names(model, chassis) for chassis in {chassis for chassis, _ in found.values()}}

    def view(key: str) -> Item:
        chassis, stats = found[key]
        return {"id": key, "chassis": chassis, **plainly.flow(stats, known[chassis])}

    return view


_ID: Final = re.compile(r"([^/]+)/([0-9]{1,3})/([0-9]{1,5})/[0-9a-f]{16}")


def _placing(found: Stats) -> lists.Place:
    """In the pipeline's order, as `sdn flows` has them. What is not there is before all of its table and priority.

    The function raises MalformedError for what is no id of a flow.
    """

    def place(key: str) -> tuple[Any, ...]:
        if key in found:
            chassis, stats = found[key]
            return lists.place(chassis), *plainly.order(stats)
        parts = _ID.fullmatch(key)
        if parts is None:
            raise MalformedError(f"'{key}' is no id of a flow", remedy="begin with the first page: leave `after` out")
        return lists.place(parts[1]), int(parts[2]), -int(parts[3])

    return place


async def _dumped(
    dumps: Dumps, model: Model, chassis: Iterable[str], wanted: Wanted, max_age: float
) -> tuple[dict[str, list[FlowStats]], dict[str, str]]:
    """All switches at once; one that is away does not hide the others."""

    async def one(name: str) -> list[FlowStats] | TransientError:
        try:
            return await dumps.of(name, wanted.on_the_switch, max_age)
        except TransientError as error:
            return error

    asked = [name for name in chassis if model.chassis[name].has_tables]
    answers = dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))
    missing = {name: each.message for name, each in answers.items() if isinstance(each, TransientError)}
    return {name: each for name, each in answers.items() if not isinstance(each, TransientError)}, missing


def _without_tables(model: Model, chassis: Iterable[str]) -> dict[str, str]:
    return {
        name: plainly.no_tables(model.chassis[name]).message for name in chassis if not model.chassis[name].has_tables
    }


def _chassis(model: Model, asked: set[str] | None) -> list[str]:
    """Raises FileError for one that is not there, or has no tables."""
    if asked is None:
        return list(model.chassis)
    for name in asked:
        if name not in model.chassis:
            raise FileError(f"there is no chassis '{name}'", remedy="see: GET /v1/chassis")
        if not model.chassis[name].has_tables:
            raise plainly.no_tables(model.chassis[name])
    return [name for name in model.chassis if name in asked]


def _wanted(model: Model, asked: Mapping[str, set[str]]) -> Wanted:
    tables = {plainly.table(text) for text in asked.get("table", ())}
    if len(tables) > 1:
        raise FileError("flows of several tables at once cannot be asked for", remedy="leave the table out")
    kinds = asked.get("cookie", set())
    for unknown_kind in kinds - set(KINDS):
        raise FileError(f"flows are about no '{unknown_kind}'", remedy=f"there are: {', '.join(KINDS)}")
    cookies: frozenset[int] | None = None
    for field, about in _ABOUT.items():
        if field in asked:
            found = frozenset(cookie for name in asked[field] for cookie in about(model, name))
            cookies = found if cookies is None else cookies & found
    return Wanted(next(iter(tables), None), cookies, frozenset(kinds) if kinds else None)


def _about_node(model: Model, name: str) -> Iterable[int]:
    if name not in model.nodes:
        raise FileError(f"there is no node '{name}'", remedy="see: GET /v1/nodes")
    return [Cookie(Kind.PORT, port.id).pack() for each in model.interfaces_of.get(name, ()) for port in each]


def _about_port(model: Model, name: str) -> Iterable[int]:
    if name not in model.ports:
        raise FileError(f"there is no port '{name}'", remedy="see: GET /v1/ports")
    return [Cookie(Kind.PORT, model.ports[name].id).pack()]


def _about_network(model: Model, name: str) -> Iterable[int]:
    if name not in model.networks:
        raise FileError(f"there is no network '{name}'", remedy="see: GET /v1/networks")
    number = model.networks[name].id
    own = [Cookie(Kind.NETWORK, number).pack(), Cookie(Kind.LEARNED, number).pack()]
    return [*own, *(Cookie(Kind.PORT, port.id).pack() for port in model.ports_of[name])]


_ABOUT: Final[Mapping[str, Callable[[Model, str], Iterable[int]]]] = {
    "node": _about_node,
    "port": _about_port,
    "network": _about_network,
}


# What the API says of them


def _listing() -> dict[str, Any]:
    schema = openapi.page(_FLOW)
    schema = {**schema, "properties": {**schema["properties"], "missing": _MISSING}}
    filters = [openapi.query(name, text) for name, text in _FILTERS.items()]
    words = openapi.read("List flows, as the switches have them now", "A page of them", schema, *filters)
    return {**words, "description": f"Tables are: {', '.join(table.label for table in Table)}."}


def _getting() -> dict[str, Any]:
    return openapi.read("Get a flow by its id", "The flow", _FLOW)
