"""Whether a guest that has moved lives: the guest is asked, not QEMU.

Enters: the QEMU where it is now. Leaves: nothing, or in words what could not be asked; an error where it is silent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from datapath.errors import SdnError
from datapath.guest.qemu.command import AGENT
from datapath.guest.qemu.migration_side import Emulator

ANSWER: Final = 10.0
"""Seconds that a guest has to answer, with others on the same cores."""

PULSE: Final = 2.0
"""Seconds in which the CPUs of a guest without an agent must have done something: an idle kernel wakes each second."""
_LOOK: Final = 0.05
"""Seconds between looks at the clocks of CPUs, of 20 µs each: no event tells of them. It is forty looks at most, once
in a move, and only of a guest that cannot be asked."""


async def ask(emulator: Emulator, has_agent: bool) -> str:
    """Raises SdnError where it does not answer."""
    if has_agent:
        await _ask_agent(emulator)
        return ""
    await _feel_pulse(emulator)
    return "its CPUs run; it has no guest agent that could be asked more"


async def _ask_agent(emulator: Emulator) -> None:
    from datapath.guest import qga

    try:
        async with asyncio.timeout(ANSWER):
            await qga.Agent(emulator.place.directory / AGENT).ping()
    except TimeoutError:
        raise SdnError(f"its guest agent has not answered within {ANSWER:.0f} s") from None


async def _feel_pulse(emulator: Emulator) -> None:
    """Says only that the CPUs of the guest take time of the host's."""
    threads = [each["thread-id"] for each in await emulator.execute("query-cpus-fast")]
    before = _worked(emulator.pid, threads)
    try:
        async with asyncio.timeout(PULSE):
            while _worked(emulator.pid, threads) == before:
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise SdnError(f"its CPUs have done nothing for {PULSE:.0f} s") from None
    status = (await emulator.execute("query-status"))["status"]
    if status != "running":
        raise SdnError(f"it has stopped ({status})")


def _worked(pid: int, threads: list[int]) -> int:
    """Nanoseconds of the host's CPUs (the first number of schedstat in proc(5)). Raises SdnError."""
    try:
        return sum(int(Path(f"/proc/{pid}/task/{each}/schedstat").read_text().split()[0]) for each in threads)
    except (OSError, IndexError, ValueError) as error:
        raise SdnError(f"its process has gone: {error}") from error


async def has_written(emulator: Emulator) -> bool:
    """Whether it has changed a disk since it came."""
    disks = await emulator.execute("query-blockstats")
    return any(each["stats"]["wr_operations"] or each["stats"].get("unmap_operations") for each in disks)
