"""`guest start`, `stop`, `pause`, `resume`, `reboot` and `delete`.

Enters: names of guests. Leaves: a wish in the running lab, and a line for each guest once it is so. Never: a change of
the file: applied again, it has the last word.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from datapath import pidfd
from datapath.errors import FileError
from datapath.guest.qemu.command import AGENT, MONITOR
from datapath.guest.remove import running
from datapath.spec import Power
from sdn.cli import output, target
from sdn.lab import guests as lab_guests
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts

_PHASES: Final = {"guests": "guests"}


def start(wanted: str | None, names: Sequence[str], timeout: float) -> None:
    model, facts = _meant(wanted, names)
    seen = _switch(model, names, "on", timeout)
    for name in names:
        before, now = facts.guests.get(name, GuestFacts()), seen.guests[name]
        verb = "runs already" if before.phase == "running" == now.phase and before.pid == now.pid else "runs"
        output.say(f"{name} {verb} on {now.at} ({now.accelerator}, pid {now.pid})")


def stop(wanted: str | None, names: Sequence[str], timeout: float, *, force: bool) -> None:
    """By the power button, and after a time by force; `force` does not wait for the guest."""
    from datapath.guest.means import BUTTON

    model, facts = _meant(wanted, names)
    began, took = time.monotonic(), dict[str, float]()
    with _working(model, names, timeout) as work:
        hasten = partial(_end, model.lab, names) if force else None
        lab_guests.switch(work, "off", hasten, lambda name: took.setdefault(name, time.monotonic() - began))
    for name in names:
        ran = facts.guests.get(name, GuestFacts()).phase not in ("off", "failed")
        by_force = f": its power button was not heard for {BUTTON:g} s, and it was ended by force"
        output.say(f"{name} is off" + by_force * (ran and not force and took.get(name, 0) >= BUTTON))


def pause(wanted: str | None, names: Sequence[str], timeout: float) -> None:
    model, facts = _meant(wanted, names)
    _must_run(facts, names)
    _switch(model, names, "paused", timeout)
    for name in names:
        output.say(f"{name} is paused (sdn guest resume {name})")


def resume(wanted: str | None, names: Sequence[str], timeout: float) -> None:
    model, facts = _meant(wanted, names)
    _must_run(facts, names)
    _switch(model, names, "on", timeout)
    for name in names:
        output.say(f"{name} runs")


def delete(wanted: str | None, names: Sequence[str], timeout: float) -> None:
    model, _ = _meant(wanted, names)
    with output.progress(_PHASES) as report, lab_guests.working(model.lab, names, timeout, report) as work:
        lab_guests.delete(work)
    for name in names:
        output.say(f"{name} is gone, with its own disk and snapshots; named volumes stay")
    places = ", ".join(dict.fromkeys(str(model.guests[name].source) for name in names))
    output.say(output.paint(f"the file still says otherwise, and `sdn apply` goes by it: {places}", output.SOFT))


def reboot(wanted: str | None, names: Sequence[str], timeout: float, *, hard: bool) -> None:
    """Asked through its agent, or by Ctrl-Alt-Del where none answers; `hard`: its reset button."""
    model, facts = _meant(wanted, names)
    _must_run(facts, names)
    if paused := [name for name in names if facts.guests[name].phase == "paused"]:
        raise FileError(f"{paused[0]} is paused", remedy=f"sdn guest resume {paused[0]}")
    for name in names:
        _restart(model, name, facts.guests[name], timeout, hard)


def _restart(model: Model, name: str, seen: GuestFacts, timeout: float, hard: bool) -> None:
    """Only a guest whose agent answers says when it is back."""
    from datapath.guest import qga
    from datapath.guest.qemu import monitor

    directory, began = RunDir(model.lab).guest(name), time.monotonic()
    with output.progress(_PHASES) as report, lab_guests.working(model.lab, [name], timeout, report) as work:
        if hard:
            monitor.reset(directory / MONITOR)
        elif seen.answers:
            qga.shutdown(directory / AGENT, "reboot")
        else:
            monitor.press(directory / MONITOR, "ctrl", "alt", "delete")
        if seen.answers:
            lab_guests.await_return(work)
            output.say(f"{name} is back after {time.monotonic() - began:.1f} s")
        else:
            output.say(f"{name} {'was reset' if hard else 'got Ctrl-Alt-Del'}; no agent in it says when it is back")


def _meant(wanted: str | None, names: Sequence[str]) -> tuple[Model, Facts]:
    model, facts = target.running(wanted)
    for name in names:
        target.guest(model, name)
    return model, facts


def _must_run(facts: Facts, names: Sequence[str]) -> None:
    for name in names:
        phase = facts.guests.get(name, GuestFacts()).phase
        if phase in ("off", "failed"):
            raise FileError(f"{name} is {phase}", remedy=f"sdn guest start {name}")


def _switch(model: Model, names: Sequence[str], power: Power, timeout: float) -> Facts:
    with _working(model, names, timeout) as work:
        return lab_guests.switch(work, power)


@contextmanager
def _working(model: Model, names: Sequence[str], timeout: float) -> Iterator[lab_guests.Work]:
    with output.progress(_PHASES) as report, lab_guests.working(model.lab, names, timeout, report) as work:
        yield work


def _end(lab: str, names: Sequence[str]) -> None:
    """The processes, which are found by the directory that they have in their arguments."""
    for name in names:
        for process in running(RunDir(lab).guest(name)):
            pidfd.kill(process)
