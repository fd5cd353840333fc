"""How a plan looks: what is done where, why, whom it disturbs. Enters: steps and counts of flows. Leaves: lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from sdn.cli import output
from sdn.cli.output import Cell

_SIGNS: Final = {"add": ("+", output.GOOD), "change": ("~", output.WARNING), "remove": ("-", output.BAD)}


class Step(Protocol):
    """Of `sdn.lab.plan`, or as the API tells it."""

    @property
    def where(self) -> str: ...
    @property
    def verb(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def disturbs(self) -> str: ...


def show(steps: Sequence[Step], flows: Mapping[str, tuple[int, int, int]], *, done: bool = False) -> None:
    """`done`: it was done some time ago."""
    if steps:
        last = "disturbed" if done else "disturbs"
        output.table(("", "where", "what", "why", last), [_step(step) for step in steps])
    for chassis, (add, change, remove) in flows.items():
        signs = [(f"+{add}", output.GOOD), (f"~{change}", output.WARNING), (f"-{remove}", output.BAD)]
        output.say(f"flows on {chassis}: " + " ".join(output.paint(text, style) for text, style in signs))
    verbs = [step.verb for step in steps]
    if not done:
        output.say(f"{verbs.count('add')} to add, {verbs.count('change')} to change, {verbs.count('remove')} to remove")


def is_empty(steps: Sequence[Step], flows: Mapping[str, tuple[int, int, int]]) -> bool:
    return not steps and not any(map(any, flows.values()))


def _step(step: Step) -> output.Row:
    sign, style = _SIGNS[step.verb]
    disturbs = step.disturbs or "nothing"
    calm = output.SOFT if disturbs == "nothing" else output.WARNING
    return Cell(sign, style), step.where, Cell(step.what, style), Cell(step.why, output.SOFT), Cell(disturbs, calm)
