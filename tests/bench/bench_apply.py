"""Changes to a lab of 1,000 ports on 20 chassis: one that changes nothing, and one node more.

One node more is written to the store as `sdn apply` does it, from a process that follows the store. What is timed
begins before the transaction, and ends when the store tells that the last chassis has confirmed the flows by a barrier:
the controller's own transaction, with which it says so, is part of it. Between two additions there is a pause, so that
none is timed with the end of the one before: the agent has a last look after it has told that all is up.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from datapath import probe
from datapath.probe import Probe
from sdn.lab import managed
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts, HostFacts
from sdn.store import Store, Update
from sdn.topology import parse
from tests.bench import ovn
from tests.bench.labs import PORTS, Lab, home, listed, thousand, thousand_ports
from tests.bench.registry import Measured, at_most, bench

ROUNDS = 5
ADDITIONS = 20
PAUSE = 0.3  # seconds
TOLD = re.compile(r"revision ([0-9]+): ([0-9]+) flow changes on ([0-9]+) switches, ([0-9.]+) ms")


@bench("apply of an unchanged file, 1,000 ports on 20 chassis", unit="s", target=at_most(0.7))
def unchanged() -> Measured:
    with thousand_ports() as lab:
        taken = [lab.apply() for _ in range(ROUNDS)]
    return Measured(median(taken), note=f"the whole command; {listed({'sdn apply': taken})}")


class Times(NamedTuple):
    """Milliseconds since before the transaction."""

    flows: float
    ready: float
    ping: float


@bench(
    "one node more at 1,000 ports on 20 chassis, until the last barrier",
    unit="ms", target=at_most(60), peer="OVN, a port added and bound, 1 chassis",
)  # fmt: skip
def one_node_more() -> Measured:
    with thousand_ports() as lab:
        times = asyncio.run(_additions(lab))
        sent = _flow_changes(RunDir(lab.name).logs / "controller.log")[-ADDITIONS:]
    flows = [each.flows for each in times]
    note = (
        f"{ADDITIONS} times: p95 {quantiles(flows, n=20)[-1]:.0f} ms; its interface up after "
        f"{median(each.ready for each in times):.0f} ms, its first ping answered after "
        f"{median(each.ping for each in times):.0f} ms; flow-mods sent: {min(sent)} to {max(sent)} on 20 switches"
    )
    return Measured(median(flows), ovn.port_more(PORTS), note)


async def _additions(lab: Lab) -> list[Times]:
    store = Store.open(RunDir(lab.name).store_socket)
    try:
        updates = store.watch(asyncio.get_running_loop())
        return [await _add(store, updates, lab, number) for number in range(1, ADDITIONS + 1)]
    finally:
        store.close()


async def _add(store: Store, updates: asyncio.Queue[Update], lab: Lab, number: int) -> Times:
    """The node `n<1000 + number>`, asked for by a line more in the file."""
    before = store.model()
    assert before is not None
    model = parse(f"name: {lab.name}\n{thousand(number)}", str(lab.file), before)
    started = time.perf_counter()
    wanted = model.with_revision(await asyncio.to_thread(store.write, model))
    times = {}
    while len(times) < 2:
        facts = (await updates.get()).facts
        if _flows_confirmed(wanted, facts):
            times.setdefault("flows", time.perf_counter() - started)
        if _built(wanted, facts):
            times.setdefault("ready", time.perf_counter() - started)
    _ping_the_last(model)
    times["ping"] = time.perf_counter() - started
    await asyncio.sleep(PAUSE)
    return Times(**{what: 1000 * seconds for what, seconds in times.items()})


def _flows_confirmed(model: Model, facts: Facts) -> bool:
    return all(facts.flows.get(name, FlowFacts()).revision >= model.revision for name in managed(model))


def _built(model: Model, facts: Facts) -> bool:
    return all(facts.hosts.get(name, HostFacts()).revision >= model.revision for name in managed(model))


def _ping_the_last(model: Model) -> None:
    """From the first node of the lab, most likely on another chassis."""
    ports = list(model.ports.values())
    asked = Probe(home(model, ports[0]), ports[0].ips[0], None, ports[-1].ips[0])
    (outcome,) = probe.run([asked])
    assert outcome.passed, outcome


def _flow_changes(log: Path) -> list[int]:
    """Of each revision in turn, as the controller logs them; it takes a revision up again when facts change."""
    sent: Counter[int] = Counter()
    for told in TOLD.finditer(log.read_text()):
        sent[int(told[1])] += int(told[2])
    return list(sent.values())
