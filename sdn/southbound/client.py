"""A session to a bridge's management socket, for tools: `sdn flows`, `sdn trace`, tests.

Enters: a path. Leaves: a `Switch` for as long as the block lasts. Never: the controller's place; Open vSwitch treats a
connection to its management socket as a visitor, who gets no packet-ins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from datapath.errors import TransientError
from sdn.southbound.program import Switch
from sdn.southbound.session import Timers


@asynccontextmanager
async def connect(path: Path | str, *, name: str = "", timers: Timers | None = None) -> AsyncIterator[Switch]:
    """`path` as a Path or as `unix:PATH`. Raises TransientError where nobody listens or the handshake fails.

    Answers to echo requests are given by the session itself; a switch that hangs is noticed in `timers`' time.
    """
    where = str(path).removeprefix("unix:")
    label = name or where
    switch = Switch(label, timers=timers, name_of=lambda _: label)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: switch.connection, where)
    except OSError as error:
        raise TransientError(f"{label}: nobody listens on {where}: {error.strerror or error}") from error
    try:
        await switch.handshake()
        watch = asyncio.create_task(switch.keepalive(), name=label)
        try:
            yield switch
        finally:
            watch.cancel()
    finally:
        switch.close("done")
