"""A ping every 10 ms from a node, numbered: what was lost, and how long the longest silence was.

Enters: a namespace and two addresses. Leaves: `Pings`. It is a process of its own (this file run as a module), so that
what a test does meanwhile neither delays a ping nor has a thread beside it when it forks.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from tests.lab.labs import Lab

ROOT: Final = Path(__file__).parent.parent.parent
INTERVAL: Final = 0.01
PATIENCE: Final = 1.0  # seconds that the last pings have for their answers
PIPE_SIZE: Final = 1 << 20  # answers of some five minutes, so that a test need not read all the time
ECHO_REQUEST: Final = 8  # RFC 792


class Pings(NamedTuple):
    """`lost` are the numbers of those without an answer; `gap` is the longest time, in seconds, between two pings
    that were answered and had none answered between them."""

    sent: int
    lost: tuple[int, ...]
    gap: float


class Answer(NamedTuple):
    """CLOCK_MONOTONIC, the same for every process."""

    number: int
    sent: float
    received: float


class Pinger:
    """Pings as long as it lives."""

    def __init__(self, namespace: str, source: str, target: str) -> None:
        command = [sys.executable, "-m", "tests.lab.pinger", namespace, source, target]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._rest = b""
        self._answers: list[Answer] = []
        self._sent = 0

    def wait(self, count: int = 1, timeout: float = 5.0) -> float:
        """Until `count` pings sent from now on have been answered; returns how long that took."""
        begun = time.monotonic()
        while sum(answer.sent >= begun for answer in self._answers) < count:
            left = begun + timeout - time.monotonic()
            assert select.select([self._output], [], [], max(left, 0))[0], f"no answer within {timeout} s"
            assert self._read(), "the pinger has ended"
        return time.monotonic() - begun

    def first(self, timeout: float) -> float:
        """Waits for the first answer of all; when it came, by the monotonic clock."""
        end = time.monotonic() + timeout
        while not self._answers:
            ready = select.select([self._output], [], [], max(end - time.monotonic(), 0))[0]
            assert ready, f"no answer within {timeout} s"
            assert self._read(), "the pinger has ended"
        return self._answers[0].received

    def stop(self) -> Pings:
        """No further ping; what is on its way may still arrive."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        while self._read():
            pass
        assert self._process.wait() == 0
        answered = {answer.number for answer in self._answers}
        moments = sorted(answer.sent for answer in self._answers)
        gaps = (later - earlier for earlier, later in itertools.pairwise(moments))
        return Pings(self._sent, tuple(n for n in range(self._sent) if n not in answered), max(gaps, default=0.0))

    def silence(self) -> float:
        """After `stop`: the longest time, in seconds, between two answers that came; also where those in between came
        late, because whoever answers stood still, and are not lost."""
        moments = sorted(answer.received for answer in self._answers)
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _read(self) -> bool:
        """False at the end."""
        data = os.read(self._output, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            number, *times = line.split()
            if times:
                self._answers.append(Answer(int(number), *map(float, times)))
            else:
                self._sent = int(number)
        return bool(data)


@contextmanager
def pinging(lab: Lab, *pairs: tuple[str, str]) -> Iterator[list[Pinger]]:
    """Pingers between ports (or nodes with one port), each of which has had its first answers."""
    pingers: list[Pinger] = []
    try:
        for source, target in pairs:
            here, there = lab.port(source), lab.port(target)
            pingers.append(Pinger(lab.namespace(here.node), str(here.ips[0]), str(there.ips[0])))
        for pinger in pingers:
            pinger.wait(5)
        yield pingers
    finally:
        for pinger in pingers:
            pinger.close()


# ── in the process of its own ──


def main(namespace: str, source: str, target: str) -> None:
    """Until standard input closes. Writes `number sent received` for each answer, at the end how many were sent."""
    from datapath.linux.namespaces import DIRECTORY, setns
    from datapath.probe.sockets import icmp

    with (DIRECTORY / namespace).open("rb") as file:
        setns(file.fileno())
    with icmp(ip_address(source)) as raw:
        raw.connect((target, 0))
        sent = _ping(raw, os.getpid() & 0xFFFF)
    os.write(1, f"{sent}\n".encode())


def _ping(raw: socket.socket, identity: int) -> int:
    times: list[float] = []
    answered: set[int] = set()
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= due:
            _send(raw, identity, len(times))
            times.append(now)
            due = max(due + INTERVAL, now)
        ready = select.select([raw, 0], [], [], max(due - time.monotonic(), 0))[0]
        if raw in ready:
            _hear(raw, identity, times, answered)
        if 0 in ready:
            break
    end = time.monotonic() + PATIENCE
    while len(answered) < len(times) and select.select([raw], [], [], max(end - time.monotonic(), 0))[0]:
        _hear(raw, identity, times, answered)
    return len(times)


def _send(raw: socket.socket, identity: int, number: int) -> None:
    """What the kernel refuses to send (no neighbour, a full queue) counts as lost, like what the network loses."""
    head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identity, number & 0xFFFF)
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    try:
        raw.send(head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:])
    except OSError as error:
        print(f"ping {number}: {error}", file=sys.stderr)


def _hear(raw: socket.socket, identity: int, times: list[float], answered: set[int]) -> None:
    try:
        packet = raw.recv(2048)
    except OSError:
        return  # an ICMP error about an earlier ping, whose answer will be missing
    head = (packet[0] & 0x0F) * 4
    kind, _, _, whose, number = struct.unpack_from("!BBHHH", packet, head)
    if kind == 0 and whose == identity and number not in answered:
        answered.add(number)
        os.write(1, f"{number} {times[number]} {time.monotonic()}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
