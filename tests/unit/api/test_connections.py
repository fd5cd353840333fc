"""Connections whose clients do not read are left, and those that read slowly are not."""

from __future__ import annotations

import asyncio

from sdn.api.connections import Connection


class Client:
    """Takes in some bytes between two looks."""

    def __init__(self, unsent: int, at_once: int) -> None:
        self.unsent, self.at_once, self.looks = unsent, at_once, 0
        self.aborted, self.done = asyncio.Event(), asyncio.Event()
        self.connection = Connection(None, self.aborted.set, self.look)

    def look(self) -> int:
        self.looks += 1
        found, self.unsent = self.unsent, max(0, self.unsent - self.at_once)
        if not found:
            self.done.set()
        return found


async def test_one_that_does_not_read_is_left() -> None:
    client = Client(100, 0)
    client.connection.answered(0.0)
    await asyncio.wait_for(client.aborted.wait(), 5)
    assert client.looks == 2


async def test_one_that_reads_slowly_is_not() -> None:
    client = Client(100, 10)
    client.connection.answered(0.0)
    await asyncio.wait_for(client.done.wait(), 5)
    assert client.looks == 11
    assert not client.aborted.is_set()


async def test_one_that_asks_again_has_read() -> None:
    """However much the next answer is."""
    client, other = Client(100, 0), Client(100, 0)
    client.connection.answered(0.0)
    client.connection.answers += 1
    other.connection.answered(0.0)
    await asyncio.wait_for(other.aborted.wait(), 5)
    assert not client.aborted.is_set()


async def test_what_is_sent_is_not_looked_after() -> None:
    client = Client(0, 0)
    client.connection.answered(0.0)
    await asyncio.sleep(0)
    assert client.looks == 1
