"""`migrate`: a guest goes on on another chassis.

Enters: names. Leaves: the wish in the running lab, and a line once the guest is there. Never: a change of the file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from datapath.errors import SdnError
from datapath.spec import MigrationMode
from sdn.cli import output, target
from sdn.lab import guests as lab_guests
from sdn.lab import migrate as lab_migrate
from sdn.model import Model
from sdn.model.facts import GuestFacts

_PHASES: Final = {"guests": "guests"}


def migrate(wanted: str | None, name: str, chassis: str, mode: MigrationMode | None, timeout: float) -> None:
    model, facts = target.running(wanted)
    target.guest(model, name)
    target.chassis(model, chassis)
    seen, began = facts.guests.get(name, GuestFacts()), time.monotonic()
    if chassis == model.nodes[name].chassis and seen.at in ("", chassis):
        output.say(f"{name} is on {chassis} already: nothing to do")
        return
    with output.progress(_PHASES) as report, lab_guests.working(model.lab, [name], timeout, report) as work:
        after = lab_migrate.move(work, name, chassis, mode).guests[name]
    took = time.monotonic() - began
    said = after.note if after.at else "it is off, and will start there"
    output.say(output.paint(f"{name} is on {chassis} now", output.GOOD) + f" ({took:.2f} s): {said}")
    _remind(model, name, chassis)


def _remind(model: Model, name: str, chassis: str) -> None:
    """Where the file names another chassis, for it has the last word."""
    there = lab_migrate.moved(model, name, chassis)
    file = Path(model.guests[name].source.file)
    try:
        from sdn import topology

        wished = topology.read(file, there).nodes.get(name)
    except (SdnError, OSError):
        return  # a file that is being written, or was never one here
    if wished is not None and wished.chassis != chassis:
        where = model.guests[name].source
        output.say(output.paint(f"the file says {wished.chassis}, and `sdn apply` goes by it: {where}", output.SOFT))
