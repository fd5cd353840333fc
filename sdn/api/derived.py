"""What follows from the model and cannot be changed by itself: the lab, its switches, links and flows. GET only.

Enters: requests. Leaves: lists and resources of the same form as those that can be changed. Never: a write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from datapath.errors import SdnError
from sdn import links
from sdn.api import conditions, lists, openapi, whole
from sdn.api.answer import answer
from sdn.api.crud import live_of
from sdn.api.live import Live
from sdn.api.problem import NotFoundError
from sdn.api.samples import Outlet
from sdn.lab import Status
from sdn.lab.condition import confirmed_revision
from sdn.links import Link
from sdn.model import Chassis, Model
from sdn.model.facts import Facts, FlowFacts, HostFacts, PortFacts

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Derived:
    """A collection: `items` has all of them by name, in order; lists are narrowed by `filters`."""

    path: str
    noun: str
    items: Callable[[Live], Mapping[str, Item]]
    schema: dict[str, Any]
    filters: tuple[str, ...] = ()


def routers() -> list[APIRouter]:
    return [_labs(), _collection(SWITCHES), _collection(LINKS)]


def _collection(kind: Derived) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{kind.path}", tags=[kind.path])

    @router.get("", **_listing(kind))
    async def _list(
        request: Request, limit: lists.Limit = lists.USUAL, after: lists.After = "", name: lists.Pattern = ""
    ) -> Response:
        live = live_of(request)
        wanted = lists.filters(kind.filters, request)
        found = [
            (key, item)
            for key, item in kind.items(live).items()
            if (not name or fnmatchcase(key, name)) and _fits(item, wanted)
        ]
        return lists.page(request, live, found, limit, after, live.revision)

    @router.get("/{name:path}", **_getting(kind))
    async def _get(request: Request, name: str) -> Response:
        live = live_of(request)
        item = kind.items(live).get(name)
        if item is None:
            raise lists.unknown(live.lab, kind.noun, kind.path, name)
        if kind is SWITCHES:
            item = item | await _told_by(request, live.model.chassis[name])
        return answer(item, headers=conditions.headers(live, live.revision))

    return router


def _fits(item: Item, wanted: Mapping[str, set[str]]) -> bool:
    return all(values & _texts(item.get(field)) for field, values in wanted.items())


def _texts(value: Any) -> set[str]:
    """What a query may say for it; of a list any of its members."""
    return set(map(str, value)) if isinstance(value, list) else {lists.text(value)}


# The lab


def _labs() -> APIRouter:
    router = APIRouter(prefix="/v1/labs", tags=["labs"])

    @router.get("", **_listing(LABS))
    async def _list(
        request: Request, limit: lists.Limit = lists.USUAL, after: lists.After = "", name: lists.Pattern = ""
    ) -> Response:
        live = live_of(request)
        item = await asyncio.to_thread(_lab, live)
        found = [(live.lab, item)] if not name or fnmatchcase(live.lab, name) else []
        return lists.page(request, live, found, limit, after, live.revision)

    @router.get("/{name}", **_getting(LABS))
    async def _get(request: Request, name: str) -> Response:
        live = live_of(request)
        if name != live.lab:
            raise NotFoundError(f"this is the API of lab {live.lab}", remedy=f"GET /v1/labs/{live.lab}")
        return answer(await asyncio.to_thread(_lab, live), headers=conditions.headers(live, live.revision))

    return router


def _lab(live: Live) -> Item:
    from sdn.lab import own_processes

    model = live.model if live.revision else None
    status = Status(live.lab, own_processes(live.run), model, live.facts)
    supervisor = status.processes[0]
    confirmed = confirmed_revision(model, live.facts) if model else 0
    return {
        "name": live.lab,
        "revision": live.revision,
        "confirmed": confirmed,
        "underlay": {"subnet": str(model.underlay.subnet), "mtu": model.underlay.mtu} if model else None,
        "counts": whole.counts(model),
        "processes": [asdict(process) for process in status.processes],
        "troubles": list(status.troubles),
        "seconds": round(max(time.time() - supervisor.started, 0.0), 3) if supervisor.alive else None,
    }


# Switches


def switches(live: Live) -> dict[str, Item]:
    """Those with OpenFlow tables: what forwards by the kernel's bridges has none."""
    model, facts = live.model, live.facts
    return {name: _switch(chassis, facts) for name, chassis in model.chassis.items() if chassis.has_tables}


def _switch(chassis: Chassis, facts: Facts) -> Item:
    from datapath.spec import INTEGRATION_BRIDGE

    flows, host = facts.flows.get(chassis.name, FlowFacts()), facts.hosts.get(chassis.name, HostFacts())
    return {
        "name": chassis.name,
        "dpid": chassis.id,
        "dpid_hex": f"{chassis.id:016x}",
        "bridge": INTEGRATION_BRIDGE,
        "datapath": chassis.datapath,
        "datapath_type": host.datapath_type,
        "connected": flows.connected,
        "flows": {"revision": flows.revision, "count": flows.count, "error": flows.error},
    }


async def _told_by(request: Request, chassis: Chassis) -> Item:
    """What the switch itself says now: who made it, and its ports. That it is away must not hide the rest."""
    from sdn.api.ryu.switches import ask

    try:
        async with request.app.state.ofctl.connect(chassis.id) as switch:
            description = await ask(switch, chassis.id, "get_desc_stats")
            ports = await ask(switch, chassis.id, "get_port_desc")
    except (SdnError, KeyError) as error:
        return {"description": None, "ports": None, "error": str(error)}
    return {"description": description, "ports": ports, "error": ""}


# Links


def all_links(live: Live) -> dict[str, Item]:
    model, facts = live.model, live.facts
    carried = _up_by_interface(model, facts)
    return {name: _link(model, facts, link, carried) for name, link in links.links(model).items()}


def _link(model: Model, facts: Facts, link: Link, carried: Mapping[str, bool]) -> Item:
    up = carried[link.name] if link.kind == "port" else _works(model, facts, link)
    return {
        "name": link.name,
        "kind": link.kind,
        "medium": link.medium or None,
        "ends": [{"kind": end.kind, "name": end.name, "port": end.port} for end in link.ends],
        "networks": list(link.networks),
        "chassis": _chassis_of(model, link),
        "up": up,
        "counters": list(_counted_at(model, link)),
    }


def _counted_at(model: Model, link: Link) -> Iterator[str]:
    """Under which names /v1/counters has it: a tunnel at both ends, where others may be counted with it."""
    if link.kind != "tunnel":
        yield link.name
        return
    ends = [end.name for end in link.ends]
    for here, there in (ends, reversed(ends)):
        chassis = model.chassis[here]
        if not chassis.ours:
            continue
        names = [""] if chassis.has_tables else link.networks
        peer = there if link.medium == "nvgre" and not chassis.has_tables else ""
        yield from (Outlet(here, "tunnel", link.medium, network, peer).label for network in names)


def _chassis_of(model: Model, link: Link) -> list[str]:
    chassis = {end.name for end in link.ends if end.kind == "chassis"}
    return sorted(chassis | {model.nodes[end.name].chassis for end in link.ends if end.kind == "node"})


def _up_by_interface(model: Model, facts: Facts) -> dict[str, bool]:
    """An interface is up when all ports on it are."""
    found: dict[str, bool] = {}
    for port in model.ports.values():
        name = links.of_port(port)
        found[name] = found.get(name, True) and facts.ports.get(port.name, PortFacts()).up
    return found


def _works(model: Model, facts: Facts, link: Link) -> bool:
    """Whether those of its chassis that are ours have built it, and their switches know what to do with it."""
    ours = (model.chassis[end.name] for end in link.ends if end.kind == "chassis" and model.chassis[end.name].ours)
    return all(_is_built(facts, chassis) for chassis in ours)


def _is_built(facts: Facts, chassis: Chassis) -> bool:
    host, flows = facts.hosts.get(chassis.name, HostFacts()), facts.flows.get(chassis.name, FlowFacts())
    is_programmed = not chassis.has_tables or (flows.connected and flows.revision > 0 and not flows.error)
    return host.revision > 0 and not host.errors and is_programmed


# What the API says of them


def _listing(kind: Derived) -> dict[str, Any]:
    some = openapi.found("A page of them", openapi.page(kind.schema), ETag="The lab's revision")
    return {
        "summary": f"List {kind.path}",
        "response_model": None,
        "responses": {**some, **openapi.refusals(404)},
        "openapi_extra": {"parameters": [openapi.query(name) for name in kind.filters]} if kind.filters else {},
    }


def _getting(kind: Derived) -> dict[str, Any]:
    one = openapi.found(f"The {kind.noun}", kind.schema, ETag="The lab's revision")
    return {
        "summary": f"Get a {kind.noun}",
        "response_model": None,
        "responses": {**one, **openapi.refusals(404)},
    }


_STRING: Final = {"type": "string"}
_STRINGS: Final = {"type": "array", "items": _STRING}
_NUMBER: Final = {"type": "integer"}
_BOOLEAN: Final = {"type": "boolean"}

LABS: Final = Derived(
    "labs",
    "lab",
    lambda live: {live.lab: _lab(live)},
    {
        "type": "object",
        "required": ["name", "revision", "confirmed", "underlay", "counts", "processes", "troubles", "seconds"],
        "properties": {
            "name": _STRING,
            "revision": {**_NUMBER, "description": "The newest; 0 before the first file was applied."},
            "confirmed": {**_NUMBER, "description": "The newest that every chassis has confirmed."},
            "underlay": {"type": ["object", "null"]},
            "counts": {"type": "object", "additionalProperties": _NUMBER},
            "processes": {"type": "array", "items": {"type": "object"}},
            "troubles": _STRINGS,
            "seconds": {"type": ["number", "null"], "description": "Since it came up; null where it does not run."},
        },
    },
)
SWITCHES: Final = Derived(
    "switches",
    "switch",
    switches,
    {
        "type": "object",
        "required": ["name", "dpid", "dpid_hex", "bridge", "datapath", "datapath_type", "connected", "flows"],
        "properties": {
            "name": {**_STRING, "description": "Of its chassis."},
            "dpid": _NUMBER,
            "dpid_hex": _STRING,
            "bridge": _STRING,
            "datapath": _STRING,
            "datapath_type": _STRING,
            "connected": _BOOLEAN,
            "flows": {"type": "object", "description": "What the controller has confirmed there."},
            "description": {"type": ["object", "null"], "description": "As the switch says now, asked for one by one."},
            "ports": {"type": ["array", "null"], "items": {"type": "object"}},
            "error": {**_STRING, "description": "Why it does not say."},
        },
    },
    ("connected", "datapath", "datapath_type"),
)
LINKS: Final = Derived(
    "links",
    "link",
    all_links,
    {
        "type": "object",
        "required": ["name", "kind", "medium", "ends", "networks", "chassis", "up", "counters"],
        "properties": {
            "name": {**_STRING, "examples": ["web1:eth0", "hv1--hv2/vxlan", "hv1--office"]},
            "kind": {"type": "string", "enum": ["port", "tunnel", "uplink"]},
            "medium": {"type": ["string", "null"], "description": "Of a tunnel its encapsulation."},
            "ends": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "required": ["kind", "name", "port"],
                    "properties": {
                        "kind": {"type": "string", "enum": ["node", "chassis", "physnet"]},
                        "name": _STRING,
                        "port": {"type": ["string", "integer", "null"], "description": "Interface, or bridge port."},
                    },
                },
            },
            "networks": _STRINGS,
            "chassis": _STRINGS,
            "up": _BOOLEAN,
            "counters": {**_STRINGS, "description": "Its names in /v1/counters; a tunnel has one at each end."},
        },
    },
    ("kind", "networks", "chassis", "up", "medium"),
)
