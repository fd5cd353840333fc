"""The historian settles what every chassis has confirmed, whenever it comes to know of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from datapath.errors import SdnError, TransientError
from sdn.lab.historian import Historian, troubles_at
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts, HostFacts, PortFacts
from sdn.store import Changed, Update
from tests.unit.store.models import big


def facts(model: Model, revision: int, *, errors: tuple[str, ...] = (), up: int = 9) -> Facts:
    """Every chassis has confirmed `revision`; the first `up` ports are."""
    return Facts(
        flows={name: FlowFacts(True, revision, 10) for name in model.chassis},
        hosts={name: HostFacts(revision, "netdev", errors if name == "hv1" else ()) for name in model.chassis},
        ports={name: PortFacts(True, port.ofport) for name, port in [*model.ports.items()][:up]},
    )


class Record:
    """A store that is told how revisions ended, is away `absences` times, and does not take revision `refused`."""

    def __init__(self, absences: int = 0, refused: int = 0) -> None:
        self.refused = refused
        self.told: asyncio.Queue[tuple[int, tuple[str, ...]]] = asyncio.Queue()
        self.flows: list[tuple[tuple[int, float], ...]] = []
        self.absences = absences
        self._loop = asyncio.get_running_loop()

    def settle(self, revision: int, errors: Sequence[str], flows: Sequence[tuple[int, float]]) -> None:
        if self.absences:
            self.absences -= 1
            raise TransientError("the store is away")
        if revision == self.refused:
            raise SdnError("constraint violation")
        self.flows.append(tuple(flows))
        self._loop.call_soon_threadsafe(self.told.put_nowait, (revision, tuple(errors)))

    async def next(self) -> tuple[int, tuple[str, ...]]:
        return await asyncio.wait_for(self.told.get(), 5)


@asynccontextmanager
async def historian(record: Record) -> AsyncIterator[asyncio.Queue[Update]]:
    updates: asyncio.Queue[Update] = asyncio.Queue()
    task = asyncio.create_task(Historian(record.settle).run(updates))
    try:
        yield updates
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_revision_ends_when_every_chassis_has_confirmed_it() -> None:
    record, model = Record(), big(ports=2, chassis=2).with_revision(1)
    late = facts(model, 1)
    late.flows["hv2"] = FlowFacts(True, 0)
    async with historian(record) as updates:
        updates.put_nowait(Update(model, Facts(), None))
        updates.put_nowait(Update(model, late, Changed()))
        updates.put_nowait(Update(model, facts(model, 1), Changed()))
        assert await record.next() == (1, ())
        updates.put_nowait(Update(model, facts(model, 1), Changed()))
        updates.put_nowait(Update(model.with_revision(2), facts(model, 1), Changed()))
        updates.put_nowait(Update(model.with_revision(2), facts(model, 2), Changed()))
        assert await record.next() == (2, ())
        assert record.told.empty()


async def test_a_historian_that_starts_late_settles_what_is_confirmed() -> None:
    record, model = Record(), big(ports=2, chassis=2).with_revision(7)
    async with historian(record) as updates:
        updates.put_nowait(Update(model, facts(model, 6), None))
        assert await record.next() == (6, ())


async def test_a_lab_in_trouble_is_settled_with_what_is_wrong() -> None:
    record, model = Record(), big(ports=2, chassis=2).with_revision(3)
    async with historian(record) as updates:
        updates.put_nowait(Update(model, facts(model, 3, errors=("no such interface",), up=1), None))
        assert await record.next() == (3, ("hv1: no such interface", "hv1: web2 is not up"))


async def test_when_flows_were_confirmed_is_told_with_the_end() -> None:
    """By whoever saw it: the switches are done before the hosts are."""
    record, model = Record(), big(ports=2, chassis=2)
    clock = iter((10.0, 20.0, 30.0))
    updates: asyncio.Queue[Update] = asyncio.Queue()
    task = asyncio.create_task(Historian(record.settle, lambda: next(clock)).run(updates))
    for revision, flows, hosts in ((5, 5, 0), (8, 6, 5), (8, 8, 7), (8, 8, 8)):
        of = model.with_revision(revision)
        updates.put_nowait(Update(of, replace(facts(of, hosts), flows=facts(of, flows).flows), Changed()))
    assert [(await record.next())[0] for _ in range(3)] == [5, 7, 8]
    assert record.flows == [((5, 10.0), (6, 20.0)), ((6, 20.0), (8, 30.0)), ((8, 30.0),)]
    task.cancel()


async def test_a_store_that_is_away_is_told_later() -> None:
    record, model = Record(absences=2), big(ports=2, chassis=2).with_revision(1)
    async with historian(record) as updates:
        updates.put_nowait(Update(model, facts(model, 1), None))
        assert await record.next() == (1, ())
        assert record.absences == 0


async def test_what_the_store_refuses_is_left_to_the_next_revision() -> None:
    record, model = Record(refused=1), big(ports=2, chassis=2)
    async with historian(record) as updates:
        updates.put_nowait(Update(model.with_revision(1), facts(model, 1), None))
        updates.put_nowait(Update(model.with_revision(2), facts(model, 2), Changed()))
        assert await record.next() == (2, ())


async def test_a_lab_without_chassis_has_nobody_to_wait_for() -> None:
    record, model = Record(), big(ports=0, chassis=0).with_revision(4)
    async with historian(record) as updates:
        updates.put_nowait(Update(model, Facts(), None))
        assert await record.next() == (4, ())


def test_what_came_later_is_no_trouble_of_an_earlier_revision() -> None:
    then, now = big(ports=2, chassis=2).with_revision(5), big(ports=4, chassis=2).with_revision(6)
    seen = facts(now, 5, up=2)
    assert troubles_at(5, now, seen, [then, now]) == []
    gone = replace(seen, ports={})
    assert troubles_at(5, now, gone, [then, now]) == ["hv1: web2 is not up", "hv2: web1 is not up"]
    assert troubles_at(5, now, gone, [now]) == []
    assert len(troubles_at(6, now, facts(now, 6, up=2), [then, now])) == 2
