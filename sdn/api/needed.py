"""Who needs what was to be removed. PURE.

Enters: the mistakes that the file would have without it. Leaves: a NeededError: all that need it by kind and name, and
each place that names it. Never: a hint at another name that is meant, as the file's checks have it: none was meant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from datapath.errors import FileError, Problem
from sdn.api.resources import KINDS, Kind
from sdn.natural import natural
from sdn.problems import NeededError

NAMED: Final = 10
"""So many are named in one line; `errors` has all."""


def by_others(error: FileError, kind: Kind, name: str) -> NeededError:
    what = f"{kind.noun} '{name}'"
    found = sorted(error.problems, key=lambda problem: natural(problem.file))
    whose = {problem: _user(problem.file) for problem in found}
    users = list(dict.fromkeys(user or str(problem) for problem, user in whose.items())) or [error.message]
    told = [_told(problem, user, what, name) for problem, user in whose.items()]
    return NeededError(f"{what} is needed by {_listed(users)}", told, remedy="change or remove those first")


def _user(pointer: str) -> str:
    """`node web1`, of `/nodes/web1/ports/0/network`; nothing for another place (RFC 6901 section 4)."""
    section, _, rest = pointer.removeprefix("/").partition("/")
    name = rest.partition("/")[0].replace("~1", "/").replace("~0", "~")
    return f"{KINDS[section].noun} {name}" if section in KINDS and name else ""


def _told(problem: Problem, user: str, what: str, name: str) -> Problem:
    """That it is unknown without it says that it is needed; whatever else is wrong says so itself."""
    is_use = problem.message.startswith("unknown ") and f"'{name}'" in problem.message
    return replace(problem, message=f"{user} needs {what}") if user and is_use else problem


def _listed(users: list[str]) -> str:
    """`node a, node b and node c`, or `… and 5 more`."""
    named = users if len(users) <= NAMED else [*users[: NAMED - 1], f"{len(users) - NAMED + 1} more"]
    *first, last = named
    return f"{', '.join(first)} and {last}" if first else last
