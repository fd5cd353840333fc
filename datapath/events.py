"""What an agent observes, as values: the facts of the store begin here. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from datapath.spec import GuestPhase

How = Literal["removed", "changed", "added", "lost"]
"""What somebody did behind our back; `lost` is what a switch that was away came back without."""
HOWS: Final[tuple[How, ...]] = get_args(How)


@dataclass(frozen=True, slots=True)
class PortState:
    """Of a node's interface: the number that the switch really gave it (None: none), and whether its link is set up."""

    node: str
    interface: str
    ofport: int | None
    up: bool


@dataclass(frozen=True, slots=True)
class ChassisState:
    """`errors` are wishes that cannot be fulfilled, `notes` what one should know though nothing is wrong. `settled`:
    its switch has answered, and each of its guests is as it shall be, or has said why it is not. `broken`: there are
    errors that are not guests'."""

    chassis: str
    datapath_type: str
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settled: bool = True
    broken: bool = False


@dataclass(frozen=True, slots=True)
class GuestState:
    """Of a guest: where it runs ('' nowhere) and how. `goes` is the chassis that it is being moved to, `leaves` the one
    that it has just moved from, as long as it may have to go back there. `started` is in seconds since the epoch;
    `answers` says that its guest agent does; `note` is what came of the last thing done with it, such as how long a
    move paused it; `error` is why it is not as it should be, with the last words of its console."""

    guest: str
    phase: GuestPhase
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
    """Somebody else has changed what is ours on a chassis: `what`, in people's words. It is told when it is found, and
    again with the same `number` when it is put right, or cannot be, for the reason in `error`.

    Times are in seconds since the epoch; `repaired` is 0 as long as it is not. The same thing again soon afterwards is
    the same drift: it is open once more, `found` is when that happened, and `times` how often it has. `repairs` is how
    often it was put right, and `took` the seconds that the first few of these took, which wait for nobody.
    """

    number: int
    chassis: str
    what: str
    how: How
    found: float
    repaired: float = 0.0
    error: str = ""
    times: int = 1
    repairs: int = 0
    took: tuple[float, ...] = ()


Event = PortState | ChassisState | GuestState | Drift
