"""Real packets between real nodes: does A reach B by ping, TCP or UDP?

Enters: namespaces and addresses. Leaves: one Outcome for each Probe, in the same order. Never: knows what a lab is.

What counts as an answer: an ICMP echo reply with our token; a completed TCP handshake; a UDP datagram that comes back.

    expect ok     tried again, with back-off, until the first answer; fails when none came `within` seconds
    expect fail   proven by DENIED_AFTER consecutive probes without an answer, each waited for at least DENIED_WAIT
                  seconds. An answer starts the count again, for as long as `within` lasts: a rule that was just
                  revoked may need a moment. A late answer, while other probes still run, takes the proof back.

A sender without a route to the target is denied by itself, without a wait. A probe that could not be sent because the
sender lacks its own address proves nothing: it fails, whatever was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from datapath.addr import IPAddress

if TYPE_CHECKING:
    from datapath.probe.transport import Transport

Kind = Literal["ping", "tcp", "udp"]
Expect = Literal["ok", "fail"]

DENIED_AFTER: Final = 3
"""Consecutive unanswered probes that prove a pair denied."""
DENIED_WAIT: Final = 0.25
"""Seconds for which each of them is waited for."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. A namespace is a name under /run/netns, or '' for that of the caller.

    `target_namespace` is where a TCP listener or UDP responder is opened on `target` and `port`, for the time of the
    run and where nothing listens there already; None where the target is not ours.

    Inside a guest it is done by its agent, whose socket `source_guest` and `target_guest` are.
    """

    namespace: str
    source: IPAddress
    target_namespace: str | None
    target: IPAddress
    kind: Kind = "ping"
    port: int = 0
    expect: Expect = "ok"
    within: float = 5.0
    source_guest: Path | None = None
    target_guest: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a probe. `rtt` is in seconds, None where nothing answered; `detail` says why not, where known.

    `began` and `ended` are when it was asked first and when its outcome was known, by the monotonic clock.
    """

    probe: Probe
    passed: bool
    rtt: float | None
    attempts: int
    detail: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def answered(self) -> bool:
        return self.rtt is not None


def run(probes: Sequence[Probe], progress: OnProgress | None = None) -> list[Outcome]:
    """Run all probes in parallel; `progress(done, total)` is called some ten times a second.

    Needs root for namespaces and ping. Raises MachineError where a namespace is not there or may not be entered.
    """
    from datapath.linux.limits import allow_many_files
    from datapath.probe import neighbours  # what imports this module's nouns is imported when they exist
    from datapath.probe.engine import Engine

    ours = [probe for probe in probes if probe.source_guest is None]
    neighbours.make_room(2 * len({(probe.namespace, probe.target) for probe in ours}))
    allow_many_files()  # each node takes two, a socket and a namespace
    transport = _transport(probes)
    try:
        return Engine(probes, transport, progress).run()
    finally:
        transport.close()


def _transport(probes: Sequence[Probe]) -> Transport:
    from datapath.probe.transport import Sockets

    sockets = Sockets(probes)
    if not any(probe.source_guest or probe.target_guest for probe in probes):
        return sockets
    from datapath.probe.guests import WithGuests

    return WithGuests(sockets, probes)
