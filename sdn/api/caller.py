"""Who asks: what the gate has found out, for the routes.

Enters: the ASGI scope. Leaves: a Caller. Never: a decision, which is the gate's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from starlette.requests import HTTPConnection

SCOPE: Final = "sdn.caller"


class Role(IntEnum):
    """Each may do what those before it may."""

    READ = 1
    OPERATE = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Caller:
    """`is_local`: root of this machine, by the unix socket: its files are theirs anyway."""

    name: str
    role: Role
    is_local: bool = False


def caller(connection: HTTPConnection) -> Caller:
    found: Caller = connection.scope[SCOPE]
    return found
