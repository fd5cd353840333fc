"""A session in OpenFlow 1.3, whatever more the switch could speak, for messages that others have made: Ryu's REST.

Enters: requests as bytes. Leaves: whole replies, in parts as they came; a refusal for a message that has no reply.
Never: a message of its own making. 1.3 because ports, queues and table features are told otherwise in 1.4, and what
scripts expect of Ryu is 1.3's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import Struct
from typing import Final

from datapath.errors import TransientError
from datapath.openflow.codec import V13
from sdn.southbound import messages
from sdn.southbound.messages import Type
from sdn.southbound.requests import Request
from sdn.southbound.session import Session, Timers
from sdn.southbound.transport import HEADER

MULTIPART_REQUEST: Final = 18
_MULTIPART: Final = Struct("!H6x")


class Plain(Session):
    """A session that offers and takes OpenFlow 1.3 only."""

    def _greet(self) -> None:
        self.connection.write(messages.hello([V13]))

    def _choose(self, offered: set[int]) -> None:
        super()._choose(offered & {V13})

    async def question(self, request: Request) -> list[bytes]:
        """The replies to a request, as whole messages: one, or the parts of a multipart reply.

        Raises RefusedError with the switch's reason, TransientError when it goes.
        """
        if request.type != MULTIPART_REQUEST:
            return [await self.ask(request)]
        (kind,) = _MULTIPART.unpack_from(request.body)
        parts: list[bytes] = []
        await self.multipart(request, parts.append)
        return [_whole(kind, part) for part in parts]

    async def tell(self, request: Request) -> None:
        """Send what has no reply (a flow-mod) and wait for the barrier; errors as `question`."""
        refused = self.ask(request)
        xid = self._xid
        try:
            await self.barrier()
            if refused.done():
                await refused
        finally:
            self._pending.pop(xid, None)


def _whole(kind: int, body: bytes) -> bytes:
    """A part of a multipart reply as the message that it was, less its xid and its flags (1.3 section 7.3.5)."""
    head = HEADER.pack(V13, Type.MULTIPART_REPLY, HEADER.size + _MULTIPART.size + len(body), 0)
    return head + _MULTIPART.pack(kind) + body


@asynccontextmanager
async def connect(path: Path | str, *, name: str = "", timers: Timers | None = None) -> AsyncIterator[Plain]:
    """As `sdn.southbound.connect`, in OpenFlow 1.3. Raises TransientError where nobody listens."""
    label = name or str(path)
    session = Plain(label, timers=timers, name_of=lambda _: label)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: session.connection, str(path))
    except OSError as error:
        raise TransientError(f"{label}: nobody listens on {path}: {error.strerror or error}") from error
    try:
        await session.handshake()
        watch = asyncio.create_task(session.keepalive(), name=label)
        try:
            yield session
        finally:
            watch.cancel()
    finally:
        session.close("done")
