"""What a guest was launched with, as a file: the next agent adopts it by this, and the other end of a migration.

Enters: a Saved. Leaves: machine.json, complete or not at all; a Saved. Never: a file that an older agent wrote is
trusted to fit: what cannot be read is None.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any, Final

from datapath.addr import Mac
from datapath.guest.qemu.command import Ports
from datapath.spec import Accelerator, Guest

FILE: Final = "machine.json"

_PARSE: Final[dict[Any, Any]] = {
    Mac: Mac.parse,
    IPv4Address: ip_address,
    IPv6Address: ip_address,
    IPv4Interface: ip_interface,
    IPv6Interface: ip_interface,
    IPv4Network: ip_network,
    IPv6Network: ip_network,
}


@dataclass(frozen=True, slots=True)
class Saved:
    """`started` is in seconds since the epoch."""

    guest: Guest
    chassis: str
    accelerator: Accelerator
    started: int
    ports: Ports = field(default_factory=Ports)

    def write(self, directory: Path) -> None:
        fresh = directory / f".{FILE}"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(_plain(self)))
        fresh.rename(directory / FILE)


def read(directory: Path) -> Saved | None:
    try:
        found: Saved = _made(Saved, json.loads((directory / FILE).read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if type(value) in _PARSE else value


def _made(kind: Any, value: Any) -> Any:
    """`value` of JSON as a `kind`: the type of a dataclass' field, or a dataclass."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None or kind in (int, str, bool) or origin is typing.Literal:
        return value
    if kind in _PARSE:
        return _PARSE[kind](value)
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _filled(kind, value)
    if origin in (typing.Union, types.UnionType):
        return _made(arguments[0], value)  # of our unions the others are None, or an address of the other family
    if origin is tuple:
        return tuple(_made(arguments[0], each) for each in value)
    return {key: _made(arguments[1], each) for key, each in value.items()}


def _filled(kind: Any, value: Any) -> Any:
    hints = _hints(kind)
    if isinstance(value, list):  # a NamedTuple
        return kind(*(_made(hint, each) for hint, each in zip(hints.values(), value, strict=True)))
    return kind(**{name: _made(hints[name], each) for name, each in value.items()})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
