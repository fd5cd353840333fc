"""Who makes a change and by what, for the history: told once at the edge, known wherever the change is written.

Enters: a name and a command or request, while something is being done for them. Leaves: both, to `Store.write`.
Never: a proof: who may write to a lab's store may write any name into it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

AUTHOR_HEADER: Final = "Sdn-Author"
ORIGIN_HEADER: Final = "Sdn-Origin"
"""What root of this machine tells the API of who asks, and by which command; the latter percent-encoded."""
_AUTHOR: Final = ContextVar("author", default="")
_ORIGIN: Final = ContextVar("origin", default="")


@contextmanager
def acting(*, author: str = "", origin: str = "") -> Iterator[None]:
    """Meanwhile changes are made by `author` ('': this process' user) and by `origin`: a command, a request.

    Meanwhile means: in this thread or task and in the tasks that it starts.
    """
    tokens = _AUTHOR.set(author), _ORIGIN.set(origin)
    try:
        yield
    finally:
        _AUTHOR.reset(tokens[0])
        _ORIGIN.reset(tokens[1])


def author() -> str:
    """Where nobody is named: behind sudo whoever called it, else the process' user, by number if it has no name."""
    return _AUTHOR.get() or os.environ.get("SUDO_USER") or _user()


def origin() -> str:
    """'' where it is not known."""
    return _ORIGIN.get()


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
