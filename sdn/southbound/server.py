"""Where switches call: a listening socket, one task for each session.

Enters: connections. Leaves: `on_switch` and `on_gone`, one of each per session that got through its handshake. Never:
two sessions of one switch at a time (the newer one wins), an address that another machine could reach.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

from datapath.errors import ConflictError, MachineError, SdnError, TransientError
from sdn.southbound import messages
from sdn.southbound.program import Switch
from sdn.southbound.session import Timers

Address = Path | tuple[str, int]
"""A unix socket, or a loopback address and TCP port."""

_BACKLOG = 1024


class Server:
    """`switches` are the ready sessions by datapath id."""

    def __init__(
        self,
        address: Address,
        *,
        on_switch: Callable[[Switch], None],
        on_gone: Callable[[Switch], None] = lambda _: None,
        on_event: Callable[[Any, Any], None] | None = None,
        name_of: Callable[[int], str] | None = None,
        timers: Timers | None = None,
    ) -> None:
        """The callbacks run in the loop and must not block. `name_of` names a switch in logs and errors."""
        self.address = address
        self.switches: dict[int, Switch] = {}
        self._on_switch, self._on_gone = on_switch, on_gone
        self._on_event, self._name_of, self._timers = on_event, name_of, timers
        self._listener: asyncio.Server | None = None
        self._socket_inode = 0
        self._sessions: dict[asyncio.Task[None], Switch] = {}
        self._numbers = count(1)

    async def start(self) -> None:
        """Listen. Raises ConflictError where another controller does, MachineError where the address is no good."""
        for version in messages.VERSIONS if self._on_event else ():
            messages.dialect(version)  # imports now, not while a switch waits
        listening = _unix(self.address) if isinstance(self.address, Path) else _loopback(*self.address)
        if isinstance(self.address, Path):
            self._socket_inode = self.address.stat().st_ino
        elif self.address[1] == 0:
            self.address = listening.getsockname()[:2]
        self._listener = await asyncio.get_running_loop().create_server(self._called, sock=listening, backlog=_BACKLOG)

    async def close(self) -> None:
        """Stop listening and end every session; flows stay where they are."""
        if self._listener:
            self._listener.close()
        if isinstance(self.address, Path) and _inode(self.address) == self._socket_inode:
            self.address.unlink()
        for switch in list(self._sessions.values()):
            switch.close("the controller stops")
        if self._sessions:
            await asyncio.wait(self._sessions)

    def _called(self) -> asyncio.Protocol:
        switch = Switch(
            f"connection {next(self._numbers)} on {self._where()}",
            timers=self._timers,
            on_event=self._on_event,
            name_of=self._name_of,
        )
        task = asyncio.get_running_loop().create_task(self._serve(switch), name=switch.name)
        self._sessions[task] = switch
        task.add_done_callback(self._sessions.pop)
        return switch.connection

    def _where(self) -> str:
        return str(self.address) if isinstance(self.address, Path) else "{}:{}".format(*self.address)

    async def _serve(self, switch: Switch) -> None:
        """The whole life of a session."""
        try:
            await switch.handshake()
        except SdnError as error:
            switch.close(str(error), fault=True)  # where it is not over already, with its reason in the log
            return
        dpid = switch.dpid or 0
        older = self.switches.get(dpid)
        if older:
            older.close("superseded by a new connection of the same switch", fault=True)
            self._gone(dpid, older)
        self.switches[dpid] = switch
        try:
            self._on_switch(switch)
            await switch.keepalive()
        finally:
            switch.close()
            self._gone(dpid, switch)

    def _gone(self, dpid: int, switch: Switch) -> None:
        if self.switches.get(dpid) is switch:
            del self.switches[dpid]
            self._on_gone(switch)


def _unix(path: Path) -> socket.socket:
    """Listen on `path`, mode 0600 from its first moment; a socket that a killed controller left is replaced."""
    if _inode(path):
        _make_room(path)
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise MachineError("unix socket", f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return listening


def _make_room(path: Path) -> None:
    if not path.is_socket():
        raise ConflictError(f"{path} is in the way of the controller's socket and is not a socket; it was left alone")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise TransientError(f"cannot tell whether a controller listens on {path}: {error}") from error
    raise ConflictError(f"another controller listens on {path}", remedy="end it first, or give this one another socket")


def _loopback(host: str, port: int) -> socket.socket:
    """Between machines OpenFlow needs TLS; plain TCP is for this machine only."""
    address = ip_address(host)
    if not address.is_loopback:
        raise MachineError("TLS", f"plain OpenFlow on {host} would be open to the network; use a loopback address")
    listening = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise MachineError("TCP port", f"cannot listen on {host}:{port}: {error}") from error
    return listening


def _inode(path: Path) -> int:
    """0 where there is nothing."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return 0
