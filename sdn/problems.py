"""The kinds of problem that the API tells of (RFC 9457): one table for both sides of HTTP. PURE.

Enters: an error, or a kind's name. Leaves: the kind: its name, status and title, and the error that it is. Never: HTTP
itself: `sdn.api.problem` writes the answer, `sdn.client.problems` reads it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

from datapath.errors import (
    CheckError,
    ConflictError,
    FileError,
    MachineError,
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


class Kind(NamedTuple):
    """`error` is what it is in a process of ours: that decides whether one tries again."""

    name: str
    status: HTTPStatus
    title: str
    error: type[SdnError]

    @property
    def type(self) -> str:
        return f"{PREFIX}{self.name}"


_RAISED: Final = (
    Kind("malformed", HTTPStatus.BAD_REQUEST, "The request is malformed", MalformedError),
    Kind("not-found", HTTPStatus.NOT_FOUND, "There is no such thing", NotFoundError),
    Kind("file", HTTPStatus.UNPROCESSABLE_ENTITY, "What was sent is wrong", FileError),
    Kind("machine", HTTPStatus.CONFLICT, "The machine lacks something", MachineError),
    Kind("conflict", HTTPStatus.CONFLICT, "Something else is in the way", ConflictError),
    Kind("stale", HTTPStatus.PRECONDITION_FAILED, "It has changed meanwhile", StaleError),
    Kind("transient", HTTPStatus.SERVICE_UNAVAILABLE, "Not at the moment", TransientError),
    Kind("refused", HTTPStatus.CONFLICT, "A switch refused it", RefusedError),
    Kind("check", HTTPStatus.CONFLICT, "The lab is not whole", CheckError),
    Kind("error", HTTPStatus.CONFLICT, "It cannot be done", SdnError),
)
"""What routes raise."""

_GATE: Final = (
    Kind("token", HTTPStatus.UNAUTHORIZED, "A token is needed", FileError),
    Kind("role", HTTPStatus.FORBIDDEN, "The role is too weak", FileError),
    Kind("origin", HTTPStatus.FORBIDDEN, "The request is not from here", FileError),
    Kind("user", HTTPStatus.FORBIDDEN, "The request is another user's", FileError),
    Kind("user", HTTPStatus.FORBIDDEN, "The request is another user's", FileError),
    Kind("too-long", HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long", FileError),
    Kind("tokens", HTTPStatus.SERVICE_UNAVAILABLE, "Tokens cannot be checked", TransientError),
    Kind("too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large", FileError),
    Kind("too-long", HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long", FileError),
    Kind("too-slow", HTTPStatus.REQUEST_TIMEOUT, "The body is too slow", TransientError),
    Kind("too-many", HTTPStatus.TOO_MANY_REQUESTS, "Too many at once", TransientError),
)
"""What is refused before a route is reached."""

FAULT: Final = Kind("fault", HTTPStatus.INTERNAL_SERVER_ERROR, "A fault in sdn", SdnError)
KINDS: Final = {kind.name: kind for kind in (*_RAISED, *_GATE, FAULT)}
_OF: Final = {kind.error: kind for kind in _RAISED}


def kind_of(error: SdnError) -> Kind:
    return next(_OF[each] for each in type(error).__mro__ if each in _OF)
