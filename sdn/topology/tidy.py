"""A Model as a person would have written its file: without what the file need not say.

Enters: a Model. Leaves: its document, shorter; built, it gives what `written.document` says. Never: a guess at what may
be left out: it is built again without, and what comes out otherwise is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from datapath.errors import FileError
from sdn.model import Model
from sdn.topology import written
from sdn.topology.edit import built

Entry = dict[str, Any]


class Said(IntEnum):
    """How much an entry says."""

    LITTLE = 0
    """Not what is the default, nor what is chosen by the names of things: MACs, vteps, MTUs."""
    MTU = 1
    CHOSEN = 2
    ALL = 3


_CHOSEN: Final = frozenset({"mac", "vtep", "mtu", "unknown_unicast", "physnets"})
_DEFAULTS: Final[Mapping[str, Any]] = {
    "allowed_addresses": [],
    "spoof_guard": True,
    "dhcp": False,
    "volumes": [],
    "devices": [],
    "anti_affinity": [],
    "power": "on",
    "restart": "on-failure",
    "driver": "qemu",
    "migration": "auto",
    "cpus": 1,
    "datapath": "ovs",
    "within": 10.0,
    "expect": "allowed",
    "subnets": [],
}
_SINGLE: Final = frozenset({"ip", "from", "to", "anti_affinity", "volumes"})
"""Lists that stand for themselves where they have one member."""
_SIZES: Final = frozenset({"memory", "disk"})
_LISTS: Final = {"nodes": "ports", "guests": "nics"}


def tidy(model: Model) -> dict[str, Any]:
    """The document. Where it cannot be built here (a file that it names is gone), everything is said."""
    whole = written.document(model)
    said = {(section, name): Said.LITTLE for section in written.SECTIONS for name in whole[section]}
    while min(said.values(), default=Said.ALL) < Said.ALL:
        shorter = _document(whole, said)
        unclear = _unclear(whole, shorter) & said.keys()
        if not unclear:
            return shorter
        for key in unclear:
            said[key] = Said(min(said[key] + 1, Said.ALL))
    return _document(whole, said)


def _unclear(whole: dict[str, Any], shorter: dict[str, Any]) -> set[tuple[str, str]]:
    """Entries that have to say more. Where it is wrong as a whole, networks come first: a trunk asks for MTUs that go
    together."""
    try:
        return _different(whole, written.document(built(shorter)))
    except FileError:
        networks = {("networks", name) for name, entry in shorter.get("networks", {}).items() if "mtu" not in entry}
        return networks or {(section, name) for section in written.SECTIONS for name in whole[section]}


def _different(whole: dict[str, Any], other: dict[str, Any]) -> set[tuple[str, str]]:
    """The entries of both that are not the same; what only one has is one too."""
    return {
        (section, name)
        for section in written.SECTIONS
        for name in whole[section] | other[section]
        if whole[section].get(name) != other[section].get(name)
    }


def _document(whole: dict[str, Any], said: Mapping[tuple[str, str], Said]) -> dict[str, Any]:
    found = {
        section: {name: _entry(section, entry, said[section, name]) for name, entry in whole[section].items()}
        for section in written.SECTIONS
    }
    return {"name": whole["name"], "underlay": whole["underlay"]} | {
        key: value for key, value in found.items() if value
    }


def _entry(section: str, entry: Entry, said: Said) -> Entry:
    """One object: a node with one interface has its words for itself."""
    found: Entry = _short(entry, said)
    several = _LISTS.get(section)
    if several and [each.get("name") for each in found[several]] == ["eth0"]:
        (only,) = found.pop(several)
        del only["name"]
        found = _first(found, "chassis") | only | found
    if len(found.get("subnets", ())) == 1:
        found = {("subnet" if key == "subnets" else key): value for key, value in found.items()}
        found["subnet"] = found["subnet"][0]
    return found


def _first(entry: Entry, key: str) -> Entry:
    return {key: entry[key]} if key in entry else {}


def _short(value: Any, said: Said, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _short(each, said, name) for name, each in value.items() if not _is_left_out(name, each, said)}
    if isinstance(value, list):
        short = [_short(each, said) for each in value]
        return short[0] if len(short) == 1 and key in _SINGLE else short
    return _size(value) if key in _SIZES else value


def _is_left_out(key: str, value: Any, said: Said) -> bool:
    if said is Said.ALL:
        return False
    is_default = key in _DEFAULTS and _DEFAULTS[key] == value and type(_DEFAULTS[key]) is type(value)
    return is_default or (said < Said.CHOSEN and key in _CHOSEN and (key != "mtu" or said is Said.LITTLE))


def _size(number: int) -> int | str:
    """`256M`, `8G`, as one writes them."""
    for bits, letter in ((30, "G"), (20, "M")):
        if number and number % (1 << bits) == 0:
            return f"{number >> bits}{letter}"
    return number
