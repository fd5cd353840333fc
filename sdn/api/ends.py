"""What ends this process before anybody told it to: a task without which it would tell what is not so any more, or that
the lab is down.

Enters: reasons. Leaves: the same, to /healthz and to whoever runs the server. Never: a restart, which is the
supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable

from sdn.lab import processes
from sdn.lab.rundir import RunDir


class Ends:
    """Of one app. `when` is called at the first reason, and at once where there is one already."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.remedy = ""
        self._call: Callable[[], None] | None = None

    def tell(self, reason: str, remedy: str = "") -> None:
        self.reasons.append(reason)
        self.remedy = self.remedy or remedy
        if self._call is not None:
            self._call()

    def when(self, call: Callable[[], None]) -> None:
        self._call = call
        if self.reasons:
            call()


async def down(run: RunDir) -> None:
    """Return when the supervisor that holds the lab has ended; at once where none does. The lab may come up again right
    after: it is another then."""
    supervisor = run.supervisor
    if supervisor is not None:
        await processes.ended(supervisor)
