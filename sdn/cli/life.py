"""`up`, `plan`, `apply`, `down`: bringing a lab to what its file says."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datapath.errors import CheckError, FileError
from datapath.linux.namespaces import DIRECTORY
from sdn import lab
from sdn.cli import output, plans, target
from sdn.cli.output import Cell
from sdn.model.facts import GuestFacts

if TYPE_CHECKING:
    from sdn.lab import Result, Status
    from sdn.lab.plan import Plan
    from sdn.model import Model

_PHASES: Final = {
    "start": "starting the lab",
    "chassis": "chassis that confirm",
    "guests": "guests",
    "processes": "ending processes",
    "host": "removing namespaces",
    "files": "removing files",
}


def up(file: Path, timeout: float, as_json: bool, tell: bool = True) -> Model:
    """Without `tell` the result is left to whoever called: tests that follow as JSON are one document."""
    with target.change(file) as (model, store, remake), _in_full(model), output.progress(_PHASES) as report:
        result = lab.up(model, timeout=timeout, progress=report, store=store, remake=remake)
    if tell:
        _tell(model, result, as_json)
    return model


def apply(file: Path, timeout: float, as_json: bool) -> None:
    with target.change(file) as (model, store, remake), _in_full(model), output.progress(_PHASES) as report:
        result = lab.apply(model, timeout=timeout, progress=report, store=store, remake=remake)
    _tell(model, result, as_json)


def _tell(model: Model, result: Result, as_json: bool) -> None:
    if as_json:
        output.as_json({"lab": model.lab, **asdict(result)})
    elif not result.changed:
        output.say(f"{model.lab} is already so: nothing to do (revision {result.revision}, {result.seconds:.2f} s)")
    else:
        _summary(model, result)


def _summary(model: Model, result: Result) -> None:
    rows = []
    for chassis in model.chassis.values():
        nodes = [node.name for node in model.nodes.values() if node.chassis == chassis.name]
        networks = {port.network for port in model.ports.values() if port.chassis == chassis.name}
        inside = [name for name in model.networks if name in networks]
        rows.append((Cell(chassis.name, output.STRONG), chassis.vtep.ip.compressed, _some(nodes), _some(inside)))
    output.table(("chassis", "vtep", "guests and nodes" if model.guests else "nodes", "networks"), rows)
    done = f"{model.lab} is up: {output.extent(model)} in {result.seconds:.2f} s"
    output.say(output.paint(done, output.GOOD) + f" (revision {result.revision})")
    if model.nodes:
        node = next(iter(model.nodes))
        which = f" --lab {model.lab}" if len(lab.labs()) > 1 else ""
        hints = [f"sdn test{which}", f"sdn status{which}", f"sdn exec{which} {node} -- ip addr"]
        hints += [f"sdn console{which} {guest}" for guest in list(model.guests)[:1]]
        output.say(output.paint(f"next: {' · '.join(hints)}", output.SOFT))


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} … {names[-1]} ({len(names)})"


def plan(file: Path, as_json: bool) -> None:
    from sdn.lab.plan import plan as steps_to

    model, previous = target.read(file)
    made = steps_to(model, previous, lab.look_at_machine(model))
    state = lab.status(model.lab) if previous is not None else None
    if as_json:
        output.as_json(asdict(made) | {"troubles": list(state.troubles) if state else []})
        return
    if plans.is_empty(made.steps, made.flows):
        output.say(f"{model.lab} is already so: nothing to do")
    else:
        _show_plan(made, str(file), previous is not None)
    if state and state.troubles:
        _show_troubles(state)


def _show_troubles(state: Status) -> None:
    """No step of a plan: what is wrong with the lab as it runs, whatever the file says."""
    output.say(output.paint(f"but lab {state.lab}, as it runs, is not whole:", output.WARNING))
    output.say(output.paint(_indented(state.troubles), output.BAD))
    remedy = _starts(state) or f"see: sdn status {state.lab}"
    output.say(output.paint(f"  remedy: {remedy}", output.SOFT))


@contextmanager
def _in_full(model: Model) -> Iterator[None]:
    """A lab that is not whole is told with each guest's last words below its own line, and what starts it again."""
    try:
        yield
    except CheckError as error:
        if not (model.guests and "is not whole" in error.message):
            raise
        state = lab.status(model.lab)
        if not state.troubles:  # it has just come right
            raise
        remedy = "; ".join(filter(None, (_starts(state), error.remedy)))
        raise CheckError(f"lab {state.lab} is not whole:\n{_indented(state.troubles)}", remedy=remedy) from error


def _indented(troubles: Sequence[str]) -> str:
    return "\n".join(f"  {trouble}".replace("\n", "\n      ") for trouble in troubles)


def _starts(state: Status) -> str:
    """What starts the guests that have ended and are not started again; '' where there are none."""
    guests = state.model.guests if state.model else {}
    ended = [name for name in guests if _has_ended(state, name)]
    which = f" --lab {state.lab}" if len(lab.labs()) > 1 else ""
    return f"sdn guest start{which} {' '.join(ended)}" if ended else ""


def _has_ended(state: Status, guest: str) -> bool:
    assert state.model is not None
    has_failed = state.facts.guests.get(guest, GuestFacts()).phase == "failed"
    return has_failed or lab.went_off(state.model, state.facts, guest)


def _show_plan(made: Plan, file: str, running: bool) -> None:
    plans.show(made.steps, made.flows)
    output.say(output.paint(f"next: sdn {'apply' if running else 'up'} {shlex.quote(file)}", output.SOFT))


def down(wanted: str | None, every: bool) -> None:
    names = lab.labs() if every else [_to_remove(wanted)]
    if not names:
        output.say("no lab is here: nothing to do")
    for name in names:
        started = time.monotonic()
        with output.progress(_PHASES) as report:
            removed = lab.down(name, progress=report)
        took = f"{time.monotonic() - started:.2f} s"
        output.say(f"{name} is down ({took})" if removed else f"{name} is not here: nothing to do")


def _to_remove(wanted: str | None) -> str:
    """The lab meant. A name that no file gives and of which nothing is here is a typing mistake. Raises FileError."""
    name = target.lab_of(wanted)
    if wanted is None or target.is_file(wanted) or lab.run_dir(name).exists() or _has_namespaces(name):
        return name
    here = lab.labs()
    close = get_close_matches(name, here, 1)
    there = f"there are: {', '.join(here)}" if here else "no lab is here"
    raise FileError(f"there is no lab {name}", remedy=f"did you mean {close[0]}?" if close else there)


def _has_namespaces(name: str) -> bool:
    """As a lab leaves them whose run directory was deleted."""
    return (DIRECTORY / f"sdn-{name}").exists() or any(DIRECTORY.glob(f"sdn-{name}-*"))
