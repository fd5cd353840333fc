"""EDGE: OpenFlow between the controller and its switches: sessions, and programming by dump, diff, bundle and barrier.

Enters: desired flows; messages of switches. Leaves: flow-mods, events, statistics. Never: a decision about what the
flows should be; a change to a switch before its caller has the whole desired state.

`Server` listens for switches, `connect` opens a bridge's management socket; both give a `Switch`. They are loaded when
first used; os-ken, which costs 90 ms and 21 MB, when a switch says what only os-ken can read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdn.southbound.changes import Changes
    from sdn.southbound.client import connect
    from sdn.southbound.program import Switch
    from sdn.southbound.server import Server
    from sdn.southbound.session import Timers

__all__ = ["Changes", "Server", "Switch", "Timers", "connect"]

_HOMES = {"Changes": "changes", "Server": "server", "Switch": "program", "Timers": "session", "connect": "client"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
