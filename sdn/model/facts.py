"""What was observed: the status columns of the store as values. Each is written by one process only. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from datapath.events import How
from datapath.spec import GuestPhase

NO_ANSWER: Final = "the switch does not answer"
"""The error of a silent one."""


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """Of a chassis, by the controller. `revision` is the newest one whose flows a barrier has confirmed. `note` is what
    one should know though nothing is wrong. `silent`: it has called, and says nothing any more; its process hangs."""

    connected: bool = False
    revision: int = 0
    count: int = 0
    error: str = ""
    note: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Of a chassis, by its agent. `revision` is the newest one that it has dealt with: built, with its interfaces up,
    or not so for the reasons in `errors`. `notes` are what one should know though nothing is wrong."""

    revision: int = 0
    datapath_type: str = ""
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortFacts:
    """Of a port, by the agent of its chassis. `ofport` is the number that the switch really gave."""

    up: bool = False
    ofport: int | None = None


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """Of a guest, by the agent. `at` is the chassis where it runs, '' where it does not; `goes` the one that it is
    being moved to, `leaves` the one that it has just moved from, as long as it may have to go back there.

    `started` is in seconds since the epoch. `answers` says that its guest agent does. `error` is why it is not as it
    should be, with the last words of its console.
    """

    phase: GuestPhase = "off"
    at: str = ""
    goes: str = ""
    leaves: str = ""
    pid: int = 0
    accelerator: str = ""
    reason: str = ""
    started: int = 0
    restarts: int = 0
    answers: bool = False
    note: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """What somebody changed behind our back, by the controller or the agent: `what` of a chassis (a flow, a port, an
    address) was `removed`, `changed` or `added`, or is `lost`: its switch came back without it.

    Times are in seconds since the epoch, to the microsecond; `repaired` is 0 as long as it has not been put right,
    and `error` says why not. The same thing again soon afterwards is the same drift: it is open once more, `found` is
    when that happened last, and `times` how often it has. `repairs` is how often it was put right, and `took` the
    seconds that the first few of these took: somebody who fights is made to wait.
    """

    chassis: str
    what: str
    how: How
    found: float
    repaired: float = 0.0
    error: str = ""
    times: int = 1
    repairs: int = 0
    took: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything observed, by name."""

    flows: dict[str, FlowFacts] = field(default_factory=dict)
    hosts: dict[str, HostFacts] = field(default_factory=dict)
    ports: dict[str, PortFacts] = field(default_factory=dict)
    guests: dict[str, GuestFacts] = field(default_factory=dict)
    drifts: dict[str, Drift] = field(default_factory=dict)
    """The newest ones, by a key that whoever found it gave it; those found first are first."""
