"""QMP, the monitor of a QEMU process, over PyPI's `qemu.qmp`.

Enters: commands, descriptors to hand over. Leaves: answers; events, to a callback, in order. Never: a policy, and no
memory of events: those of a guest that runs for a year are many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from qemu.qmp import ExecInterruptedError, QMPClient, QMPError, Runstate, StateError
from qemu.qmp.message import Message
from qemu.qmp.qmp_client import ExecuteError

from datapath.errors import RefusedError, SdnError, TransientError

Event = Mapping[str, Any]
"""`event` is its name, `data` what it is about, `timestamp` when it was: in `seconds` and `microseconds`."""
OnEvent = Callable[[Event], None]
Accept = Callable[[str, Mapping[str, Any]], bool]
"""Of an event's name and data."""

_MAY_PASS: Final = ('" lock', "Cannot allocate memory", "Resource temporarily unavailable")
"""What QEMU says where another attempt may go better: another process has the disk, or the memory."""

logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)  # it logs what it raises


def may_pass(error: SdnError) -> bool:
    """Whether what QEMU has not done may be worth another attempt."""
    return error.retry or any(each in error.message for each in _MAY_PASS)


@contextmanager
def passing() -> Iterator[None]:
    """A RefusedError that may pass becomes a TransientError."""
    try:
        yield
    except RefusedError as error:
        if not may_pass(error):
            raise
        raise TransientError(error.message, remedy=error.remedy) from error


class _Client(QMPClient):
    """The library keeps every event twice, for listeners that may come; here they go straight to one callback."""

    def __init__(self, on_event: OnEvent) -> None:
        super().__init__()
        self._on_event = on_event

    async def _event_dispatch(self, msg: Message) -> None:
        self._on_event(dict(msg))


class Qmp:
    """A connection. `on_lost` is called once when it has gone by itself."""

    def __init__(self, client: _Client, on_lost: Callable[[], None]) -> None:
        self._client = client
        self._on_lost = on_lost
        self._closing = asyncio.Event()
        self._handing_over = asyncio.Lock()
        self._awaited: list[tuple[Accept, asyncio.Future[Event]]] = []
        self._watch = asyncio.create_task(self._watched(), name="qmp")

    @classmethod
    async def connect(cls, path: Path, on_event: OnEvent, on_lost: Callable[[], None] = lambda: None) -> Qmp:
        """Waits for QEMU's greeting. Raises TransientError where nobody listens or it hangs up."""
        made: list[Qmp] = []

        def hear(event: Event) -> None:
            for each in made:
                each._fulfil(event)
            on_event(event)

        client = _Client(hear)
        try:
            await client.connect(str(path))
        except (QMPError, OSError, EOFError) as error:
            raise TransientError(f"QEMU does not answer at {path}: {error}") from error
        made.append(cls(client, on_lost))
        return made[0]

    async def execute(self, command: str, **arguments: Any) -> Any:
        """In the names of arguments `_` stands for `-`. Raises RefusedError with QEMU's words, TransientError where the
        connection has gone."""
        return await self.issue(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    async def issue(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """As `execute`, with names as QEMU has them."""
        try:
            return await self._client.execute(command, dict(arguments) if arguments else None)
        except ExecuteError as error:
            raise RefusedError(f"QEMU refused {command}: {error}", about=error.error_class) from error
        except (ExecInterruptedError, StateError, OSError, EOFError) as error:
            raise TransientError(f"QEMU's monitor has gone while it was asked for {command}") from error

    async def hand_over(self, name: str, descriptor: int) -> None:
        """QEMU has a copy of the descriptor by this name, until a netdev takes it or `closefd`."""
        async with self._handing_over:  # QEMU remembers only the one that came last
            try:
                self._client.send_fd_scm(descriptor)
            except (QMPError, OSError) as error:
                raise TransientError("QEMU's monitor has gone while a descriptor was handed over") from error
            await self.issue("getfd", {"fdname": name})

    @contextmanager
    def expecting(self, accept: Accept) -> Iterator[asyncio.Future[Event]]:
        """The first event from now on that is accepted; TransientError in it where the connection goes."""
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        entry = (accept, future)
        self._awaited.append(entry)
        try:
            yield future
        finally:
            self._awaited.remove(entry)
            if future.done() and not future.cancelled():
                future.exception()  # it may be that nobody asked
            future.cancel()

    def _fulfil(self, event: Event) -> None:
        for accept, future in self._awaited:
            if not future.done() and accept(event["event"], event.get("data", {})):
                future.set_result(event)

    async def _watched(self) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        while self._client.runstate == Runstate.RUNNING and not closing.done():
            changing = asyncio.ensure_future(self._client.runstate_changed())
            await asyncio.wait((changing, closing), return_when=asyncio.FIRST_COMPLETED)
            changing.cancel()
        closing.cancel()
        with suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()
        self._disappoint()
        if not self._closing.is_set():
            self._on_lost()

    def _disappoint(self) -> None:
        """Those who expect an event."""
        for _, future in self._awaited:
            if not future.done():
                future.set_exception(TransientError("QEMU's monitor has gone"))

    async def close(self) -> None:
        self._closing.set()
        await asyncio.wait([self._watch])
