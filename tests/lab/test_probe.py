"""Probes between namespaces on a Linux bridge: what answers, what is dropped, and what a full mesh costs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from datapath.addr import IPAddress
from datapath.probe import Probe, run

pytestmark = pytest.mark.lab

NODES = 20


def batch(tool: str, lines: list[str], namespace: str = "") -> None:
    command = [tool, *(["-n", namespace] if namespace else []), "-batch", "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True)


def name(i: int) -> str:
    return f"sdnt-probe{i}"


def v4(i: int) -> IPv4Address:
    return IPv4Address(f"10.99.0.{i + 1}")


def v6(i: int) -> IPv6Address:
    return IPv6Address(f"fd99::{i + 1:x}")


@pytest.fixture(scope="module")
def bridge() -> Iterator[None]:
    """NODES namespaces on one bridge, which is in a namespace of its own."""
    hub = "sdnt-probe-hub"
    names = [hub, *map(name, range(NODES))]
    batch("ip", [f"netns add {n}" for n in names])
    try:
        lines = ["link add hub type bridge", "link set hub up"]
        for i in range(NODES):
            lines += [
                f"link add p{i} type veth peer name eth0 netns {name(i)}",
                f"link set p{i} master hub",
                f"link set p{i} up",
            ]
        batch("ip", lines, hub)
        for i in range(NODES):
            up = ["link set lo up", f"addr add {v4(i)}/24 dev eth0", f"addr add {v6(i)}/64 dev eth0 nodad"]
            batch("ip", [*up, "link set eth0 up"], name(i))
        yield
    finally:
        batch("ip", [f"netns del {n}" for n in names])


def probe(a: int, b: int, source: IPAddress, target: IPAddress, **more: object) -> Probe:
    return Probe(name(a), source, name(b), target, **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("bridge")
class TestProbe:
    def test_mesh_of_both_families(self) -> None:
        probes = [probe(a, b, v(a), v(b)) for v in (v4, v6) for a in range(NODES) for b in range(NODES) if a != b]
        started, cpu = time.monotonic(), time.process_time()
        outcomes = run(probes)
        print(f"{len(probes)} pairs: {time.monotonic() - started:.3f} s, own CPU {time.process_time() - cpu:.3f} s")
        assert [o.detail for o in outcomes if not o.passed] == []
        assert all(o.rtt is not None and o.rtt < 1 for o in outcomes)

    @pytest.mark.parametrize("kind", ["tcp", "udp"])
    def test_ports(self, kind: str) -> None:
        probes = [probe(a, b, v(a), v(b), kind=kind, port=80) for v in (v4, v6) for a in range(3) for b in range(3, 6)]
        assert all(outcome.passed for outcome in run(probes))

    def test_what_is_not_there_does_not_answer(self) -> None:
        nobody = IPv4Address("10.99.0.250")
        ok, denied = run(
            [
                Probe(name(0), v4(0), None, nobody, within=0.3),
                Probe(name(0), v4(0), None, nobody, expect="fail"),
            ]
        )
        assert (ok.passed, ok.answered, denied.passed, denied.answered) == (False, False, True, False)
        assert ok.detail

    def test_an_answer_refutes_a_denial(self) -> None:
        (outcome,) = run([probe(0, 1, v4(0), v4(1), expect="fail", within=0.5)])
        assert (outcome.passed, outcome.answered, outcome.detail) == (False, True, "was answered")

    def test_a_denial_is_waited_for(self) -> None:
        """The pair is open when the run starts and shut 0.3 s later, as after a revoked rule."""
        shut = subprocess.Popen(["sh", "-c", f"sleep 0.3; ip -n {name(3)} link set eth0 down"])
        try:
            (outcome,) = run([probe(2, 3, v4(2), v4(3), expect="fail", within=5)])
            assert outcome.passed
            assert outcome.attempts > 3
        finally:
            shut.wait()
            batch("ip", ["link set eth0 up"], name(3))

    def test_a_sender_without_the_address_proves_nothing(self) -> None:
        stranger = IPv4Address("10.99.7.7")
        outcomes = run([probe(0, 1, stranger, v4(1), expect=expect, within=0.3) for expect in ("ok", "fail")])
        assert [(o.passed, o.detail) for o in outcomes] == [
            (False, "the sender does not have the address 10.99.7.7"),
            (False, "the sender does not have the address 10.99.7.7"),
        ]

    def test_a_service_that_is_there_already_is_used(self) -> None:
        command = ["ip", "netns", "exec", name(5), "/usr/bin/env", "python3", "-u", "-c"]
        serve = "import socket;s=socket.create_server(('10.99.0.6',8080));print('ready');[s.accept() for _ in range(9)]"
        server = subprocess.Popen([*command, serve], stdout=subprocess.PIPE)
        try:
            assert server.stdout
            server.stdout.readline()
            (outcome,) = run([probe(0, 5, v4(0), v4(5), kind="tcp", port=8080, within=1)])
            assert outcome.passed
        finally:
            server.kill()
            server.communicate()
