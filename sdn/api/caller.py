"""Who asks: what the gate has found out, for the routes.

Enters: the ASGI scope. Leaves: a Caller. Never: a decision, which is the gate's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    """`is_local`: root of this machine, by the unix socket: its files are theirs anyway. Who is not known asks for what
    is public, and has shown nothing."""

    name: str
    role: Role
    is_local: bool = False
    is_known: bool = True


NOBODY: Final = Caller("nobody", Role.READ, is_known=False)


def caller(connection: HTTPConnection) -> Caller:
    found: Caller = connection.scope[SCOPE]
    return found
