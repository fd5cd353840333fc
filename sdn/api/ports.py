"""Ports as resources: in the file a port is a part of its node's entry.

Enters: a Model, a port's name (`web1:eth0`, `fw:eth0.20` with a tag) and fields. Leaves: the node's entry with it, or
without it, for `sdn.topology.edit`. Never: a check that the file's own checks make.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from datapath.errors import ConflictError, FileError
from sdn.model import Model
from sdn.topology import written
from sdn.topology.edit import Edits

Fields = dict[str, Any]

_OF_LINK: Final = ("network", "ip", "allowed_addresses")
"""What each network of a trunk has for itself; the rest is the interface's."""
_NAMED: Final = ("node", "interface", "tag")
"""What the name says already."""


class _Place(NamedTuple):
    """Where in a node's entry a port is."""

    section: str
    node: str
    interface: str
    tag: str | None

    @property
    def several(self) -> str:
        return "nics" if self.section == "guests" else "ports"


def with_port(model: Model, name: str, fields: Fields) -> Edits:
    """The port added, or with these fields in place of its own. Raises FileError."""
    place = _place(model, name)
    _check_named(place, name, fields)
    rest = {key: value for key, value in fields.items() if key not in _NAMED and value is not None}
    entry, interfaces = _interfaces(model, place)
    index = _index(interfaces, place.interface)
    before = interfaces[index] if index is not None else {"name": place.interface}
    after = _with(before, place.tag, rest)
    found = [*interfaces, after] if index is None else [*interfaces[:index], after, *interfaces[index + 1 :]]
    return {(place.section, place.node): {**entry, place.several: found}}


def without_port(model: Model, name: str) -> Edits:
    """The port removed. Raises ConflictError where the node would be left without any."""
    place = _place(model, name)
    entry, interfaces = _interfaces(model, place)
    left = [each if each["name"] != place.interface else _without(each, place.tag) for each in interfaces]
    found = [each for each in left if each]
    if not found:
        raise ConflictError(
            f"{name} is the only port of '{place.node}', and a node has one at least",
            remedy=f"remove the node: DELETE /v1/{place.section}/{place.node}",
        )
    return {(place.section, place.node): {**entry, place.several: found}}


def _place(model: Model, name: str) -> _Place:
    node, colon, rest = name.partition(":")
    interface, dot, tag = rest.partition(".")
    if not colon or not node or not interface or (dot and not tag.isdecimal()):
        raise FileError(
            f"'{name}' is no name of a port", remedy="expected NODE:INTERFACE or NODE:INTERFACE.TAG, such as web1:eth0"
        )
    if node not in model.nodes:
        raise FileError(f"there is no node '{node}'", remedy="create it with its ports: POST /v1/nodes")
    return _Place("guests" if node in model.guests else "nodes", node, interface, tag or None)


def _check_named(place: _Place, name: str, fields: Fields) -> None:
    tag = None if place.tag is None else int(place.tag)
    said = {"node": place.node, "interface": place.interface, "tag": tag}
    for key in _NAMED:
        if key in fields and fields[key] != said[key]:
            raise FileError(f"'{key}' is {fields[key]!r}, and the name {name} says {said[key]!r}")


def _interfaces(model: Model, place: _Place) -> tuple[Fields, list[Fields]]:
    entry = written.entry(model, place.section, place.node)
    return entry, entry[place.several]


def _index(interfaces: list[Fields], name: str) -> int | None:
    return next((index for index, each in enumerate(interfaces) if each["name"] == name), None)


def _with(interface: Fields, tag: str | None, fields: Fields) -> Fields:
    """Only what the interface shares (its MAC, the spoof guard) is kept of what is not given."""
    link: Fields = {key: fields[key] for key in _OF_LINK if key in fields}
    shared: Fields = {key: value for key, value in fields.items() if key not in _OF_LINK}
    carried = _carried(interface)
    others = {key: each for key, each in carried.items() if key != (tag or "native")}
    kept = {key: value for key, value in interface.items() if key not in (*_OF_LINK, "trunk")}
    if tag is None and not others:
        return {"name": interface["name"], **({"mac": kept["mac"]} if "mac" in kept else {}), **link, **shared}
    return {**kept, **shared, "trunk": {**others, (tag or "native"): link}}


def _without(interface: Fields, tag: str | None) -> Fields:
    others = {key: each for key, each in _carried(interface).items() if key != (tag or "native")}
    kept = {key: value for key, value in interface.items() if key not in (*_OF_LINK, "trunk")}
    if others.keys() == {"native"}:
        return {**kept, **others["native"]}
    return {**kept, "trunk": others} if others else {}


def _carried(interface: Fields) -> dict[str, Fields]:
    """What it carries by tag, as a trunk has it."""
    if "trunk" in interface:
        return dict(interface["trunk"])
    return {"native": {key: interface[key] for key in _OF_LINK if key in interface}} if "network" in interface else {}
