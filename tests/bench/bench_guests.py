"""Guests: how soon they answer, and what they cost the processes of the lab. No peer measures the same thing here.

The times are those of a change to a running lab (`sdn.lab.apply`, as the API makes it) until the first ping is
answered: flows, taps, QEMU, the guest's own boot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from datapath.spec import namespace
from sdn import lab as labs
from sdn.lab import processes
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.store import Store
from sdn.topology import parse
from tests.bench.labs import Lab, lab, listed
from tests.bench.registry import Measured, at_most, bench
from tests.lab.pinger import Pinger

ROUNDS = 3
MANY = 8
IDLE = 30.0  # seconds
PATIENCE = 90.0  # seconds
NETWORKS = """
chassis: {'hv[1-2]': {}}
networks:
  lan: {segment: {vxlan: 3200}, subnet: 10.32.0.0/24}
  san: {segment: {vxlan: 3201}, subnet: 10.33.0.0/24}
nodes:
  asker: {chassis: hv1, ports: [{network: lan}, {network: san}]}
"""


def guests(count: int, nics: str = "[{network: lan}]") -> str:
    return NETWORKS + f"guests:\n  'g[1-{count}]': {{place: spread, nics: {nics}}}\n" if count else NETWORKS


@bench("a built-in guest: from the change to its first ping", unit="s", target=at_most(3))
def first_ping() -> Measured:
    return _until_they_answer(1)


@bench(f"{MANY} built-in guests: from the change until all answer", unit="s", target=at_most(12))
def many_first_pings() -> Measured:
    return _until_they_answer(MANY)


@bench("one more NIC of a running guest: until it answers", unit="s", target=at_most(0.5))
def hot_plug() -> Measured:
    two = "[{network: lan}, {network: san}]"
    taken: dict[str, list[float]] = {"plugged and answering": []}
    with _running(guests(1)) as (running, store):
        for _ in range(ROUNDS):
            taken["plugged and answering"] += _answering(running, store, guests(1, two), ["g1:eth1"])
            _change(running, store, guests(1))
    return Measured(median(taken["plugged and answering"]), None, listed(taken))


@bench(f"memory of the agent with {MANY} guests", unit="MB", target=at_most(60))
def agent_memory() -> Measured:
    with _running(guests(MANY)) as (running, _):
        status = Path(f"/proc/{_own(running)['agent']}/smaps_rollup").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines()[1:])
    rss, pss = (int(fields[name].split()[0]) / 1024 for name in ("Rss", "Pss"))
    return Measured(rss, None, f"resident; {pss:.0f} MB of it its share, the rest it has in common with others")


@bench(f"an idle lab with {MANY} guests: our own processes", unit="% of a core", target=at_most(1))
def idle() -> Measured:
    with _running(guests(MANY)) as (running, _):
        own = _own(running)
        before = {name: _cpu(pid) for name, pid in own.items()}
        time.sleep(IDLE)  # what is measured is time going by
        spent = {name: (_cpu(pid) - before[name]) / IDLE * 100 for name, pid in own.items()}
    return Measured(sum(spent.values()), None, ", ".join(f"{name} {share:.2f}" for name, share in spent.items()))


def _until_they_answer(count: int) -> Measured:
    taken: dict[str, list[float]] = {"all answer": []}
    with _running(guests(0)) as (running, store):
        for _ in range(ROUNDS):
            ports = [f"g{number}:eth0" for number in range(1, count + 1)]
            taken["all answer"].append(max(_answering(running, store, guests(count), ports)))
            _change(running, store, guests(0))
    return Measured(median(taken["all answer"]), None, listed(taken))


def _answering(running: Lab, store: Store, topology: str, ports: list[str]) -> list[float]:
    """Seconds from the change until the first answer of each port to a ping every 10 ms."""
    model = _model(running, store, topology)
    asker = {port.network: port for port in model.ports.values() if port.node == "asker"}
    with ExitStack() as stack:
        pingers = []
        for name in ports:
            port = model.ports[name]
            pinger = Pinger(namespace(model.lab, "asker"), str(asker[port.network].ips[0]), str(port.ips[0]))
            stack.callback(pinger.close)
            pingers.append(pinger)
        waiting = stack.enter_context(ThreadPoolExecutor(len(pingers)))
        begun = time.monotonic()
        firsts = list(map(partial(waiting.submit, _first), pingers))
        labs.apply(model, store=store, timeout=PATIENCE)
        return [first.result() - begun for first in firsts]


def _first(pinger: Pinger) -> float:
    """Nobody is pinged any more who has answered: it would keep a core busy that others boot on."""
    moment = pinger.first(PATIENCE)
    pinger.close()
    return moment


def _change(running: Lab, store: Store, topology: str) -> None:
    labs.apply(_model(running, store, topology), store=store, timeout=PATIENCE)


def _model(running: Lab, store: Store, topology: str) -> Model:
    running.file.write_text(f"name: {running.name}\n{topology}")
    return parse(running.file.read_text(), str(running.file), store.model())


@contextmanager
def _running(topology: str) -> Iterator[tuple[Lab, Store]]:
    """A lab that is up, with its store."""
    with lab(topology) as running:
        running.up()
        store = Store.open(RunDir(running.name).store_socket)
        try:
            yield running, store
        finally:
            store.close()


def _own(running: Lab) -> dict[str, int]:
    """The processes that are ours: not Open vSwitch, not QEMU."""
    run = RunDir(running.name)
    found = {process.name: process.pid for process in processes.read(run.processes)}
    return found | {"supervisor": run.supervisor or 0}


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
