"""How two models differ, in the words of the topology file. PURE.

Enters: two Models. Leaves: entries that were added, changed or removed, field by field. Never: a line of the file that
has only moved; a number that a resource does not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from sdn.differences import Difference, Field, by_name
from sdn.model import Model
from sdn.topology import written

Entry = dict[str, Any]

NOUNS: Final = {
    "chassis": "chassis",
    "physnets": "physnet",
    "networks": "network",
    "nodes": "node",
    "guests": "guest",
    "tests": "test",
}


def differences(before: Model, after: Model) -> Iterator[Difference]:
    """In the file's order; what is gone comes last of its kind."""
    old_head, new_head = _head(before), _head(after)
    if old_head != new_head:
        yield Difference("lab", after.lab, "changed", old_head, new_head, tuple(_fields(old_head, new_head)))
    for section, noun in NOUNS.items():
        old, new = _names(before, section), _names(after, section)
        for name in (*new, *(name for name in old if name not in new)):
            if name in old and name in new and _is_same(before, after, section, name):
                continue
            found = _difference(
                noun,
                name,
                written.entry(before, section, name) if name in old else None,
                written.entry(after, section, name) if name in new else None,
            )
            if found:
                yield found


def _names(model: Model, section: str) -> dict[str, None]:
    return dict.fromkeys(written.names(model, section))


def _head(model: Model) -> Entry:
    return {"underlay": {"subnet": str(model.underlay.subnet), "mtu": model.underlay.mtu}}


def _is_same(before: Model, after: Model, section: str, name: str) -> bool:
    """Objects that were taken over are the very same: most of a thousand need not be written out."""
    if section not in ("nodes", "guests"):
        return getattr(before, section)[name] is getattr(after, section)[name]
    old, new = before.interfaces_of.get(name, ()), after.interfaces_of.get(name, ())
    return before.nodes[name] is after.nodes[name] and before.guests.get(name) is after.guests.get(name) and old == new


def _difference(kind: str, name: str, before: Entry | None, after: Entry | None) -> Difference | None:
    if before is None or after is None:
        return Difference(kind, name, "added" if before is None else "removed", before, after)
    fields = tuple(_fields(before, after))
    return Difference(kind, name, "changed", before, after, fields) if fields else None


def _fields(before: Any, after: Any, place: str = "") -> Iterator[Field]:
    """Mappings are looked into, and lists of what has names; other lists are one value."""
    old, new = by_name(before), by_name(after)
    if old is None or new is None:
        if before != after:
            yield Field(place, before, after)
        return
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            yield from _fields(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))


def nothing(model: Model) -> Model:
    """The lab before its first revision."""
    return replace(Model(model.lab, model.underlay), revision=0)
