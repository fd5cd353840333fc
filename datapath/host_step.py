"""One thing to do on a host, in words. PURE.

Enters: what is desired and observed of one kind of object, by what people call it. Leaves: HostSteps. Never: an order
between kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from datapath.plan import Step, Verb, diff

T = TypeVar("T")

NEW, GONE = "new", "no longer wanted"


@dataclass(frozen=True, slots=True)
class HostStep:
    """One thing to do on a host, and why. `disturbs` says what it interrupts; empty: nothing."""

    verb: Verb
    what: str
    why: str
    disturbs: str = ""


Reason = tuple[str, str]
"""Why, and what it disturbs."""


def told(desired: dict[str, T], observed: dict[str, T], loss: str, change: Callable[[T, T], Reason]) -> list[HostStep]:
    """What differs; `loss` is what the end of one disturbs."""
    found = []
    for step in diff(desired, observed):
        if step.verb == "change":
            found.append(HostStep("change", step.key, *change(desired[step.key], observed[step.key])))
        else:
            found.append(come_or_gone(step, loss))
    return found


def come_or_gone(step: Step[str, T], loss: str) -> HostStep:
    return HostStep(step.verb, step.key, NEW) if step.verb == "add" else HostStep(step.verb, step.key, GONE, loss)
