"""The drifts of a running lab, awaited as its store tells of them.

Enters: a lab. Leaves: Drift values. Never: a question asked again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sdn.model.facts import Drift
from sdn.store import Store
from tests.lab.labs import Lab
from tests.machine.pace import PATIENCE

WITHIN = 2.0 * PATIENCE  # seconds


def drifts(lab: Lab) -> list[Drift]:
    """All that its store remembers."""
    return list(lab.facts.drifts.values())


def times(lab: Lab) -> int:
    """How often anything was found: the same soon afterwards is the same drift once more."""
    return sum(drift.times for drift in drifts(lab))


def after(lab: Lab, damage: Callable[[], object], enough: Callable[[list[Drift]], bool] | None = None) -> list[Drift]:
    """What is found of a damage, when all of it (and `enough`) is put right."""
    return asyncio.run(_after(lab, damage, enough or bool))


async def _after(lab: Lab, damage: Callable[[], object], enough: Callable[[list[Drift]], bool]) -> list[Drift]:
    loop = asyncio.get_running_loop()
    store = Store.open(lab.run.store_socket)
    try:
        updates = store.watch(loop)
        before = {key: drift.times for key, drift in (await updates.get()).facts.drifts.items()}
        await asyncio.to_thread(damage)
        found: list[Drift] = []
        try:
            async with asyncio.timeout(WITHIN):
                while not (enough(found) and all(drift.repaired for drift in found)):
                    facts = (await updates.get()).facts
                    found = [drift for key, drift in facts.drifts.items() if drift.times > before.get(key, 0)]
        except TimeoutError:
            raise AssertionError(f"not all was found and put right within {WITHIN} s: {found}") from None
        return found
    finally:
        store.close()
