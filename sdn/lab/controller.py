"""The controller as a process of a lab: store → `sdn.controller` → switches on the lab's OpenFlow socket.

Beside it the historian, who sees there what is confirmed.
"""

from __future__ import annotations

import asyncio
import gc

from sdn.controller import Controller
from sdn.lab.historian import Historian
from sdn.lab.rundir import RunDir
from sdn.southbound.server import Server
from sdn.store import Store
from sdn.store.reporter import Reporter


def main(run: RunDir) -> None:
    """Runs until killed; the supervisor starts it again."""
    asyncio.run(_run(run))


async def _run(run: RunDir) -> None:
    store = Store.open(run.store_socket)
    controller = Controller(Reporter(store.report))
    server = Server(
        run.openflow_socket,
        on_switch=controller.switch_up,
        on_gone=controller.switch_down,
        name_of=controller.name_of,
    )
    await server.start()
    # The model and its flows are many small values that stay: looking through them again and again finds nothing.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Historian(store.settle).run(store.watch(loop)))
            tasks.create_task(controller.run(store.watch(loop)))
    finally:
        await server.close()
        store.close()
