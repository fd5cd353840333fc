"""Conditional requests (RFC 9110 section 13): the validator of everything is the lab's revision.

Enters: headers of a request. Leaves: the headers of answers; what a write waits for; 304 for what the client has.
Never: a write that is held up by what was only observed: the history knows nothing of that, and If-Match asks it.

    ETag: "5f0c2a91-12-9c1185a5c5e9fc54"

is revision 12 of this lab; its first part tells it from another of its name, before or after. What was read has a
third, which is of the answer: it is another when a port comes up, and If-None-Match asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from fastapi import Request, Response

from datapath.errors import StaleError
from sdn.api.answer import JSON, encode
from sdn.api.live import Live
from sdn.api.problem import MalformedError
from sdn.model.history import Changes
from sdn.store import Since

_TAG: Final = re.compile(r'\s*(?:W/)?"(?:([0-9a-f]{8})-)?([0-9]{1,18})(?:-[0-9a-f]{16})?"\s*')
"""A revision alone, as people type it, is of the lab that there is."""
_OPAQUE: Final = re.compile(r'"[^"]*"')


def headers(live: Live, revision: int) -> dict[str, str]:
    return {"ETag": f'"{live.store.identity()}-{revision}"', "Sdn-Revision": str(revision)}


def read(request: Request, live: Live, revision: int, value: Any) -> Response:
    """The answer to a GET, in JSON."""
    return read_as(request, live, revision, encode(value), JSON)


def read_as(
    request: Request, live: Live, revision: int, content: bytes, media: str, more: Mapping[str, str] | None = None
) -> Response:
    """The answer to a GET. No cache may tell it again without asking (RFC 9111 section 5.2.2.4)."""
    whole = f'"{live.store.identity()}-{revision}-{digest(content)}"'
    told = {**headers(live, revision), **(more or {}), "ETag": whole, "Cache-Control": "no-cache"}
    return unless_known(request, content, media, told)


def digest(content: bytes) -> str:
    """What is another for another answer: 16 signs."""
    return blake2b(content, digest_size=8).hexdigest()


def unless_known(request: Request, content: bytes, media: str, told: Mapping[str, str]) -> Response:
    """Not again where the client has the same (RFC 9110 section 13.1.2), by the ETag among the headers `told`."""
    given = _given(request, "if-none-match")
    if given == "*" or told["ETag"] in _OPAQUE.findall(given):
        return Response(status_code=304, headers=told)
    return Response(content, 200, told, media)


def precondition(request: Request, live: Live, touches: Callable[[Changes], bool] = bool) -> Since | None:
    """What `If-Match` asks for: of several revisions the newest. `touches` says which changes break it; by itself any.

    Raises MalformedError, and StaleError for a revision of another lab of this name.
    """
    given = _given(request, "if-match")
    if given in ("", "*"):
        return None
    tags = [_TAG.fullmatch(each) for each in given.split(",")]
    if not all(tags):
        example = headers(live, live.revision)["ETag"]
        raise MalformedError(
            f"If-Match {given} is none of ours", remedy=f"send the ETag of an answer, such as {example}"
        )
    ours = [int(tag[2]) for tag in tags if tag and tag[1] in (None, live.store.identity())]
    if not ours:
        told = f"If-Match {given} is of another lab of this name, before or after this one"
        raise _otherwise(live.revision, told, f"read it again: {live.lab} is at revision {live.revision}")
    return Since(max(ours), touches)


def check_presence(request: Request, there: bool, revision: int, what: str) -> None:
    """`If-None-Match: *`: only where there is none; `If-Match: *`: only where there is one. Raises StaleError."""
    if _given(request, "if-none-match") == "*" and there:
        raise _otherwise(revision, f"there is {what} already", "PUT without If-None-Match changes it")
    if _given(request, "if-match") == "*" and not there:
        raise _otherwise(revision, f"there is no {what.removeprefix('a ')}", "PUT without If-Match creates it")


def _otherwise(revision: int, told: str, remedy: str) -> StaleError:
    """No other revision is in the way."""
    found = StaleError(revision, revision)
    found.message, found.remedy = told, remedy
    return found


def _given(request: Request, name: str) -> str:
    return request.headers.get(name, "").strip()
