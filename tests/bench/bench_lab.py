"""Labs up and down, beside Mininet: the commands as a user types them, each a process of its own.

Up is over when every node has answered every other's ping; Mininet is up without having sent a single one.
"""

from __future__ import annotations

import time
from statistics import median

from datapath import probe
from datapath.probe import Probe
from sdn.model import Model
from tests.bench import mininet
from tests.bench.labs import every_pair, example, home, lab, listed
from tests.bench.registry import Measured, at_most, bench

ROUNDS = 3
HUNDRED, FLEET = "scale100.yaml", "fleet.yaml"


@bench(
    "up and all-to-all pings: 1 chassis x 100 nodes", unit="s", target=at_most(1.5), peer="Mininet linear,100, no ping"
)
def up_hundred_nodes() -> Measured:
    return _up(HUNDRED, "linear,100")


@bench(
    "up and all-to-all pings: 20 chassis x 5 nodes", unit="s", target=at_most(3), peer="Mininet linear,20,5, no ping"
)
def up_fleet() -> Measured:
    return _up(FLEET, "linear,20,5")


@bench("down: 1 chassis x 100 nodes", unit="s", target=at_most(1), peer="Mininet linear,100")
def down_hundred_nodes() -> Measured:
    return _down(HUNDRED, "linear,100")


@bench("down: 20 chassis x 5 nodes", unit="s", target=at_most(1), peer="Mininet linear,20,5")
def down_fleet() -> Measured:
    return _down(FLEET, "linear,20,5")


def _up(topology: str, peer: str) -> Measured:
    taken: dict[str, list[float]] = {"sdn up": [], "with pings": []}
    with lab(example(topology)) as lab_:
        probes = _pings(lab_.model())
        for _ in range(ROUNDS):
            up, pings = lab_.up(), _reach(probes)
            taken["sdn up"].append(up)
            taken["with pings"].append(up + pings)
            lab_.down()
    return Measured(median(taken["with pings"]), mininet.times(peer).up, f"{len(probes):,} pings; {listed(taken)}")


def _down(topology: str, peer: str) -> Measured:
    taken: dict[str, list[float]] = {"sdn down": []}
    with lab(example(topology)) as lab_:
        for _ in range(ROUNDS):
            lab_.up()
            taken["sdn down"].append(lab_.down())
    return Measured(median(taken["sdn down"]), mininet.times(peer).down, listed(taken))


def _pings(model: Model) -> list[Probe]:
    return [
        Probe(home(model, source), source.ips[0], home(model, target), target.ips[0])
        for source, target in every_pair(model)
    ]


def _reach(probes: list[Probe]) -> float:
    """Seconds until each has been answered."""
    started = time.perf_counter()
    outcomes = probe.run(probes)
    taken = time.perf_counter() - started
    silent = [outcome.probe for outcome in outcomes if not outcome.passed]
    assert not silent, f"{len(silent)} pings were not answered, such as {silent[0]}"
    return taken
