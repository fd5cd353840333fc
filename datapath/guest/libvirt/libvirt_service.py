"""The libvirtd that a chassis' guests are run by, as the agent sees it: a connection that comes back.

Enters: calls, from the event loop. Leaves: their answers; events for whoever registered a domain, in the event loop.
Never: a poll; a daemon ended that somebody else's environment named (SDN_LIBVIRT_URI).

A daemon that dies takes no guest with it. It is started again at once, with pauses when it keeps dying, and finds them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from datapath.errors import SdnError, TransientError
from datapath.guest.libvirt import libvirtd
from datapath.guest.libvirt.libvirtd_home import Home
from datapath.guest.libvirt.virt import Connection, Event
from datapath.linux import namespaces

URI: Final = "SDN_LIBVIRT_URI"
"""Environment variable: a libvirtd that runs in the network namespace of the chassis already, such as qemu:///system
where the chassis is the machine itself."""

MONITORED: Final = ("VSERPORT_CHANGE", "GUEST_PANICKED")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0

P = ParamSpec("P")
T = TypeVar("T")


class Listener(Protocol):
    def hear(self, event: Event) -> None:
        """Of its domain."""
        ...

    async def look(self) -> None:
        """What it is like: events may have been lost."""
        ...


class Service:
    def __init__(self, home: Home, namespace: str) -> None:
        self.home = home
        self.busy = 0
        """How many launches rely on it; then it is not ended, though it may have no domain."""
        self._namespace = namespaces.DIRECTORY / namespace
        self._foreign = os.environ.get(URI, "")
        self._listeners: dict[str, Listener] = {}
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._recovery: asyncio.Task[None] | None = None

    @property
    def exists(self) -> bool:
        """Whether there may be a domain: a daemon that never ran here need not be started to know."""
        return bool(self._foreign) or self.home.pidfile.exists()

    def candidates(self, domain: str) -> list[int]:
        """PIDs among which is that of a domain's QEMU, if it runs: where somebody else's libvirtd has its pidfiles is
        not known."""
        if self._foreign:
            return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        try:
            return [int(self.home.pidfile_of(domain).read_text())]
        except (OSError, ValueError):
            return []

    def log_of(self, domain: str) -> Path:
        """What QEMU said, and libvirt of it."""
        return Path("/var/log/libvirt/qemu" if self._foreign else self.home.directory / "log" / "qemu", f"{domain}.log")

    def listen(self, domain: str, listener: Listener) -> None:
        self._listeners[domain] = listener

    def forget(self, domain: str, listener: Listener) -> None:
        if self._listeners.get(domain) is listener:
            del self._listeners[domain]

    async def call(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A function of the connection, which is made first if need be, and anew where its daemon has just died.
        Raises SdnError."""
        connection = await self._connected()
        try:
            return await asyncio.to_thread(function, connection, *args, **kwargs)
        except TransientError:
            if await asyncio.to_thread(connection.is_alive):
                raise
        if self._connection is connection:
            self._drop()
        return await asyncio.to_thread(function, await self._connected(), *args, **kwargs)

    async def _connected(self) -> Connection:
        async with self._turn:
            if self._connection is None:
                self._connection = await asyncio.to_thread(self._connect)
            return self._connection

    def _connect(self) -> Connection:
        """In a worker thread."""
        if not self._foreign:
            try:
                os.close(libvirtd.ensure(self.home, self._namespace))
            except OSError as error:
                raise TransientError(f"libvirtd in {self.home.directory}: {error}") from error
        return Connection(self._foreign or self.home.uri, self._hand_over, MONITORED)

    def _hand_over(self, event: Event) -> None:
        """In the library's thread."""
        with suppress(RuntimeError):  # the loop has been closed; nobody wants to know
            self._loop.call_soon_threadsafe(self._hear, event)

    def _hear(self, event: Event) -> None:
        if event.kind == "disconnected":
            self._drop()
            if self._listeners and self._recovery is None:
                self._recovery = self._loop.create_task(self._recover())
        elif event.domain in self._listeners:
            self._listeners[event.domain].hear(event)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _recover(self) -> None:
        """Until every listener has looked. Whoever calls meanwhile tries too, and gets the error."""
        pause = _FIRST_PAUSE
        try:
            while self._listeners:
                try:
                    for listener in list(self._listeners.values()):
                        await listener.look()
                except SdnError:
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
                else:
                    return
        finally:
            self._recovery = None

    async def end_if_idle(self) -> None:
        """The daemon, when it has no domain any more, and its directory."""
        if self._foreign:
            return
        domains = await self.call(Connection.domains)
        if domains or self.busy:
            return
        async with self._turn:
            if not self.busy:
                self._drop()
                await asyncio.to_thread(self._end)

    def _end(self) -> None:
        descriptor = libvirtd.adopt(self.home)
        if descriptor is not None:
            libvirtd.end(descriptor)
        libvirtd.clear(self.home)

    def close(self) -> None:
        """The daemon and its guests go on."""
        if self._recovery is not None:
            self._recovery.cancel()
        self._listeners.clear()
        self._drop()
