"""Flows are read once for all who ask, narrowed by the switch where it can, and decoded beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from datapath.errors import TransientError
from datapath.openflow.codec import V14
from sdn.api import dumps
from sdn.api.dumps import Dumps, Which
from sdn.api.flows import Wanted
from sdn.pipeline.fields import USER_MARK, Cookie, Kind
from sdn.southbound.counters import flow_stats
from sdn.southbound.requests import Request
from sdn.southbound.session import Session


class Asked:
    """A switch without flows, which answers when it is told to."""

    version = V14

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.go = asyncio.Event()
        self.part = b""

    async def multipart(self, request: Request, each: Callable[[bytes], None]) -> None:
        self.requests.append(request)
        await self.go.wait()
        each(self.part)

    @asynccontextmanager
    async def switch(self, chassis: str) -> AsyncIterator[Session]:
        if chassis == "away":
            raise TransientError("away: nobody listens")
        yield cast(Session, self)


async def test_who_asks_for_what_is_not_older_meanwhile_gets_the_same() -> None:
    asked = Asked()
    found = Dumps(asked.switch)
    several = [asyncio.create_task(found.of("hv1", Which(), dumps.FRESH)) for _ in range(3)]
    await asyncio.sleep(0)
    several.pop().cancel()
    asked.go.set()
    first, second = await asyncio.gather(*several)
    assert first is second is await found.of("hv1", Which(), dumps.FRESH)
    await found.of("hv1", Which(4))
    await found.of("hv2", Which())
    assert asked.requests == [flow_stats(), flow_stats(4), flow_stats()]


async def test_what_was_asked_before_somebody_came_is_not_for_him() -> None:
    """He may have changed flows just before. All who come meanwhile wait for the same next one."""
    asked = Asked()
    found = Dumps(asked.switch)
    early = asyncio.create_task(found.of("hv1", Which()))
    while not asked.requests:
        await asyncio.sleep(0)
    late = [asyncio.create_task(found.of("hv1", Which())) for _ in range(3)]
    asked.go.set()
    first = await early
    (second, *others) = await asyncio.gather(*late)
    assert first is not second
    assert all(each is second for each in others)
    assert await found.of("hv1", Which()) is not second
    assert len(asked.requests) == 3


async def test_what_was_read_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "FRESH", 0.0)
    asked = Asked()
    asked.go.set()
    found = Dumps(asked.switch)
    await found.of("hv1", Which())
    while found._known:
        await asyncio.sleep(0)
    await found.of("hv1", Which())
    assert len(asked.requests) == 2


async def test_a_reading_is_not_forgotten_while_the_next_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does its failure take away what another put in its place."""
    unforeseen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
    monkeypatch.setattr(dumps, "FRESH", 0.0)
    asked = Asked()
    asked.go.set()
    found, key = Dumps(asked.switch), ("hv1", Which())
    await found.of(*key)
    asked.go.clear()
    asked.part = b"no flow"
    again = asyncio.create_task(found.of(*key))
    for _ in range(5):
        await asyncio.sleep(0)  # what was to be forgotten of the first is
    assert key in found._known
    other: Any = object()
    found._known[key] = other
    asked.go.set()
    with pytest.raises(TransientError):
        await again
    assert found._known.pop(key) is other
    assert unforeseen == []


async def test_what_fails_is_tried_again() -> None:
    asked = Asked()
    asked.go.set()
    found = Dumps(asked.switch)
    for _ in range(2):
        with pytest.raises(TransientError):
            await found.of("away", Which())
    asked.part = b"no flow"
    with pytest.raises(TransientError, match="hv1: flow statistics"):
        await found.of("hv1", Which())
    assert not found._known


async def test_no_switch_has_such_a_table() -> None:
    asked = Asked()
    for table in (-1, 255, 256, 1 << 40):
        assert await Dumps(asked.switch).of("hv1", Which(table)) == []
    assert asked.requests == []


def one(*values: Any) -> frozenset[Any]:
    return frozenset(values)


def test_what_a_switch_can_leave_out() -> None:
    port = Cookie(Kind.PORT, 7).pack()
    assert Wanted().on_the_switch == Which()
    assert Wanted(3).on_the_switch == Which(3)
    assert Wanted(3, one(port)).on_the_switch == Which(3, port, (1 << 64) - 1)
    assert Wanted(None, one(port, 8)).on_the_switch == Which()
    assert Wanted(None, one()).on_the_switch == Which()
    assert Wanted(None, None, one("user")).on_the_switch == Which(None, USER_MARK << 48, 0xFFFF << 48)
    assert Wanted(None, None, one("other")).on_the_switch == Which()
    assert Wanted(None, None, one("port", "user")).on_the_switch == Which()
    which = Wanted(None, None, one("port")).on_the_switch
    assert port & which.mask == which.cookie
    assert Cookie(Kind.NETWORK, 7).pack() & which.mask != which.cookie
