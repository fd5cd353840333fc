"""The kinds of problem that the API tells of (RFC 9457): one table for both sides of HTTP. PURE.

Enters: an error, or a kind's name. Leaves: the kind: its name, status and title, and the error that it is. Never: HTTP
itself: `sdn.api.problem` writes the answer, `sdn.client.problems` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from datapath.errors import (
    CheckError,
    ConflictError,
    FileError,
    MachineError,
    Problem,
    RefusedError,
    SdnError,
    StaleError,
    TransientError,
)

PREFIX: Final = "urn:sdn:problem:"
"""Of `type`, before the kind's name."""
MEDIA_TYPE: Final = "application/problem+json"


class MalformedError(FileError):
    """The request is none that could mean anything: no JSON, no such parameter."""


class NotFoundError(FileError):
    """There is no such thing in the lab."""


class NeededError(ConflictError):
    """What was to be removed is needed by others: a Problem for each place that names it."""

    def __init__(self, message: str, problems: Sequence[Problem], *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)


class Kind(NamedTuple):
    """`error` is what it is in a process of ours: that decides whether one tries again."""

    name: str
    status: int
    title: str
    error: type[SdnError]

    @property
    def type(self) -> str:
        return f"{PREFIX}{self.name}"


_RAISED: Final = (
    Kind("malformed", 400, "The request is malformed", MalformedError),
    Kind("not-found", 404, "There is no such thing", NotFoundError),
    Kind("file", 422, "What was sent is wrong", FileError),
    Kind("machine", 409, "The machine lacks something", MachineError),
    Kind("conflict", 409, "Something else is in the way", ConflictError),
    Kind("stale", 412, "It is not as the request expects", StaleError),
    Kind("transient", 503, "Not at the moment", TransientError),
    Kind("refused", 409, "A switch refused it", RefusedError),
    Kind("check", 409, "The lab is not whole", CheckError),
    Kind("error", 409, "It cannot be done", SdnError),
)
"""What routes raise."""

_GATE: Final = (
    Kind("token", 401, "A token is needed", FileError),
    Kind("role", 403, "The role is too weak", FileError),
    Kind("origin", 403, "The request is not from here", FileError),
    Kind("user", 403, "The request is another user's", FileError),
    Kind("too-long", 414, "The address is too long", FileError),
    Kind("tokens", 503, "Tokens cannot be checked", TransientError),
    Kind("too-large", 413, "The body is too large", FileError),
    Kind("too-slow", 408, "The body is too slow", TransientError),
    Kind("too-many", 429, "Too many at once", TransientError),
)
"""What is refused before a route is reached."""

FAULT: Final = Kind("fault", 500, "A fault in sdn", SdnError)
KINDS: Final = {kind.name: kind for kind in (*_RAISED, *_GATE, FAULT)}
_OF: Final = {kind.error: kind for kind in _RAISED}


def kind_of(error: SdnError) -> Kind:
    return next(_OF[each] for each in type(error).__mro__ if each in _OF)
