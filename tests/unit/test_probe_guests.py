"""Probes from and to guests: the program that runs in a guest runs here, on the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from datapath import probe
from datapath.errors import RefusedError, TransientError
from datapath.guest import qga
from datapath.probe import Probe

HERE = ip_address("127.0.0.1")
GUEST = Path("/run/sdn/lab/guests/g1/agent.sock")
OTHER = Path("/run/sdn/lab/guests/g2/agent.sock")

pytestmark = pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")


class Agents:
    """What runs in a guest runs here."""

    def __init__(self) -> None:
        self.rounds = 0
        self.ended: list[int] = []
        self.obstacle: Exception | None = None
        self.boots = 0
        """How many more times nobody answers."""

    def execute(self, _: Path, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> qga.Done:
        if self.obstacle:
            raise self.obstacle
        if self.boots:
            self.boots -= 1
            raise TransientError("guest g1 does not run")
        if argv[0] == "kill":
            os.kill(int(argv[1]), signal.SIGTERM)
            self.ended.append(int(argv[1]))
            return qga.Done(0, b"", b"")
        self.rounds += b"\nask " in stdin
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout)
        return qga.Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Agents:
    made = Agents()
    monkeypatch.setattr(qga, "execute", made.execute)
    return made


@pytest.fixture
def port() -> int:
    """Nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
    return number


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_guest_answers_another(agents: Agents, port: int, kind: probe.Kind, address: str) -> None:
    here = ip_address(address)
    (outcome,) = probe.run([Probe("", here, None, here, kind, port, source_guest=GUEST, target_guest=OTHER)])
    assert outcome.passed, outcome.detail
    assert outcome.rtt is not None
    assert outcome.rtt < 1
    assert agents.ended, "what answered has gone"


def test_many_probes_of_a_guest_are_one_round(agents: Agents, port: int) -> None:
    probes = [Probe("", HERE, None, HERE, "udp", port, source_guest=GUEST, target_guest=OTHER) for _ in range(40)]
    assert all(outcome.passed for outcome in probe.run(probes))
    assert agents.rounds == 1


def test_refusal_and_silence_prove_that_it_is_denied(agents: Agents, port: int) -> None:
    fails: probe.Expect = "fail"
    outcomes = probe.run(
        [Probe("", HERE, None, HERE, kind, port, fails, source_guest=GUEST) for kind in ("tcp", "udp")]
    )
    assert [(o.passed, o.attempts, o.detail) for o in outcomes] == [
        (True, 3, "connection refused"),
        (True, 3, "no answer"),
    ]


def test_an_answer_where_none_is_wished_fails(agents: Agents, port: int) -> None:
    (outcome,) = probe.run(
        [Probe("", HERE, None, HERE, "tcp", port, "fail", 0.5, source_guest=GUEST, target_guest=OTHER)]
    )
    assert not outcome.passed
    assert outcome.detail == "was answered"


def test_a_sender_without_its_address_proves_nothing(agents: Agents, port: int) -> None:
    (outcome,) = probe.run(
        [Probe("", ip_address("192.0.2.1"), None, HERE, "tcp", port, "fail", 0.2, source_guest=GUEST)]
    )
    assert (outcome.passed, outcome.detail) == (False, "the sender does not have the address 192.0.2.1")


@pytest.mark.parametrize("expect", ["ok", "fail"])
def test_a_guest_that_cannot_be_asked_fails_and_says_why(agents: Agents, port: int, expect: probe.Expect) -> None:
    agents.obstacle = TransientError("no agent answers in guest g1")
    (outcome,) = probe.run([Probe("", HERE, None, HERE, "tcp", port, expect, 0.2, source_guest=GUEST)])
    assert (outcome.passed, outcome.detail) == (False, "no agent answers in guest g1")


def test_a_guest_that_nothing_can_be_opened_in_fails_and_says_why(agents: Agents, port: int) -> None:
    agents.obstacle = RefusedError("the agent refuses")
    (outcome,) = probe.run([Probe("", HERE, None, HERE, "tcp", port, "fail", 0.2, target_guest=GUEST)])
    assert not outcome.passed
    assert "nothing could be opened to answer: guest g1 has no perl" in outcome.detail


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_guest_that_is_just_booting_is_asked_again(agents: Agents, port: int, kind: probe.Kind) -> None:
    agents.boots = 3
    (outcome,) = probe.run([Probe("", HERE, None, HERE, kind, port, target_guest=GUEST)])
    assert outcome.passed, outcome.detail
    assert outcome.attempts > 3
    assert len(agents.ended) == 1, "what answered has gone"


def test_what_is_open_is_not_opened_again(agents: Agents, port: int) -> None:
    """An address that the guest does not have cannot be listened on, however often it is tried."""
    there, nowhere = HERE, ip_address("192.0.2.1")
    probes = [
        Probe("", HERE, None, address, "tcp", port, within=0.5, target_guest=GUEST) for address in (there, nowhere)
    ]
    fine, closed = probe.run(probes)
    assert fine.passed, fine.detail
    assert not closed.passed
    assert "guest g1 cannot listen on 192.0.2.1: cannot assign requested address" in closed.detail
    assert len(agents.ended) == 1


def test_the_host_asks_a_guest(agents: Agents, port: int) -> None:
    outcomes = probe.run([Probe("", HERE, None, HERE, kind, port, target_guest=GUEST) for kind in ("tcp", "udp")])
    assert [outcome.passed for outcome in outcomes] == [True, True]
