"""A lab without processes: a store in memory with history, behind the real `Live` and the real app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import httpx
from fastapi import FastAPI

from datapath.errors import StaleError
from datapath.plan import diff
from sdn.api.app import create_app
from sdn.api.caller import SCOPE, Caller, Role
from sdn.api.hub import Hub
from sdn.api.live import Live
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.model.history import Revision
from sdn.store import Changed, Edit, Store, Update, Written
from sdn.store.change import change
from sdn.store.history import revision, revision_row
from sdn.store.rows import rows_that_differ
from sdn.topology import parse

TOPOLOGY = """\
name: small
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 7}, subnet: 10.9.0.0/24}
  db: {segment: {vxlan: 8}, subnet: 10.8.0.0/24}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
"""


class MemoryStore:
    """What `Live` asks of a store. `pruned` forgets revisions up to one."""

    def __init__(self, text: str = TOPOLOGY) -> None:
        self._model: Model | None = None
        self._facts = Facts()
        self._revisions: dict[int, Revision] = {}
        self._queues: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[Update]]] = []
        self.write(parse(text, "small.yaml"), author="alice", origin="sdn up small.yaml")

    def model(self) -> Model | None:
        return self._model

    def facts(self) -> Facts:
        return self._facts

    def revisions(self) -> Mapping[int, Revision]:
        return self._revisions

    def write(
        self, model: Model, *, author: str = "", origin: str = "", expected: int | None = None, anew: bool = False
    ) -> int:
        present = self._model.revision if self._model else 0
        if expected not in (None, present):
            raise StaleError(cast(int, expected), present)
        steps = diff(*rows_that_differ(model, self._model))
        if not steps and not anew:
            return present
        row = {**revision_row(present + 1, time.time(), author, origin, steps), "settled": False, "errors": ()}
        self._model = model.with_revision(present + 1)
        self._revisions = {**self._revisions, present + 1: revision(cast(Any, row))}
        self._tell()
        return present + 1

    def change(self, edit: Edit, **how: Any) -> Written:
        return change(self, edit, **how)

    def await_revision(self, revision: int, timeout: float) -> bool:
        return self._model is not None and self._model.revision >= revision

    def identity(self) -> str:
        return "0123abcd"

    def settle(self, number: int, errors: Sequence[str] = ()) -> None:
        ended = replace(self._revisions[number], settled=True, errors=tuple(errors), seconds=0.25, flows_seconds=0.1)
        self._revisions = {**self._revisions, number: ended}
        self._tell()

    def report(self, **kinds: Any) -> None:
        self._facts = replace(self._facts, **{name: getattr(self._facts, name) | told for name, told in kinds.items()})
        self._tell()

    def prune(self, number: int) -> None:
        self._revisions = {each: found for each, found in self._revisions.items() if each > number}

    def watch(self, loop: asyncio.AbstractEventLoop) -> asyncio.Queue[Update]:
        queue: asyncio.Queue[Update] = asyncio.Queue()
        if self._model:
            queue.put_nowait(Update(self._model, self._facts, None))
        self._queues.append((loop, queue))
        return queue

    def _tell(self) -> None:
        assert self._model
        for loop, queue in self._queues:
            loop.call_soon_threadsafe(queue.put_nowait, Update(self._model, self._facts, Changed(lab=True)))


class Running:
    """The app and its store; `http` asks it as root of this machine."""

    def __init__(self, store: MemoryStore, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.store, self.app, self.http = store, app, http
        self.hub: Hub = app.state.hub

    async def until_told(self, kind: str, within: float = 5.0) -> None:
        """An event of this kind is the newest but for those that came with it."""
        async with asyncio.timeout(within):
            while True:
                news = self.hub.news()
                if any(entry.event.kind == kind for entry in self.hub.since(0)):
                    return
                await news.wait()

    def told(self, kind: str) -> list[str]:
        return [entry.event.message for entry in self.hub.since(0) if entry.event.kind == kind]


@asynccontextmanager
async def running(store: MemoryStore | None = None) -> AsyncIterator[Running]:
    kept = store or MemoryStore()
    app = create_app(Live(RunDir("small"), cast(Store, kept)))

    async def as_root(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE] = Caller("root", Role.ADMIN, True)
        await app(scope, receive, send)

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(as_root)
        async with httpx.AsyncClient(transport=transport, base_url="http://lab") as http:
            yield Running(kept, app, http)
