"""Problem details (RFC 9457) as the errors that they were on the other side. PURE.

Enters: a status and a body. Leaves: an error of `datapath.errors`, with its message, remedy and problems. Never: a kind
that decides otherwise here than there whether one tries again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

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
MAY_PASS: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses of what is worth trying again, whoever answers so."""
_WRONG: Final = frozenset({"malformed", "not-found", "file", "token", "role", "origin", "too-large"})
"""Kinds of what is wrong with the request, its token too."""

Body = Mapping[str, Any]


def error(status: int, body: Body | None, reason: str = "") -> SdnError:
    """`body` is None where the answer was no problem of ours: a proxy's page. `reason` is what stands for it then."""
    if body is None:
        return _plain(status, reason)
    detail, remedy = str(body.get("detail") or body.get("title") or status), str(body.get("remedy", ""))
    kind = str(body.get("type", "")).removeprefix(PREFIX)
    if kind == "token":
        remedy = f"SDN_TOKEN=… has it; {remedy}".removesuffix("; ")
    if kind in _WRONG:
        return FileError(detail, [_mistake(each) for each in body.get("errors", ())], remedy=remedy)
    made = _KINDS.get(kind)
    if made is not None:
        return made(detail, remedy)
    if status in MAY_PASS:
        return TransientError(detail, remedy=remedy)
    return SdnError(detail, remedy=remedy)


def _plain(status: int, reason: str) -> SdnError:
    kind = TransientError if status in MAY_PASS else SdnError
    return kind(f"the API answered {status} {reason}".rstrip())


def _mistake(raw: Body) -> Problem:
    place = str(raw.get("file", raw.get("pointer", "")))
    return Problem(place, int(raw.get("line", 0)), int(raw.get("column", 0)), str(raw["message"]))


def _stale(detail: str, remedy: str) -> SdnError:
    numbers = re.findall(r"revision (\d+)", detail)
    present, expected = (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)
    found = StaleError(expected, present)
    found.message, found.remedy = detail, remedy or found.remedy
    return found


def _machine(detail: str, remedy: str) -> SdnError:
    return MachineError("API", detail, remedy=remedy)


def _of(kind: type[SdnError]) -> Callable[[str, str], SdnError]:
    return lambda detail, remedy: kind(detail, remedy=remedy)


_KINDS: Final[Mapping[str, Callable[[str, str], SdnError]]] = {
    "stale": _stale,
    "machine": _machine,
    "conflict": _of(ConflictError),
    "transient": _of(TransientError),
    "refused": _of(RefusedError),
    "check": _of(CheckError),
}
