"""A guest's console over a websocket: bytes both ways, as `sdn console` has them.

Enters: WS /v1/guests/NAME/console (`?read_only=true` for one who only looks); binary or text frames, which are typed.
Leaves: binary frames, first of what was printed last. Never: harm to the guest, which does not know who is there: the
lab's agent relays its one line to any number of readers. A reader who does not take in what it gets is dropped there.

A connection that cannot be had is accepted and closed at once, with the reason: a browser tells its page nothing of a
websocket that was refused.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest import console
from sdn.api.live import Live, live_of
from sdn.api.problem import NotFoundError
from sdn.model.facts import GuestFacts

_AT_ONCE: Final = 1 << 16
_REASON: Final = 123
"""Bytes of a reason at most (RFC 6455 section 5.5)."""
NO_SUCH: Final = 4404
OFF: Final = 4409
AWAY: Final = 4503
"""Close codes of our own (RFC 6455 section 7.4.2), after HTTP's."""
ENDED: Final = 1001


def router() -> APIRouter:
    routes = APIRouter(tags=["guests"])

    @routes.websocket("/v1/guests/{name}/console")
    async def _console(socket: WebSocket, name: str, read_only: bool = False) -> None:
        await _serve(socket, name, read_only)

    return routes


async def _serve(socket: WebSocket, name: str, read_only: bool) -> None:
    await socket.accept()
    try:
        reader, writer = await _connect(live_of(socket), name)
    except SdnError as error:
        code = NO_SUCH if isinstance(error, NotFoundError) else AWAY if error.retry else OFF
        await socket.close(code, _short(error.message))
        return
    try:
        await _relay(socket, reader, writer, read_only)
    finally:
        writer.close()


async def _connect(live: Live, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises NotFoundError, RefusedError for a guest that is off, TransientError where nobody relays."""
    if name not in live.model.guests:
        raise NotFoundError(f"there is no guest '{name}'")
    try:
        return await asyncio.open_unix_connection(live.run.guest(name) / console.SOCKET)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        phase = live.facts.guests.get(name, GuestFacts()).phase
        if phase in ("off", "failed"):
            raise RefusedError(f"{name} is {phase} and has no console now") from error
        raise TransientError(f"nobody relays the console of {name} yet") from error


async def _relay(
    socket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read_only: bool
) -> None:
    """Until either side ends it."""
    sides = [asyncio.create_task(_print(socket, reader)), asyncio.create_task(_type(socket, writer, read_only))]
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)


async def _print(socket: WebSocket, reader: asyncio.StreamReader) -> None:
    """What the guest prints."""
    with suppress(ConnectionError, WebSocketDisconnect):
        while data := await reader.read(_AT_ONCE):
            await socket.send_bytes(data)
        await socket.close(ENDED, "the guest's console was closed")


async def _type(socket: WebSocket, writer: asyncio.StreamWriter, read_only: bool) -> None:
    """What is typed. A guest that does not listen makes the one who types wait, and nobody else."""
    with suppress(ConnectionError, WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            typed = message.get("bytes") or (message.get("text") or "").encode()
            if typed and not read_only:
                writer.write(typed)
                await writer.drain()


def _short(reason: str) -> str:
    return reason.encode()[:_REASON].decode(errors="ignore")
