"""Which files of a directory have something new in them: the kernel tells, nobody asks again and again.

Enters: a directory. Leaves: names, as files come, go, are replaced or have been written to. Never: what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path


async def heard(directory: Path) -> AsyncGenerator[set[str] | None]:
    """None stands for any of them: before the first, and where there were too many. Raises OSError where the kernel
    would not tell."""
    from datapath.linux.names import Names

    loop, news = asyncio.get_running_loop(), asyncio.Event()
    names = Names(directory, written=True)
    loop.add_reader(names.fileno(), news.set)
    try:
        yield None
        while await news.wait():
            news.clear()
            yield names.hear()
    finally:
        loop.remove_reader(names.fileno())
        names.close()
