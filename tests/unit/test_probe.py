"""Probe packets byte for byte, the window, and the loop with a network in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from datapath.checksum import checksum
from datapath.probe import Outcome, Probe, neighbours, run
from datapath.probe.engine import Engine
from datapath.probe.pace import FIRST_WINDOW, LARGEST_WINDOW, SMALLEST_WINDOW, Pace
from datapath.probe.packets import Token, echo_request, icmp_reply, token
from datapath.probe.transport import Event, Failed, Sending

TOKEN = Token(0xCAFE1234, 77777, 3)
LOCALHOST = IPv4Address("127.0.0.1")


class TestPackets:
    def test_checksum_is_that_of_rfc_1071(self) -> None:
        assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
        assert checksum(b"\x01") == 0xFEFF

    def test_echo_request_v4_is_whole(self) -> None:
        packet = echo_request(TOKEN, 4)
        assert packet[:2] == bytes([8, 0])
        assert struct.unpack("!HH", packet[4:8]) == (0x1234, 77777 & 0xFFFF)
        assert checksum(packet) == 0
        assert token(packet, 8) == TOKEN

    def test_echo_request_v6_leaves_the_checksum_to_the_kernel(self) -> None:
        packet = echo_request(TOKEN, 6)
        assert packet[:4] == bytes([128, 0, 0, 0])
        assert token(packet, 8) == TOKEN

    def test_replies_are_known_by_their_token(self) -> None:
        ip_header = bytes([0x46]) + bytes(23)  # with one option: 24 bytes
        v4 = ip_header + bytes([0]) + echo_request(TOKEN, 4)[1:]
        v6 = bytes([129]) + echo_request(TOKEN, 6)[1:]
        assert icmp_reply(v4, 4) == (TOKEN, "")
        assert icmp_reply(v6, 6) == (TOKEN, "")

    def test_an_error_quotes_what_it_is_about(self) -> None:
        quoted = bytes([0x45]) + bytes(19) + echo_request(TOKEN, 4)
        error = bytes([0x45]) + bytes(19) + bytes([3, 10]) + bytes(6) + quoted
        assert icmp_reply(error, 4) == (TOKEN, "unreachable (ICMP code 10)")

    @pytest.mark.parametrize("packet", [b"", b"\x45", bytes(20), bytes([0x45]) + bytes(40), b"\xff" * 64, bytes(28)])
    @pytest.mark.parametrize("version", [4, 6])
    def test_strangers_are_passed_over(self, packet: bytes, version: int) -> None:
        assert icmp_reply(packet, version) is None


class TestPace:
    def test_opens_with_answers_and_halves_when_a_repeat_was_needed(self) -> None:
        pace = Pace()
        for i in range(5000):
            pace.answered(0.002, 1, i * 0.001)
        assert pace.window == LARGEST_WINDOW
        assert pace.wait == pytest.approx(0.1)
        pace.answered(0.002, 2, 10.0)
        pace.answered(0.002, 2, 10.01)  # of the same burst
        assert pace.window == LARGEST_WINDOW // 2

    def test_has_a_floor(self) -> None:
        pace = Pace()
        assert pace.window == FIRST_WINDOW
        for i in range(10):
            pace.answered(0.002, 2, 10.0 * (i + 1))
        assert pace.window == SMALLEST_WINDOW


class Network:
    """Answers where `answers(sending, now)` says so, `delay` seconds later; time passes only while one waits."""

    def __init__(self, answers: Callable[[Sending, float], bool], delay: float = 0.002) -> None:
        self.answers, self.delay = answers, delay
        self.now = 1.0
        self.arriving: list[tuple[float, Event]] = []
        self.most_under_way = 0
        self.broken: Failed | None = None

    def clock(self) -> float:
        return self.now

    def send(self, batch: Sequence[Sending]) -> list[Failed | None]:
        if self.broken:
            return [self.broken] * len(batch)
        for sending in batch:
            if self.answers(sending, self.now):
                self.arriving.append((self.now + self.delay, Event(sending.number, sending.attempt)))
        self.most_under_way = max(self.most_under_way, len(self.arriving))
        return [None] * len(batch)

    def read(self, timeout: float) -> list[Event]:
        soon = min((when for when, _ in self.arriving), default=self.now + timeout)
        self.now = max(self.now + 1e-6, min(self.now + timeout, soon))
        events = [event for when, event in self.arriving if when <= self.now]
        self.arriving = [(when, event) for when, event in self.arriving if when > self.now]
        return events

    def forget(self, index: int) -> None:
        pass

    def close(self) -> None:
        pass


def ask(network: Network, *probes: Probe) -> list[Outcome]:
    return Engine(probes, network, clock=network.clock).run()


def probe(expect: str = "ok", within: float = 5.0) -> Probe:
    return Probe("a", LOCALHOST, "b", LOCALHOST, expect=expect, within=within)  # type: ignore[arg-type]


class TestEngine:
    def test_a_mesh_answers_at_once(self) -> None:
        network = Network(lambda *_: True)
        outcomes = ask(network, *[probe()] * 9900)
        assert all(o.passed and o.attempts == 1 and o.rtt == pytest.approx(0.002, rel=0.1) for o in outcomes)
        assert network.most_under_way <= LARGEST_WINDOW

    def test_the_time_on_the_wire_is_the_transports_to_measure(self) -> None:
        network = Network(lambda *_: True)
        heard = network.read
        network.read = lambda timeout: [event._replace(rtt=0.0005) for event in heard(timeout)]  # type: ignore[method-assign]
        (outcome,) = ask(network, probe())
        assert outcome.rtt == 0.0005
        assert outcome.ended - outcome.began == pytest.approx(0.002, rel=0.1)

    def test_is_repeated_until_it_answers(self) -> None:
        network = Network(lambda _, now: now > 3.0)
        (outcome,) = ask(network, probe())
        assert outcome.passed
        assert 3.0 < network.now < 4.2

    def test_gives_up_after_within(self) -> None:
        network = Network(lambda *_: False)
        (outcome,) = ask(network, probe(within=2.0))
        assert (outcome.passed, outcome.detail) == (False, "no answer")
        assert 3.0 <= network.now < 4.5

    def test_denied_takes_three_unanswered(self) -> None:
        network = Network(lambda *_: False)
        (outcome,) = ask(network, probe("fail"))
        assert (outcome.passed, outcome.answered, outcome.attempts) == (True, False, 3)
        assert 1.75 <= network.now < 2.5

    def test_denied_may_come_late(self) -> None:
        network = Network(lambda _, now: now < 2.0)
        (outcome,) = ask(network, probe("fail"))
        assert outcome.passed
        assert not outcome.answered

    def test_never_denied(self) -> None:
        (outcome,) = ask(Network(lambda *_: True), probe("fail", within=1.0))
        assert (outcome.passed, outcome.answered, outcome.detail) == (False, True, "was answered")

    def test_a_slow_answer_takes_the_proof_back(self) -> None:
        """All three have been given up when the first answer arrives; another probe keeps the run going."""
        network = Network(lambda sending, _: sending.number == 0, delay=1.5)
        denied, _ = ask(network, probe("fail", within=4.0), probe(within=12.0))
        assert (denied.passed, denied.answered) == (False, True)

    @pytest.mark.parametrize("expect", ["ok", "fail"])
    def test_what_cannot_be_sent_fails_either_way(self, expect: str) -> None:
        network = Network(lambda *_: False)
        network.broken = Failed("the sender does not have the address", True)
        (outcome,) = ask(network, probe(expect, within=1.0))
        assert (outcome.passed, outcome.answered, outcome.detail) == (False, False, network.broken.why)

    def test_no_route_is_denied_at_once(self) -> None:
        network = Network(lambda *_: False)
        network.broken = Failed("the sender has no way to 192.0.2.1", False)
        denied, _ = ask(network, probe("fail"), probe(within=0.1))
        assert (denied.passed, denied.attempts) == (True, 3)
        assert network.now < 1.3

    def test_reports_progress(self) -> None:
        seen: list[tuple[int, int]] = []
        network = Network(lambda *_: True)
        Engine([probe()] * 500, network, lambda done, total: seen.append((done, total)), network.clock).run()
        assert seen[-1] == (500, 500)

    def test_nothing_to_ask(self) -> None:
        assert ask(Network(lambda *_: True)) == []


class TestRealSockets:
    """On the loopback device, in our own namespace."""

    @pytest.mark.parametrize(("kind", "port"), [("tcp", 29717), ("udp", 29718)])
    def test_answers(self, kind: str, port: int) -> None:
        probes = [Probe("", LOCALHOST, "", LOCALHOST, kind, port, within=2.0)] * 20  # type: ignore[arg-type]
        assert all(outcome.passed for outcome in run(probes))

    def test_nobody_listens(self) -> None:
        (outcome,) = run([Probe("", LOCALHOST, None, LOCALHOST, "tcp", 29719, within=0.2)])
        assert (outcome.passed, outcome.detail) == (False, "connection refused")


def limits(folder: Path) -> list[int]:
    return [int((folder / f"ipv4/neigh/default/gc_thresh{i}").read_text()) for i in (1, 2, 3)]


def test_neighbour_limits_are_raised_never_lowered(tmp_path: Path) -> None:
    for family in ("ipv4", "ipv6"):
        (tmp_path / family / "neigh/default").mkdir(parents=True)
        for threshold, value in ((1, 128), (2, 512), (3, 1024)):
            (tmp_path / family / f"neigh/default/gc_thresh{threshold}").write_text(str(value))
    assert neighbours.make_room(100, tmp_path)
    assert limits(tmp_path) == [128, 512, 1024]
    assert neighbours.make_room(9900, tmp_path)
    assert neighbours.make_room(600, tmp_path)
    assert limits(tmp_path) == [10412, 10412, 10412]
    assert not neighbours.make_room(9900, tmp_path / "missing")
