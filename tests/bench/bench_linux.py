"""The Linux datapath beside the same devices made by hand, and how soon a full chassis of it is up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median

from tests.bench import traffic
from tests.bench.labs import home, lab, listed
from tests.bench.registry import Measured, at_most, bench, ratio_at_least
from tests.bench.traffic import Ends

ROUNDS = 3
NODES = 200
LAN = "networks:\n  lan: {segment: {vxlan: 3100}, subnet: 10.31.0.0/24}\n"
MTU = 1450
ONE = f"chassis: {{hv1: {{datapath: linux}}}}\n{LAN}nodes:\n  n[1-2]: {{network: lan}}\n"
TWO = f"chassis: {{'hv[1-2]': {{datapath: linux}}}}\n{LAN}nodes:\n  n[1-2]: {{network: lan, place: spread}}\n"
FULL = f"chassis: {{hv1: {{datapath: linux}}}}\n{LAN}nodes:\n  'n[1-{NODES}]': {{network: lan}}\n"


@bench("TCP on one Linux chassis", unit="bit/s", target=ratio_at_least(0.95), peer="hand-made bridge")
def bridge_tcp() -> Measured:
    return _beside(traffic.tcp, ONE, traffic.hand_made_bridge(MTU))


@bench("64-byte frames on one Linux chassis", unit="frames/s", target=ratio_at_least(0.95), peer="hand-made bridge")
def bridge_small_packets() -> Measured:
    return _beside(traffic.small_packets, ONE, traffic.hand_made_bridge(MTU))


@bench("TCP across a VXLAN network of Linux chassis", unit="bit/s", target=ratio_at_least(0.9), peer="hand-made vxlan")
def vxlan_tcp() -> Measured:
    return _beside(traffic.tcp, TWO, traffic.hand_made_vxlan(MTU))


@bench(
    "64-byte frames across a VXLAN network of Linux chassis",
    unit="frames/s",
    target=ratio_at_least(0.9),
    peer="hand-made vxlan",
)
def vxlan_small_packets() -> Measured:
    return _beside(traffic.small_packets, TWO, traffic.hand_made_vxlan(MTU))


@bench(f"up: {NODES} nodes on one Linux chassis", unit="s", target=at_most(2))
def up_full_chassis() -> Measured:
    taken: dict[str, list[float]] = {"sdn up": [], "sdn down": []}
    with lab(FULL) as running:
        for _ in range(ROUNDS):
            taken["sdn up"].append(running.up())
            taken["sdn down"].append(running.down())
    return Measured(median(taken["sdn up"]), None, listed(taken))


def _beside(measure: Callable[[Ends], float], topology: str, peer: AbstractContextManager[Ends]) -> Measured:
    with _ours(topology) as ours, peer as theirs:
        return traffic.beside(measure, ours, theirs)


@contextmanager
def _ours(topology: str) -> Iterator[Ends]:
    with lab(topology) as running:
        running.up()
        model = running.model()
        first, second = model.ports.values()
        assert model.networks["lan"].mtu == MTU
        yield Ends(home(model, first), home(model, second), str(second.ips[0]))
