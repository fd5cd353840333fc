"""Traffic between two namespaces, and hand-made networks of the kernel's own devices to send it through.

Enters: names of namespaces and addresses. Leaves: bits or packets per second. Never: a namespace that stays.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Final, NamedTuple

from tests.bench.registry import Measured

ROUNDS: Final = 5
SECONDS: Final = 2
SMALL: Final = 18
"""Bytes of UDP payload in a frame of 64 bytes: 14 Ethernet + 20 IPv4 + 8 UDP + 18 + 4 frame check sequence."""
WAITING: Final = "Server listening"


class Ends(NamedTuple):
    """Two namespaces, and the address of the second one."""

    source: str
    target: str
    address: str


def tcp(ends: Ends) -> float:
    """Bits per second that one TCP connection carries."""
    return float(_iperf(ends)["end"]["sum_received"]["bits_per_second"])


def small_packets(ends: Ends) -> float:
    """Frames of 64 bytes per second that arrive, of as many as can be sent."""
    told = _iperf(ends, "--udp", "--length", str(SMALL), "--bitrate", "0")["end"]["sum"]
    return float((told["packets"] - told["lost_packets"]) / told["seconds"])


def beside(measure: Callable[[Ends], float], ours: Ends, peer: Ends) -> Measured:
    """Each in turn, several times, since the machine has its moods: the medians."""
    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        taken["ours"].append(measure(ours))
        taken["peer"].append(measure(peer))
    shown = "; ".join(f"{who} {', '.join(f'{value:.3g}' for value in values)}" for who, values in taken.items())
    return Measured(median(taken["ours"]), median(taken["peer"]), shown)


def _iperf(ends: Ends, *how: str) -> Any:
    server = _enter(ends.target, "iperf3", "--server", "--one-off", "--forceflush", "--bind", ends.address)
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as listening:
        try:
            assert listening.stdout is not None
            assert any(WAITING in line for line in iter(listening.stdout.readline, ""))
            command = _enter(
                ends.source, "iperf3", "--client", ends.address, "--time", str(SECONDS), "--json", "--omit", "0", *how
            )
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=10 * SECONDS)
            return json.loads(done.stdout)
        finally:
            listening.terminate()


def _enter(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


@contextmanager
def hand_made_bridge(mtu: int) -> Iterator[Ends]:
    """Two namespaces on one Linux bridge, as anybody would make them with `ip`."""
    with _namespaces("hv", "a", "b") as (hv, a, b):
        _ip(
            f"-n {hv} link add br0 mtu {mtu} up type bridge mcast_snooping 0",
            *(line for number, node in enumerate((a, b), 1) for line in _node(hv, node, number, mtu)),
        )
        yield Ends(a, b, "10.99.0.2")


@contextmanager
def hand_made_vxlan(mtu: int) -> Iterator[Ends]:
    """Two hosts joined by a Linux bridge, each with a bridge, a vxlan device and a namespace: flood and learn."""
    with _namespaces("wire", "hv1", "hv2", "a", "b") as (wire, hv1, hv2, a, b):
        lines = [f"-n {wire} link add br0 up type bridge mcast_snooping 0"]
        for number, (hv, node) in enumerate(((hv1, a), (hv2, b)), 1):
            lines += [
                f"-n {hv} link add under type veth peer name w{number} netns {wire}",
                f"-n {wire} link set w{number} up master br0",
                f"-n {hv} address add 172.31.99.{number}/24 dev under",
                f"-n {hv} link set under up",
                f"-n {hv} link add br0 mtu {mtu} up type bridge mcast_snooping 0",
                f"-n {hv} link add vx0 mtu {mtu} type vxlan id 99 dstport 4789 local 172.31.99.{number} "
                f"remote 172.31.99.{3 - number}",
                f"-n {hv} link set vx0 up master br0",
                *_node(hv, node, number, mtu),
            ]
        _ip(*lines)
        yield Ends(a, b, "10.99.0.2")


def _node(hv: str, node: str, number: int, mtu: int) -> list[str]:
    return [
        f"-n {hv} link add p{number} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {node}",
        f"-n {hv} link set p{number} up master br0",
        f"-n {node} address add 10.99.0.{number}/24 dev eth0",
        f"-n {node} link set eth0 up",
    ]


def _ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


@contextmanager
def _namespaces(*names: str) -> Iterator[tuple[str, ...]]:
    made = tuple(f"sdnt-bench{os.getpid()}-{name}" for name in names)
    try:
        for name in made:
            _ip(f"netns add {name}", f"-n {name} link set lo up")
        yield made
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)
