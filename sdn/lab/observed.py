"""The flows that a lab's switches have now, for commands, which have no loop of their own.

Enters: a lab, names of chassis. Leaves: their flows. Never: a wait of more than some seconds for a switch that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from datapath.errors import TransientError
from datapath.spec import INTEGRATION_BRIDGE
from sdn.lab.rundir import RunDir

if TYPE_CHECKING:
    from datapath.openflow.flow import Flow

WITHIN: Final = 5.0
"""Seconds that a switch may take to tell its flows: 100,000 take about three."""


def observer(lab: str) -> Callable[[str], list[Flow]]:
    """Asks the switch of a chassis. What it returns raises TransientError where that does not say."""
    return lambda chassis: asyncio.run(_flows(lab, chassis))


async def _flows(lab: str, chassis: str) -> list[Flow]:
    from sdn.southbound import connect

    path = RunDir(lab).chassis(chassis) / f"{INTEGRATION_BRIDGE}.mgmt"
    try:
        async with asyncio.timeout(WITHIN), connect(path, name=chassis) as switch:
            return [stats.flow for stats in (await switch.dump()).values()]
    except TimeoutError:
        raise TransientError(f"{chassis}: its switch does not answer") from None
