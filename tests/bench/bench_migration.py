"""Guests that move: how long nobody answers a ping every 10 ms, in each mode that there is without KVM.

The guest is the built-in one, with nothing to do but to answer. One that writes memory all the time and looks whether
it finds what it wrote is in tests/lab/test_guests_move.py; it takes a core of two, for which everybody else then waits.
What is counted is the longest time between two answers, to a node on a third chassis: pings that wait for the guest to
go on are late, and not lost.
"""

from __future__ import annotations

from statistics import median

from datapath.spec import namespace
from sdn import lab as labs
from tests.bench.labs import Lab, lab, listed, timed
from tests.bench.registry import Measured, at_most, bench
from tests.lab.pinger import Pinger

ROUNDS = 5
PATIENCE = 60.0  # seconds
TOPOLOGY = """
chassis: {'hv[1-3]': {datapath: DATAPATH}}
networks:
  lan: {segment: {vxlan: 3300}, subnet: 10.34.0.0/24}
nodes:
  asker: {chassis: hv3, network: lan}
guests:
  g1: {chassis: hv1, network: lan}
"""


@bench("a guest moves in place, as it does by itself: without an answer", unit="ms", target=at_most(120))
def in_place() -> Measured:
    return _silence("auto")


@bench("a guest moves in place between Linux bridges: without an answer", unit="ms", target=at_most(120))
def in_place_linux() -> Measured:
    return _silence("auto", "linux")


@bench("a guest moves by stop-and-copy: without an answer", unit="ms", target=at_most(300))
def stop_and_copy() -> Measured:
    return _silence("stop-and-copy")


@bench("a guest moves by post-copy: without an answer", unit="ms", target=at_most(120))
def post_copy() -> Measured:
    return _silence("post-copy")


def _silence(mode: str, datapath: str = "ovs") -> Measured:
    silent, paused, whole = [], [], []
    with lab(TOPOLOGY.replace("DATAPATH", datapath)) as running:
        running.up()
        for number in range(ROUNDS):
            silence, took = _moved(running, f"hv{2 - number % 2}", mode)
            silent.append(silence)
            whole.append(took)
            note = labs.snapshot(running.name)[1].guests["g1"].note
            paused.append(float(note.partition("paused for ")[2].partition(" ms")[0]) / 1000)
    figures = {"silent": silent, "CPUs stood": paused, "whole command": whole}
    return Measured(median(silent) * 1000, None, listed(figures))


def _moved(running: Lab, chassis: str, mode: str) -> tuple[float, float]:
    """Seconds without an answer, and of the command."""
    model = running.model()
    asker, guest = (str(model.ports[name].ips[0]) for name in ("asker:eth0", "g1:eth0"))
    pinger = Pinger(namespace(running.name, "asker"), asker, guest)
    try:
        pinger.wait(20, PATIENCE)
        took = timed("migrate", "g1", chassis, "--mode", mode, "--lab", running.name)
        pinger.wait(50, PATIENCE)
        pinger.stop()
        return pinger.silence(), took
    finally:
        pinger.close()
