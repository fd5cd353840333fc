"""Conditional requests (RFC 9110 section 13): the validator of everything is the lab's revision.

Enters: headers of a request. Leaves: the headers of answers; what a write waits for. Never: a comparison of contents:
the history says what has changed since.

    ETag: "5f0c2a91-12"    revision 12 of this lab; its first part tells it from another of its name, before or after
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from fastapi import Request

from datapath.errors import StaleError
from sdn.api.live import Live
from sdn.api.problem import MalformedError
from sdn.model.history import Changes
from sdn.store import Since

_TAG: Final = re.compile(r'\s*(?:W/)?"(?:([0-9a-f]{8})-)?([0-9]{1,18})"\s*')
"""A revision alone, as people type it, is of the lab that there is."""


def headers(live: Live, revision: int) -> dict[str, str]:
    return {"ETag": f'"{live.store.identity()}-{revision}"', "Sdn-Revision": str(revision)}


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
        raise StaleError(0, live.revision)
    return Since(max(ours), touches)


def check_presence(request: Request, there: bool, revision: int) -> None:
    """`If-None-Match: *`: only where there is none; `If-Match: *`: only where there is one. Raises StaleError."""
    if _given(request, "if-none-match") == "*" and there:
        raise StaleError(0, revision)
    if _given(request, "if-match") == "*" and not there:
        raise StaleError(revision, revision)


def _given(request: Request, name: str) -> str:
    return request.headers.get(name, "").strip()
