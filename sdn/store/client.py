"""The store as the rest of `sdn` sees it: read, write, report, watch.

Enters: a Model to write, Facts to report. Leaves: Models, Facts, updates to an asyncio queue. Never: a row or a UUID.

ovsdbapp runs the replica in a thread of its own, which reconnects by itself. Models and Facts are immutable: any
thread reads the newest one without a lock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from ovsdbapp import exceptions

from datapath import ovsdb
from datapath.errors import SdnError, TransientError
from sdn import author as who
from sdn.model import Model
from sdn.model.facts import Drift, Facts, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.model.history import Revision
from sdn.store.api import StoreApi
from sdn.store.change import Edit, Since, Written, change
from sdn.store.commands import Change, Observed
from sdn.store.history import REVISION
from sdn.store.replica import Replica
from sdn.store.rows import ATTRIBUTE, DRIFT, LAB
from sdn.store.update import Update

SCHEMA: Final = Path(__file__).with_name("sdn.ovsschema")
DATABASE: Final = "SDN"
TABLES: Final[ovsdb.Tables] = dict.fromkeys(("Lab", *ATTRIBUTE, DRIFT), ())
HISTORY: Final[ovsdb.Tables] = {REVISION: ()}

T = TypeVar("T")


@lru_cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(SCHEMA.read_bytes())
    return found


class Store:
    """A connection to a store. Its methods may be called from any thread."""

    def __init__(self, connection: Any, socket: Path) -> None:
        self.socket = socket
        self._replica: Replica = connection.idl
        self._connection = connection
        self._api = StoreApi(connection)
        self._news = threading.Condition()
        self._replica.listeners.append(self._tell)

    @classmethod
    def open(cls, socket: Path, timeout: float = 5.0, *, history: bool = False) -> Store:
        """Waits until the store answers and has been read, with `history` also what was there before.

        Raises TransientError after `timeout` seconds.
        """
        tables = {**TABLES, **HISTORY} if history else TABLES
        connection = ovsdb.connect(socket, DATABASE, tables, timeout=timeout, idl=Replica, schema_json=_schema())
        try:
            connection.start()
        except exceptions.TimeoutException as error:
            connection.idl.close()
            raise _silent(socket, timeout) from error
        return cls(connection, socket)

    def model(self) -> Model | None:
        """None before the first `write`."""
        return self._replica.model

    def facts(self) -> Facts:
        return self._replica.facts

    def revisions(self) -> Mapping[int, Revision]:
        """Those that are kept, by number, the oldest first; empty unless opened with `history`.

        Asked for after `model()` it lacks none of that model's.
        """
        return self._replica.revisions

    def write(
        self, model: Model, *, author: str = "", origin: str = "", expected: int | None = None, anew: bool = False
    ) -> int:
        """Makes `model` the intent, in one transaction of only the rows that differ; returns the revision it has there.

        The same transaction writes into the history who wanted it, and by what: a command, a request (see
        `sdn.author`, for where they are not given). Whatever the store has is overwritten, unless `expected` says
        from which revision the change was made.
        Nothing is sent if nothing differs, unless it is to be confirmed `anew`, by everyone, as a new revision. Raises
        StaleError if the store is not at revision `expected` (0: empty), TransientError, and SdnError for what the
        schema forbids: a value out of range, a name used twice; then nothing was written.
        """
        change = Change(model, author or who.author(), origin or who.origin(), expected, anew)
        return self._execute(self._api.apply_model(change), int)

    def change(
        self,
        edit: Edit,
        *,
        author: str = "",
        origin: str = "",
        since: Since | None = None,
        anew: Callable[[Model | None], bool] = lambda _: False,
    ) -> Written:
        """Write what `edit` makes of the newest model, and make it again where somebody else was faster.

        Raises as `write`, and whatever `edit` raises; StaleError where `since` does not hold, which needs a store that
        is opened with `history`.
        """
        return change(self, edit, author=author, origin=origin, since=since, anew=anew)

    def await_revision(self, revision: int, timeout: float) -> bool:
        """Blocks until the replica here is at `revision` or a newer one; False after `timeout` seconds."""

        def is_here() -> bool:
            model = self._replica.model
            return model is not None and model.revision >= revision

        with self._news:
            return self._news.wait_for(is_here, timeout)

    def identity(self) -> str:
        """Of this lab's content among all that ever were: revisions count from 1 in each. '' before the first."""
        uuid = self._replica.uuids.get(LAB)
        return uuid.hex[:8] if uuid else ""

    def _tell(self, _update: Update) -> None:
        with self._news:
            self._news.notify_all()

    def settle(self, revision: int, errors: Sequence[str] = (), flows: Sequence[tuple[int, float]] = ()) -> None:
        """Writes into the history that all revisions up to this one are confirmed now, with these errors in the lab;
        `flows` says up to which one the flows were confirmed at which time before, the earliest first.

        Those that are settled stay as they are. Raises TransientError.
        """
        self._execute(self._api.settle(revision, errors, flows), int)

    def report(
        self,
        flows: Mapping[str, FlowFacts] | None = None,
        hosts: Mapping[str, HostFacts] | None = None,
        ports: Mapping[str, PortFacts] | None = None,
        guests: Mapping[str, GuestFacts] | None = None,
        drifts: Mapping[str, Drift] | None = None,
    ) -> None:
        """Writes facts by name in one transaction; those of objects that are gone are left out. Of drifts the newest
        are kept.

        Nothing is sent if nothing differs. Raises TransientError.
        """
        observed = Observed(flows or {}, hosts or {}, ports or {}, guests or {}, drifts or {})
        self._execute(self._api.report(observed), int)

    def watch(self, loop: asyncio.AbstractEventLoop) -> asyncio.Queue[Update]:
        """Updates as they come. The first item is the complete present state, as soon as there is a lab.

        A watcher that is slower than the store finds one item that sums up what it missed.
        """
        queue: asyncio.Queue[Update] = asyncio.Queue()

        def listener(update: Update) -> None:
            if not loop.is_closed():  # a loop that has ended needs no more updates
                loop.call_soon_threadsafe(_offer, queue, update)

        with self._connection.lock:
            if self._replica.model is not None:
                listener(Update(self._replica.model, self._replica.facts, None))
            self._replica.listeners.append(listener)
        return queue

    def close(self) -> None:
        self._connection.stop()

    def _execute(self, command: Any, kind: type[T]) -> T:
        try:
            result = command.execute(check_error=True, log_errors=False)
        except exceptions.TimeoutException as error:
            raise _silent(self.socket, self._connection.timeout) from error
        except RuntimeError as error:
            raise _refused(error) from error
        assert isinstance(result, kind)
        return result


def _offer(queue: asyncio.Queue[Update], update: Update) -> None:
    queue.put_nowait(update if queue.empty() else update.after(queue.get_nowait()))


def _silent(socket: Path, timeout: float) -> TransientError:
    return TransientError(f"the store at {socket} did not answer within {timeout:g} s")


def _refused(error: RuntimeError) -> SdnError:
    """ovsdbapp's "OVSDB Error: {json}" (RFC 7047 section 3.1 <error>) in words."""
    text = str(error).removeprefix("OVSDB Error: ")
    if "timed out" in text:
        return TransientError(f"the store was busy: {text}")
    found = ovsdb.from_string(text)
    if isinstance(found, dict):
        text = f"{found.get('error')}: {found.get('details')}"
    return SdnError(f"the store refused the change: {text}")
