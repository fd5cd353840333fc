"""The flows that a lab's switches have now, for commands, which have no loop of their own.

Enters: a lab, names of chassis. Leaves: their flows. Never: a wait of more than some seconds for a switch that hangs,
or for many of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from datapath.errors import TransientError
from datapath.spec import INTEGRATION_BRIDGE
from sdn.lab.rundir import RunDir

if TYPE_CHECKING:
    from datapath.openflow.flow import Flow

WITHIN: Final = 5.0
"""Seconds that a switch may take to tell its flows: 100,000 take about three."""
PATIENCE: Final = 10.0
"""Seconds that all those together may be waited for which then do not say what they have."""


def observer(lab: str) -> Callable[[str], list[Flow]]:
    """Asks the switch of a chassis. What it returns raises TransientError where that does not say."""
    return patiently(lambda chassis: asyncio.run(_flows(lab, chassis)))


def patiently(observed: Callable[[str], list[Flow]]) -> Callable[[str], list[Flow]]:
    """The same, until those that do not answer have taken all patience: others are not asked any more then."""
    lost = 0.0

    def asked(chassis: str) -> list[Flow]:
        nonlocal lost
        if lost >= PATIENCE:
            waited = f"others have not answered within {lost:.0f} s"
            raise TransientError(f"{chassis}: its switch was not asked: {waited}")
        began = monotonic()
        try:
            return observed(chassis)
        except TransientError:
            lost += monotonic() - began
            raise

    return asked


async def _flows(lab: str, chassis: str) -> list[Flow]:
    from sdn.southbound import connect

    path = RunDir(lab).chassis(chassis) / f"{INTEGRATION_BRIDGE}.mgmt"
    try:
        async with asyncio.timeout(WITHIN), connect(path, name=chassis) as switch:
            return [stats.flow for stats in (await switch.dump()).values()]
    except TimeoutError:
        raise TransientError(f"{chassis}: its switch does not answer") from None
