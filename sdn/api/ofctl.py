"""The lab's switches for Ryu's paths: which there are, a session with each, why a flow is there, who changes some."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import APIRouter, Request

from sdn.api import ryu
from sdn.api.answer import encode
from sdn.api.caller import caller
from sdn.api.happened import About
from sdn.api.hub import Hub
from sdn.api.live import Live
from sdn.api.origin import origin
from sdn.api.switches import Sessions
from sdn.model import Chassis
from sdn.names import names
from sdn.southbound.plain import Plain, connect

WHICH: Final = ("table_id", "priority", "cookie", "match", "group_id", "meter_id")
LONGEST: Final = 300
"""Characters of a flow in an event."""


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


def router(switches: LabSwitches, hub: Hub) -> APIRouter:
    def tell(request: Request, dpid: int, done: str, body: dict[str, Any]) -> None:
        who, how, chassis = caller(request).name, origin(request), switches.name(dpid)
        which = words(body)
        message = f"{who} {done} on {chassis} ({how})" + (f": {which}" if which else "")
        hub.tell("flows.changed", message, About("chassis", chassis), author=who, origin=how, which=which)

    outer = APIRouter(prefix="/stats")
    outer.include_router(ryu.router(switches, about=switches.about, tell=tell))
    return outer


def words(body: dict[str, Any]) -> str:
    """`table_id 0, priority 7, match {"in_port":1}`: which of them, and not all that they do."""
    said = {name: body[name] for name in WHICH if name in body}
    return ", ".join(f"{name} {encode(value).decode()}" for name, value in said.items())[:LONGEST]
