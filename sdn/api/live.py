"""The lab as the API's process sees it: what is in the store now, and one road for every change.

Enters: the store's updates; edits, each a function from one Model to the next. Leaves: written revisions, and word that
they were confirmed. Never: a change made from a model that the store has left, which would undo somebody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from datapath.errors import FileError
from sdn import lab
from sdn.api.switches import Sessions
from sdn.lab import condition
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts, HostFacts
from sdn.southbound import Switch, connect
from sdn.store import Edit, Since, Store, Update, Written
from sdn.store.change import NEWS

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Applied:
    """Whether a revision has been confirmed, `seconds` after it was asked for; else `missing` says what has not."""

    revision: int
    seconds: float
    missing: tuple[str, ...] = ()


class Live:
    """One lab. Its coroutines belong to one loop; `close` when done."""

    def __init__(self, run: RunDir, store: Store) -> None:
        self.run = run
        self.store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._subscribers: set[asyncio.Queue[Update]] = set()
        self._model, self._facts = store.model(), store.facts()
        self._waiting: list[asyncio.Future[None]] = []
        """For the next update."""
        self._switches: Sessions[Switch] = Sessions(run, connect)

    @property
    def lab(self) -> str:
        return self.run.lab

    @property
    def model(self) -> Model:
        """The newest. Raises FileError before the first file was applied."""
        if self._model is None:
            raise _empty(self.lab)
        return self._model

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def revision(self) -> int:
        return self._model.revision if self._model else 0

    async def follow(self) -> None:
        """Keep up with the store, until cancelled. Who waits for an answer comes before who tells what happened."""
        updates = self.store.watch(asyncio.get_running_loop())
        while True:
            update = await updates.get()
            self._model, self._facts = update.model, update.facts
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():  # he may have been cancelled
                    each.set_result(None)
            for queue in self._subscribers:
                queue.put_nowait(update)

    async def close(self) -> None:
        self._writer.shutdown(wait=False, cancel_futures=True)
        await self._switches.close()

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[Update]]:
        """Every update from now on, one by one."""
        queue: asyncio.Queue[Update] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)

    # Changes

    async def change(self, edit: Edit, *, author: str, origin: str, since: Since | None = None) -> Written:
        """Write what `edit` makes of the newest model. One at a time; made again where somebody else was faster.

        Raises whatever `edit` raises, StaleError where `since` does not hold, TransientError where the store is away,
        MachineError and ConflictError where this machine cannot do what the model asks.
        """

        def looked_at(base: Model | None) -> Model:
            model = edit(base)
            look_at_machine(model, base)
            return model

        asked = partial(self.store.change, looked_at, author=author, origin=origin, since=since)
        written = await asyncio.get_running_loop().run_in_executor(self._writer, asked)
        await self._until(lambda: self.revision >= written.revision, NEWS)
        return written

    # Confirmation

    async def applied(self, revision: int, *, timeout: float, whole: bool = False) -> Applied:
        """Return when every switch has confirmed the flows of `revision` by a barrier; with `whole` when every host has
        built it too, as `sdn apply` waits for; or after `timeout` seconds. What is missing then, or was refused, is
        told."""
        started = time.monotonic()
        confirmed = await self._until(lambda: self._is_confirmed(revision, whole), timeout)
        missing = self._refused(whole) if confirmed else ()
        if not confirmed or (missing and whole):
            missing = tuple(condition.chassis_troubles(self.model.with_revision(revision), self.facts))
        return Applied(revision, round(time.monotonic() - started, 6), missing)

    def _refused(self, whole: bool) -> tuple[str, ...]:
        """A chassis that cannot do what is asked says why, and is waited for no longer."""
        names = condition.managed(self.model)
        flows = [(name, self.facts.flows.get(name, FlowFacts()).error) for name in names]
        hosts = [(name, error) for name in names for error in self.facts.hosts.get(name, HostFacts()).errors]
        return tuple(f"{name}: {error}" for name, error in (*flows, *(hosts if whole else ())) if error)

    def _is_confirmed(self, revision: int, whole: bool) -> bool:
        """By the flows' facts as they are told; a model that is newer by now has what `revision` had."""
        model, facts = self.model, self.facts
        if model.revision < revision:
            return False
        if whole:
            asked = model.with_revision(revision)
            return all(condition.confirmed(asked, facts, name) for name in condition.managed(model))
        switches = (name for name in condition.managed(model) if model.chassis[name].has_tables)
        return all(facts.flows.get(name, FlowFacts()).revision >= revision for name in switches)

    async def _until(self, holds: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    update = asyncio.get_running_loop().create_future()
                    self._waiting.append(update)
                    await update
        except TimeoutError:
            return False
        return True

    # Switches

    def switch(self, chassis: str) -> AbstractAsyncContextManager[Switch]:
        """A session with a chassis' switch, which stays open for the next who asks. Raises TransientError."""
        return self._switches.of(chassis)


def live_of(connection: HTTPConnection) -> Live:
    """That of its app."""
    found: Live = connection.app.state.live
    return found


def look_at_machine(model: Model, before: Model | None) -> None:
    """Whether this machine can do what the model asks, where it asks for something new. Raises MachineError and
    ConflictError."""
    kinds = ("chassis", "physnets", "guests")
    if before is None or any(getattr(model, kind) != getattr(before, kind) for kind in kinds):
        lab.look_at_machine(model)


def _empty(name: str) -> FileError:
    return FileError(f"lab {name} is empty: no topology has been applied", remedy="PUT /v1/topology, or: sdn up FILE")
