"""What follows from the model and cannot be changed by itself: the lab and its switches; links are beside. GET only.

Enters: requests. Leaves: lists and resources of the same form as those that can be changed. Never: a write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from datapath.errors import SdnError
from datapath.spec import INTEGRATION_BRIDGE
from sdn.api import conditions, lists, openapi, whole
from sdn.api.lists import Item
from sdn.api.live import Live, live_of
from sdn.lab import Status
from sdn.lab.condition import confirmed_revision
from sdn.model import Chassis
from sdn.model.facts import Facts, FlowFacts, HostFacts


@dataclass(frozen=True, slots=True)
class Derived:
    """A collection: `items` has all of them by name; lists are narrowed by `filters`. `detail` is what is said besides
    of one that is asked for alone. `is_slow`: its items are not in memory, and are made in a thread."""

    path: str
    noun: str
    items: Callable[[Live], Mapping[str, Item]]
    schema: dict[str, Any]
    filters: tuple[str, ...] = ()
    detail: Callable[[Request, str], Awaitable[Item]] | None = None
    is_slow: bool = False

    async def found(self, live: Live) -> Mapping[str, Item]:
        return await asyncio.to_thread(self.items, live) if self.is_slow else self.items(live)


def router(kind: Derived) -> APIRouter:
    made = APIRouter(prefix=f"/v1/{kind.path}", tags=[kind.path])

    @made.get("", **_listing(kind))
    async def _list(request: Request, asked: lists.Asked) -> Response:
        live = live_of(request)
        wanted = lists.filters(kind.filters, request)
        items = await kind.found(live)

        def view(name: str) -> Item | None:
            return items[name] if lists.fits(items[name], wanted) else None

        return lists.page(request, live, lists.matching(items, asked.pattern), view, asked, live.revision)

    @made.get("/{name:path}", **_getting(kind))
    async def _get(request: Request, name: str) -> Response:
        live = live_of(request)
        item = (await kind.found(live)).get(name)
        if item is None:
            raise lists.unknown(live.lab, kind.noun, kind.path, name)
        if kind.detail is not None:
            item = item | await kind.detail(request, name)
        return conditions.read(request, live, live.revision, item)

    return made


# The lab


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


async def _told_by(request: Request, name: str) -> Item:
    """What the switch itself says now: who made it, and its ports. That it is away must not hide the rest."""
    from sdn.api.ryu.switches import ask

    chassis = live_of(request).model.chassis[name]
    try:
        async with request.app.state.ofctl.connect(chassis.id) as switch:
            description = await ask(switch, chassis.id, "get_desc_stats")
            ports = await ask(switch, chassis.id, "get_port_desc")
    except (SdnError, KeyError) as error:
        return {"description": None, "ports": None, "error": str(error)}
    return {"description": description, "ports": ports, "error": ""}


# What the API says of them


def _listing(kind: Derived) -> dict[str, Any]:
    filters = map(openapi.query, kind.filters)
    return openapi.read(f"List {kind.path}", "A page of them", openapi.page(kind.schema), *filters)


def _getting(kind: Derived) -> dict[str, Any]:
    return openapi.read(f"Get a {kind.noun}", f"The {kind.noun}", kind.schema)


STRING: Final = {"type": "string"}
STRINGS: Final = {"type": "array", "items": STRING}
NUMBER: Final = {"type": "integer"}
BOOLEAN: Final = {"type": "boolean"}

LABS: Final = Derived(
    "labs",
    "lab",
    lambda live: {live.lab: _lab(live)},
    {
        "type": "object",
        "required": ["name", "revision", "confirmed", "underlay", "counts", "processes", "troubles", "seconds"],
        "properties": {
            "name": STRING,
            "revision": {**NUMBER, "description": "The newest; 0 before the first file was applied."},
            "confirmed": {**NUMBER, "description": "The newest that every chassis has confirmed."},
            "underlay": {"type": ["object", "null"]},
            "counts": {"type": "object", "additionalProperties": NUMBER},
            "processes": {"type": "array", "items": {"type": "object"}},
            "troubles": STRINGS,
            "seconds": {"type": ["number", "null"], "description": "Since it came up; null where it does not run."},
        },
    },
    is_slow=True,
)
SWITCHES: Final = Derived(
    "switches",
    "switch",
    switches,
    {
        "type": "object",
        "required": ["name", "dpid", "dpid_hex", "bridge", "datapath", "datapath_type", "connected", "flows"],
        "properties": {
            "name": {**STRING, "description": "Of its chassis."},
            "dpid": NUMBER,
            "dpid_hex": STRING,
            "bridge": STRING,
            "datapath": STRING,
            "datapath_type": STRING,
            "connected": BOOLEAN,
            "flows": {"type": "object", "description": "What the controller has confirmed there."},
            "description": {"type": ["object", "null"], "description": "As the switch says now, asked for one by one."},
            "ports": {"type": ["array", "null"], "items": {"type": "object"}},
            "error": {**STRING, "description": "Why it does not say."},
        },
    },
    ("connected", "datapath", "datapath_type"),
    detail=_told_by,
)
