"""The relay of a guest's serial console: QEMU has one connection to give, and people want to look over shoulders.

Enters: what the guest prints (serial.sock), what its readers type. Leaves: the same to every reader of console.sock,
who first gets what was printed last, but for what a terminal would answer; to the guest what anybody types. Never: a
reader who makes the others wait: one that does not take in what it gets is dropped.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path
from typing import Final, cast

from datapath.errors import SdnError, TransientError
from datapath.guest import past_lines

SERIAL: Final = "serial.sock"
SOCKET: Final = "console.sock"
LOG: Final = "console.log"

RECENT: Final = 4096
"""Bytes of the past that a new reader gets."""

BEHIND: Final = 1 << 16
"""Bytes that a reader may be behind, besides what the kernel keeps for it."""

TYPED: Final = 1 << 12
"""Bytes that a guest may be behind with what is typed, before nobody is listened to any more."""


_QUERIES: Final = re.compile(
    rb"\x05|\x1bZ"  # ENQ, DECID
    rb"|\x1b\[[?>=]?[0-9;]*[cn]"  # device attributes and status, where the cursor is
    rb"|\x1b\[[01]?x|\x1b\[\?u|\x1b\[>[0-9]*q"  # terminal parameters, kitty's keyboard, name and version
    rb"|\x1b\[\??[0-9;]*\$p|\x1b\[\?[0-9;]*S|\x1b\[[0-9;]*\*y"  # modes, graphics, checksums of areas
    rb"|\x1b\[(?:1[13-9]|2[01])(?:;[0-9]*)*t"  # what the window is like
    rb"|\x1b\][0-9;a-z]*;\?(?:\x07|\x1b\\)"  # colours, the clipboard
    rb"|\x1bP[+$]q[^\x1b]*\x1b\\"  # capabilities and settings
)
"""What a terminal answers as if its user had typed (xterm's ctlseqs). Busybox asks so at each prompt."""


def without_queries(printed: bytes) -> bytes:
    """Of the past: whoever asked has had an answer then, or waits for none any more."""
    return _QUERIES.sub(b"", printed)


class Relay:
    """Of one guest, over all its runs. Readers stay connected while it does not run."""

    def __init__(self) -> None:
        self._recent = bytearray()
        self._readers: set[_Reader] = set()
        self._guest: _Guest | None = None
        self._server: asyncio.Server | None = None
        self._bound: tuple[Path, int] | None = None
        self._log: Path | None = None
        self._logged = 0
        """Bytes since somebody has looked at how long the log is."""

    async def attach(self, directory: Path) -> None:
        """To the process that runs in the directory; the last words of the one before still come. Raises SdnError."""
        self._log = directory / LOG
        if not self._recent:
            self._recent += _tail(self._log)
        past_lines.bound(self._log)
        try:
            await self._serve(directory / SOCKET)
        except OSError as error:
            raise SdnError(f"nobody can reach its console: {error}") from error
        try:
            path = str(directory / SERIAL)
            _, self._guest = await asyncio.get_running_loop().create_unix_connection(lambda: _Guest(self), path)
        except OSError as error:
            raise TransientError(f"its console cannot be reached: {error}") from error

    def close(self) -> None:
        """Everybody is disconnected."""
        if self._guest is not None:
            self._guest.transport.abort()
        if self._server is not None:
            self._server.close()
        for reader in list(self._readers):
            reader.transport.abort()

    async def _serve(self, path: Path) -> None:
        """At the path, if it is not served there already. A launch clears the directory, a move brings another."""
        if self._bound is not None and path.exists() and self._bound == (path, path.stat().st_ino):
            return
        if self._server is not None:
            self._server.close()
        path.unlink(missing_ok=True)
        served = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        served.bind(str(path))
        os.chmod(path, 0o600)  # before it listens: until then nobody can connect
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Reader(self), sock=served)
        self._bound = path, path.stat().st_ino

    # Between the two sides

    def printed(self, data: bytes) -> None:
        self._recent += data
        del self._recent[:-RECENT]
        self._logged += len(data)
        if self._logged >= past_lines.STEP and self._log is not None:
            self._logged = 0
            past_lines.bound(self._log)
        for reader in list(self._readers):
            reader.show(data)

    def typed(self, data: bytes) -> None:
        if self._guest is not None:
            self._guest.transport.write(data)

    def welcome(self, reader: _Reader) -> None:
        self._readers.add(reader)
        reader.show(without_queries(bytes(self._recent)))
        if self._guest is not None and self._guest.is_full:
            reader.transport.pause_reading()

    def part(self, reader: _Reader) -> None:
        self._readers.discard(reader)

    def listen(self, to_them: bool) -> None:
        """Whether what is typed is taken in."""
        for reader in self._readers:
            (reader.transport.resume_reading if to_them else reader.transport.pause_reading)()

    def lost(self, guest: _Guest) -> None:
        if self._guest is guest:
            self._guest = None
        if guest.is_full:
            self.listen(True)


class _Guest(asyncio.Protocol):
    """QEMU's end."""

    transport: asyncio.Transport

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=TYPED)

    def data_received(self, data: bytes) -> None:
        self._relay.printed(data)

    def pause_writing(self) -> None:
        self.is_full = True
        self._relay.listen(False)

    def resume_writing(self) -> None:
        self.is_full = False
        self._relay.listen(True)

    def connection_lost(self, _: Exception | None) -> None:
        self._relay.lost(self)


class _Reader(asyncio.Protocol):
    """Somebody at console.sock."""

    transport: asyncio.Transport

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._relay.welcome(self)

    def show(self, data: bytes) -> None:
        if self.transport.get_write_buffer_size() + len(data) > BEHIND:
            self.transport.abort()
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._relay.typed(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._relay.part(self)


def _tail(log: Path) -> bytes:
    """Of an earlier agent's time; nothing if the guest has not printed anything yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - RECENT))
            return file.read()
    except FileNotFoundError:
        return b""
