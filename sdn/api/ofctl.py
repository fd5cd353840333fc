"""The lab's switches for Ryu's paths: which there are, a session with each, and why a flow is there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter

from sdn.api import ryu
from sdn.api.live import Live
from sdn.api.switches import Sessions
from sdn.model import Chassis
from sdn.names import names
from sdn.southbound.plain import Plain, connect


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


def router(switches: LabSwitches) -> APIRouter:
    outer = APIRouter(prefix="/stats")
    outer.include_router(ryu.router(switches, about=switches.about))
    return outer
