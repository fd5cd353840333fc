"""The lab's own processes as events: which has ended, which runs again.

Enters: what the supervisor tells of them. Leaves: events. Never: a look at them without a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sdn.api.happened import About, Event
from sdn.lab.processes import Process

KIND: Final = "process.changed"


def changes(before: Mapping[str, Process], present: Iterable[Process], lab: str, now: float) -> Iterator[Event]:
    """Whoever has ended and runs again by now has done both. One that waits to be asked is not missing."""
    about = About("lab", lab)
    for process in present:
        was = before.get(process.name)
        if was is None or was.pid == process.pid:
            continue
        data = {"process": process.name, "restarts": process.restarts}
        if was.pid is not None:
            ended = f"the {process.name} of the lab has ended (process {was.pid})"
            yield Event(now, KIND, ended, about, None, {**data, "pid": None})
            if not process.waits:
                yield Event(now, "failure", f"{ended}; the supervisor starts it again", about, None, {"error": ended})
        if process.pid is not None and not was.waits:
            runs = f"the {process.name} of the lab runs again (process {process.pid})"
            yield Event(now, KIND, runs, about, None, {**data, "pid": process.pid})


def restarted(present: Iterable[Process], lab: str) -> Iterator[Event]:
    """What can be told of before: when each came up last, if it did so again."""
    for process in present:
        if process.restarts and process.pid is not None:
            often = "once" if process.restarts == 1 else f"{process.restarts} times so far"
            message = f"the {process.name} of the lab was started again, {often} (process {process.pid})"
            data = {"process": process.name, "restarts": process.restarts, "pid": process.pid}
            yield Event(process.started, KIND, message, About("lab", lab), None, data)
