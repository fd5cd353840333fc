"""The lab's switches for Ryu's paths: which there are, a session with each, why a flow is there, who changes some."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request

from sdn.api import ryu
from sdn.api.answer import encode
from sdn.api.caller import caller
from sdn.api.happened import About
from sdn.api.hub import Hub
from sdn.api.limits import Buckets, Rate
from sdn.api.live import Live
from sdn.api.origin import origin
from sdn.api.switches import Sessions
from sdn.model import Chassis
from sdn.names import names
from sdn.southbound.plain import Plain, connect

WHICH: Final = ("table_id", "priority", "cookie", "match", "group_id", "meter_id")
LONGEST: Final = 300
"""Characters of a flow in an event."""
TOLD: Final = Rate(1, 10)
"""Events of changes of one kind, by one author on one chassis: what comes faster is told together, once a second."""


class LabSwitches:
    """As `sdn.api.ryu.Switches` has it: by datapath id, which is the chassis' number."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._sessions = Sessions(live.run, connect)

    def dpids(self) -> list[int]:
        return [chassis.id for chassis in self._chassis()]

    def connect(self, dpid: int) -> AbstractAsyncContextManager[Plain]:
        """Raises KeyError where there is no such switch."""
        return self._sessions.of(self._of(dpid).name)

    def about(self, dpid: int, cookie: int) -> str | None:
        """The object behind a flow of ours, and its line in the file."""
        return names(self._live.model, self._of(dpid).name).cookie(cookie)

    async def close(self) -> None:
        await self._sessions.close()

    def _of(self, dpid: int) -> Chassis:
        return {chassis.id: chassis for chassis in self._chassis()}[dpid]

    def _chassis(self) -> list[Chassis]:
        return [chassis for chassis in self._live.model.chassis.values() if chassis.has_tables]

    def name(self, dpid: int) -> str:
        return next((chassis.name for chassis in self._chassis() if chassis.id == dpid), f"{dpid:016x}")


class Doing(NamedTuple):
    """What is told together."""

    author: str
    done: str
    chassis: str
    origin: str


class Changes:
    """What users change, as events: whoever installs ten thousand flows, one by one, pushes nothing else out of the
    ring."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._rates = Buckets(TOLD)
        self._more: dict[Doing, int] = {}

    def tell(self, doing: Doing, which: str) -> None:
        if doing in self._more:
            self._more[doing] += 1
        elif wait := self._rates.take(str(doing)):
            self._more[doing] = 1
            asyncio.get_running_loop().call_later(wait, self._tell_more, doing)
        else:
            self._tell(doing, doing.done, which, 1)

    def _tell_more(self, doing: Doing) -> None:
        times = self._more.pop(doing)
        self._rates.take(str(doing))
        self._tell(doing, several(doing.done, times), "", times)

    def _tell(self, doing: Doing, done: str, which: str, times: int) -> None:
        author, _, chassis, origin = doing
        message = f"{author} {done} on {chassis} ({origin})" + (f": {which}" if which else "")
        about = About("chassis", chassis)
        self._hub.tell("flows.changed", message, about, author=author, origin=origin, which=which, times=times)


def several(done: str, times: int) -> str:
    """`added a flow` so many times more: `added 812 more flows`."""
    verb, is_one, noun = done.partition(" a ")
    if is_one:
        return f"{verb} {times} more {noun}{'s' if times > 1 else ''}"
    return f"{done} {f'{times} more times' if times > 1 else 'once more'}"


def router(switches: LabSwitches, hub: Hub) -> APIRouter:
    changes = Changes(hub)

    def tell(request: Request, dpid: int, done: str, body: dict[str, Any]) -> None:
        changes.tell(Doing(caller(request).name, done, switches.name(dpid), origin(request)), words(body))

    outer = APIRouter(prefix="/stats")
    outer.include_router(ryu.router(switches, about=switches.about, tell=tell))
    return outer


def words(body: dict[str, Any]) -> str:
    """`table_id 0, priority 7, match {"in_port":1}`: which of them, and not all that they do."""
    said = {name: body[name] for name in WHICH if name in body}
    return ", ".join(f"{name} {encode(value).decode()}" for name, value in said.items())[:LONGEST]
