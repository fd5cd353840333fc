"""Problem details (RFC 9457) as the errors that they were on the other side. PURE.

Enters: a status and a body. Leaves: an error of `datapath.errors`, with its message, remedy and problems. Never: a kind
that decides otherwise here than there whether one tries again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from datapath.errors import ConflictError, FileError, MachineError, Problem, SdnError, StaleError, TransientError
from sdn.problems import KINDS, PREFIX, NeededError

MAY_PASS: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses of what is worth trying again, whoever answers so."""

Body = Mapping[str, Any]


def error(status: int, body: Body | None, reason: str = "") -> SdnError:
    """`body` is None where the answer was no problem of ours: a proxy's page. `reason` is what stands for it then."""
    if body is None:
        return _plain(status, reason)
    detail, remedy = str(body.get("detail") or body.get("title") or status), str(body.get("remedy", ""))
    name = str(body.get("type", "")).removeprefix(PREFIX)
    if name == "token":
        remedy = f"SDN_TOKEN=… has it; {remedy}".removesuffix("; ")
    if name not in KINDS:
        return TransientError(detail, remedy=remedy) if status in MAY_PASS else SdnError(detail, remedy=remedy)
    kind = KINDS[name].error
    mistakes = [_mistake(each) for each in body.get("errors", ())]
    if issubclass(kind, FileError):
        return kind(detail, mistakes, remedy=remedy)
    if kind is ConflictError and mistakes:
        return NeededError(detail, mistakes, remedy=remedy)
    return _MADE.get(kind, kind)(detail, remedy=remedy)


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


_MADE: Final[Mapping[type[SdnError], Callable[..., SdnError]]] = {StaleError: _stale, MachineError: _machine}
"""Those that are made of more than a message."""
