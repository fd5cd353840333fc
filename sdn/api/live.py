"""The lab as the API's process sees it: what is in the store now, and one road for every change.

Enters: the store's updates; edits, each a function from one Model to the next. Leaves: written revisions, and word that
they were confirmed. Never: a change made from a model that the store has left, which would undo somebody else's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from datapath.errors import FileError, StaleError, TransientError
from sdn import lab
from sdn.api.resources import Key
from sdn.api.switches import Sessions
from sdn.lab import condition
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts
from sdn.southbound import Switch, connect
from sdn.store import Store, Update

TRIES: Final = 50
"""Of a change that others are always faster than."""
NEWS: Final = 1.0
"""Seconds within which the store tells of a revision that it has."""

Edit = Callable[[Model | None], Model]


@dataclass(frozen=True, slots=True)
class Written:
    """What a change came to; `before` is None for a lab's first. `changed` is False where it was so already."""

    revision: int
    model: Model
    before: Model | None

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.revision != self.revision


@dataclass(frozen=True, slots=True)
class Applied:
    """Whether a revision has been confirmed, `seconds` after it was asked for; else `missing` says what has not."""

    revision: int
    seconds: float
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Since:
    """A precondition: these rows have not changed after this revision (`If-Match`)."""

    revision: int
    rows: frozenset[Key] | None
    """None: nothing at all has."""


class Live:
    """One lab. Its coroutines belong to one loop; `close` when done."""

    def __init__(self, run: RunDir, store: Store) -> None:
        self.run = run
        self.store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._news = threading.Condition()
        self._subscribers: set[asyncio.Queue[Update]] = set()
        self._model, self._facts = store.model(), store.facts()
        self._changed = asyncio.Condition()
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
        """Keep up with the store, until cancelled."""
        updates = self.store.watch(asyncio.get_running_loop())
        while True:
            update = await updates.get()
            self._model, self._facts = update.model, update.facts
            with self._news:
                self._news.notify_all()
            for queue in self._subscribers:
                queue.put_nowait(update)
            async with self._changed:
                self._changed.notify_all()

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
        loop = asyncio.get_running_loop()
        written = await loop.run_in_executor(self._writer, self._change, edit, author, origin, since)
        await self._until(lambda: self.revision >= written.revision, NEWS)
        return written

    def _change(self, edit: Edit, author: str, origin: str, since: Since | None) -> Written:
        for _ in range(TRIES):
            base = self._newest(since)
            model = edit(base)
            look_at_machine(model, base)
            present = base.revision if base else 0
            try:
                revision = self.store.write(model, author=author, origin=origin, expected=present)
            except StaleError as error:
                self._await_news(error.present)
                continue
            return Written(revision, model.with_revision(revision), base)
        raise TransientError(f"lab {self.lab} is changed by others all the time", remedy="try again")

    def _newest(self, since: Since | None) -> Model | None:
        """The store's model, if what `since` says holds of it. Raises StaleError."""
        if since is not None and since.revision:
            self._await_news(since.revision)
        model = self.store.model()
        present = model.revision if model else 0
        if since is None or since.revision == present:
            return model
        revisions = self.store.revisions()
        newer = [revisions.get(number) for number in range(since.revision + 1, present + 1)]
        if since.revision > present or any(each is None or _touches(each.changes, since.rows) for each in newer):
            raise StaleError(since.revision, present)
        return model

    def _await_news(self, revision: int) -> None:
        """The replica here may lag behind the store for a moment."""

        def is_here() -> bool:
            model = self.store.model()
            return model is not None and model.revision >= revision

        with self._news:
            self._news.wait_for(is_here, NEWS)

    # Confirmation

    async def applied(self, revision: int, *, timeout: float, whole: bool = False) -> Applied:
        """Return when every switch has confirmed the flows of `revision` by a barrier; with `whole` when every host has
        built it too, as `sdn apply` waits for; or after `timeout` seconds, with what is missing."""
        started = time.monotonic()
        confirmed = await self._until(lambda: self._is_confirmed(revision, whole), timeout)
        missing = () if confirmed else tuple(condition.chassis_troubles(self.model.with_revision(revision), self.facts))
        return Applied(revision, round(time.monotonic() - started, 6), missing)

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
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(holds), timeout)
            except TimeoutError:
                return False
        return True

    # Switches

    def switch(self, chassis: str) -> AbstractAsyncContextManager[Switch]:
        """A session with a chassis' switch, which stays open for the next who asks. Raises TransientError."""
        return self._switches.of(chassis)


def look_at_machine(model: Model, before: Model | None) -> None:
    """Whether this machine can do what the model asks, where it asks for something new. Raises MachineError and
    ConflictError."""
    kinds = ("chassis", "physnets", "guests")
    if before is None or any(getattr(model, kind) != getattr(before, kind) for kind in kinds):
        lab.look_at_machine(model)


def _touches(changes: object, rows: Iterable[Key] | None) -> bool:
    assert isinstance(changes, dict)
    return bool(changes) if rows is None else any(name in changes.get(table, ()) for table, name in rows)


def _empty(name: str) -> FileError:
    return FileError(f"lab {name} is empty: no topology has been applied", remedy="PUT /v1/topology, or: sdn up FILE")
