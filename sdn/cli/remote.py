"""Whom a command asks: the API of a lab here, or of another machine. Enters: what was typed. Leaves: an open client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapath.errors import FileError
from sdn.cli import target

if TYPE_CHECKING:
    from sdn.client import Client


def connected(lab: str | None, api: str | None) -> Client:
    """Raises FileError where no such lab runs, where `api` is no address, or where both are named: SDN_API that was
    forgotten must not turn a change of one's own lab into one of somebody else's."""
    if api and lab:
        what = f"lab {lab} of this machine is named, and the API at {api} too"
        raise FileError(what, remedy="name one: leave out --lab (SDN_LAB), or --api (SDN_API)")
    from sdn.client import Client

    return Client.at(api) if api else Client.of(target.lab_of(lab))
