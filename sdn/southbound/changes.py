"""What differs between the flows a switch should have and those it has. PURE.

Enters: desired flows by key, a dump. Leaves: `Changes`. Never: a flow that is not ours (its cookie lacks our mark), or
one that the switch learned because a desired flow tells it to, as something to change or remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from datapath.openflow.codec import FlowStats
from datapath.openflow.flow import Flow, FlowKey, Learn
from datapath.openflow.text import format_flow
from datapath.plan import Step, diff
from sdn.pipeline.fields import is_ours


class Conflict(NamedTuple):
    """Somebody else's flow where ours should be. It stays, ours is not added."""

    desired: Flow
    observed: Flow

    def __str__(self) -> str:
        return f"{format_flow(self.observed)} is not ours and stays; it is in the place of {format_flow(self.desired)}"


@dataclass(frozen=True, slots=True)
class Changes:
    """`change` holds flows whose key is there with another cookie, timeout, action or goto; they are sent as additions.

    An addition replaces the flow of the same key, cookie and timeouts included, and keeps its counters as long as
    OFPFF_RESET_COUNTS is not set (OpenFlow 1.4 section 6.4); only its duration starts again. A modification would keep
    the old cookie and timeouts, and does nothing where the flow has gone since the dump.
    """

    add: tuple[Flow, ...] = ()
    change: tuple[Flow, ...] = ()
    remove: tuple[Flow, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    steps: tuple[Step[FlowKey, Flow], ...] = ()
    """The same with the reason of each."""
    foreign: tuple[FlowKey, ...] = ()
    """Flows that are there and not ours."""

    @property
    def count(self) -> int:
        """How many flow-mods it takes."""
        return len(self.add) + len(self.change) + len(self.remove)


def compare(desired: Mapping[FlowKey, Flow], observed: Mapping[FlowKey, FlowStats]) -> Changes:
    """What turns `observed` into `desired`, compared by (table, priority, match)."""
    wanted: dict[FlowKey, Flow] = {}
    ours: dict[FlowKey, Flow] = {}
    learning = {action.cookie for flow in desired.values() for action in flow.actions if isinstance(action, Learn)}
    conflicts: list[Conflict] = []
    foreign: list[FlowKey] = []
    there = 0
    for key, stats in observed.items():
        flow = stats.flow
        want = desired.get(key)
        there += want is not None
        if want == flow:
            continue
        if not is_ours(flow.cookie):
            foreign.append(key)
            conflicts += [Conflict(want, flow)] if want is not None else []
        elif want is not None:
            wanted[key], ours[key] = want, flow
        elif flow.cookie not in learning:
            ours[key] = flow
    if there < len(desired):
        wanted.update((key, flow) for key, flow in desired.items() if key not in observed)
    steps = tuple(diff(wanted, ours, why=_why))
    return Changes(
        tuple([step.desired for step in steps if step.verb == "add" and step.desired]),
        tuple([step.desired for step in steps if step.verb == "change" and step.desired]),
        tuple([step.observed for step in steps if step.verb == "remove" and step.observed]),
        tuple(conflicts),
        steps,
        tuple(foreign),
    )


def _why(desired: Flow, observed: Flow) -> str:
    fields = ("actions", "goto", "cookie", "idle_timeout", "hard_timeout")
    return "other " + ", ".join(name for name in fields if getattr(desired, name) != getattr(observed, name))
