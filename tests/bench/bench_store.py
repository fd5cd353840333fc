"""The store alone: its JSON beside the parser of `ovs` that it replaces, and 1,000 ports on 20 chassis in it.

Enters: a message as ovsdb-server sends it; a model, on an ovsdb-server of its own. Leaves: MB/s, milliseconds. Never: a
switch or a namespace: what a change costs in a lab is in bench_apply.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from datapath.framing import Framer
from sdn.model.facts import FlowFacts, PortFacts
from sdn.store import Server, Store, Update, start_server
from tests.bench.registry import Measured, bench, ratio_at_least
from tests.unit.store import ovs_json_original as original
from tests.unit.store.models import big

ROUNDS = 5
ROWS = 3_000
PORTS = 1_000
ADDITIONS = 10
CHUNK = 1 << 16


@bench("OVSDB JSON", unit="MB/s", target=ratio_at_least(5), peer="ovs, in Python")
def ovsdb_json() -> Measured:
    text = json.dumps({"result": {f"{number:032x}": _row(number) for number in range(ROWS)}})
    data, size = text.encode(), len(text) / 1e6
    took = [(_seconds(lambda: _framed(data)), _seconds(lambda: original.from_string(text))) for _ in range(ROUNDS)]
    ours, theirs = (size / median(each) for each in zip(*took, strict=True))
    return Measured(ours, theirs, f"ours in chunks of {CHUNK} octets")


def _row(number: int) -> dict[str, object]:
    return {"name": f"web{number}", "mac": "02:00:00:00:00:01", "tag": ["set", []], "up": True}


def _framed(data: bytes) -> None:
    framer, found = Framer(), None
    for at in range(0, len(data), CHUNK):
        framer.feed(data[at : at + CHUNK])
        found = framer.next()
    assert found is not None


@bench("one node more in the store, 1,000 ports on 20 chassis, until a watcher has it", unit="ms")
def one_node_more() -> Measured:
    with tempfile.TemporaryDirectory(prefix="sdn-bench-") as directory:
        server = start_server(Path(directory))
        try:
            return asyncio.run(_measured(server))
        finally:
            server.stop()


async def _measured(server: Server) -> Measured:
    store = Store.open(server.socket)
    took = {"into the empty store": _seconds(lambda: store.write(big(PORTS)))}
    took["unchanged"] = _seconds(lambda: store.write(big(PORTS)))
    began = time.perf_counter()
    watcher = Store.open(server.socket)
    took["open"] = time.perf_counter() - began
    updates = watcher.watch(asyncio.get_running_loop())
    await updates.get()
    arrived = [await _addition(store, updates, number) for number in range(1, ADDITIONS + 1)]
    ports = {name: PortFacts(True, port.ofport) for name, port in big(PORTS).ports.items()}
    took["report of every port"] = _seconds(lambda: store.report(ports=ports))
    took["report of one chassis"] = _seconds(lambda: store.report(flows={"hv1": FlowFacts(True, 3, 100)}))
    for each in (watcher, store):
        each.close()
    return Measured(
        1000 * median(arrived), note="; ".join(f"{what} {1000 * each:.0f} ms" for what, each in took.items())
    )


async def _addition(store: Store, updates: asyncio.Queue[Update], number: int) -> float:
    larger = big(PORTS + number)
    began = time.perf_counter()
    revision = await asyncio.to_thread(store.write, larger)
    while (await updates.get()).model.revision < revision:
        pass
    return time.perf_counter() - began


def _seconds(errand: Callable[[], object]) -> float:
    began = time.perf_counter()
    errand()
    return time.perf_counter() - began
