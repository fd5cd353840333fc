"""What ends this process before anybody told it to: a task without which it would tell what is not so any more.

Enters: reasons. Leaves: the same, to /healthz and to whoever runs the server. Never: a restart, which is the
supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable


class Ends:
    """Of one app. `when` is called at the first reason, and at once where there is one already."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._call: Callable[[], None] | None = None

    def tell(self, reason: str) -> None:
        self.reasons.append(reason)
        if self._call is not None:
            self._call()

    def when(self, call: Callable[[], None]) -> None:
        self._call = call
        if self.reasons:
            call()
