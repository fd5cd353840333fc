"""Whom a command asks: the API of a lab here, or of another machine. Enters: what was typed. Leaves: an open client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from datapath.errors import FileError, SdnError
from sdn.cli import target

if TYPE_CHECKING:
    from sdn.client import Client

_LOOK: Final = re.compile(r"\bGET /v1/([a-z-]+)")
_COMMANDS: Final = {"revisions": "sdn history"}


@contextmanager
def connected(lab: str | None, api: str | None) -> Iterator[Client]:
    """Open meanwhile; what errors say one could ask is said as a command.

    Raises FileError where no such lab runs, where `api` is no address, or where both are named: SDN_API that was
    forgotten must not turn a change of one's own lab into one of somebody else's.
    """
    if api and lab:
        what = f"lab {lab} of this machine is named, and the API at {api} too"
        raise FileError(what, remedy="name one: leave out --lab (SDN_LAB), or --api (SDN_API)")
    from sdn.client import Client

    with Client.at(api) if api else Client.of(target.lab_of(lab)) as client:
        try:
            yield client
        except SdnError as error:
            error.remedy = _LOOK.sub(_command, error.remedy)
            raise


def _command(asked: re.Match[str]) -> str:
    return _COMMANDS.get(asked[1], f"sdn get {asked[1]}")
