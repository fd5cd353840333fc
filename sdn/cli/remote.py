"""Whom a command asks: the API of a lab here, or of another machine. Enters: what was typed. Leaves: an open client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdn.cli import target

if TYPE_CHECKING:
    from sdn.client import Client


def connected(lab: str | None, api: str | None) -> Client:
    """Raises FileError where no such lab runs, or where `api` is no address."""
    from sdn.client import Client

    return Client.at(api) if api else Client.of(target.lab_of(lab))
