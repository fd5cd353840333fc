"""`guest snapshot create`, `list` and `delete`, `guest revert`. Enters: names. Leaves: what became of it, in words."""

from __future__ import annotations

import time

from sdn.cli import output, target
from sdn.cli.output import SOFT, STRONG, Cell
from sdn.lab.rundir import RunDir
from sdn.lab.snapshots import Snapshot, States
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts


def names(wanted: str | None, guest: str) -> list[str]:
    return [each.name for each in _states(wanted, guest).on_disk()]


def of(model: Model, facts: Facts, guest: str) -> States:
    machine, seen = target.guest(model, guest).machine, facts.guests.get(guest, GuestFacts())
    return States(model.lab, guest, machine, RunDir(model.lab).guest(guest), seen.phase)


def create(wanted: str | None, guest: str, name: str) -> None:
    began, states = time.monotonic(), _states(wanted, guest)
    states.create(name)
    kept = "disk and memory" if states.runs else "disk"
    output.say(f"{name}: {kept} of {guest} kept in {time.monotonic() - began:.2f} s")


def revert(wanted: str | None, guest: str, name: str) -> None:
    began, states = time.monotonic(), _states(wanted, guest)
    found = states.revert(name)
    output.say(f"{guest} is as it was {_ago(found)} ago, at {name} ({time.monotonic() - began:.2f} s)")
    if found.memory and not states.runs:
        output.say(output.paint("its disk is; as it is off, it boots from there and has its memory no more", SOFT))


def delete(wanted: str | None, guest: str, name: str) -> None:
    _states(wanted, guest).delete(name)
    output.say(f"{name} of {guest} is gone")


def show(wanted: str | None, guest: str, *, as_json: bool) -> None:
    found = _states(wanted, guest).listed()
    if as_json:
        output.as_json([as_dict(each) for each in found])
    elif not found:
        output.say(f"{guest} has no snapshots")
    else:
        columns = ("snapshot", "taken", "has")
        rows = [(Cell(each.name, STRONG), f"{_ago(each)} ago", _what(each)) for each in found]
        output.table(columns, rows)


def as_dict(snapshot: Snapshot) -> dict[str, object]:
    return {"name": snapshot.name, "taken": snapshot.taken, "memory": snapshot.memory}


def _states(wanted: str | None, guest: str) -> States:
    return of(*target.running(wanted), guest)


def _ago(snapshot: Snapshot) -> str:
    return output.since(time.time() - snapshot.taken)


def _what(snapshot: Snapshot) -> str:
    return f"disk, memory ({output.size(snapshot.memory)})" if snapshot.memory else "disk"
