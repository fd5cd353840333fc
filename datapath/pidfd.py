"""Processes known by a pidfd, which cannot change hands: killed, and awaited.

Enters: a pidfd, by whoever has proven whose process it is. Leaves: a process that has ended. Never: a signal by number.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import suppress


def kill(descriptor: int) -> None:
    """SIGKILL: those whom we kill keep nothing in memory that is worth a goodbye."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def await_end(descriptor: int, seconds: float) -> None:
    """Waits until the process is gone, and closes the descriptor. (select() ends at descriptor 1023.)"""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(1000 * seconds)
    os.close(descriptor)


async def killed(descriptor: int) -> None:
    """Kills the process; returns when it is gone. The descriptor stays open."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        kill(descriptor)
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
