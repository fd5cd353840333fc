"""A model changed by a few entries of the file: what a client's request comes to.

Enters: a Model, and new entries in the words of the topology file. Leaves: the Model that the file would give if it
were written so, by the same steps and with the same mistakes. Never: a number that changes for what was not touched.

The whole is written out and built again (`_whole`). Nodes alone, which are what a lab has thousands of, are built
beside what stays (`_nodes`); a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sdn.model import REVISION, Model, Source
from sdn.topology import written
from sdn.topology.build import build
from sdn.topology.plain import Plain

Edits = Mapping[tuple[str, str], Any]
"""New entries by section and name; None for what goes. Values are plain, as YAML or JSON gives them."""

_MAPPINGS: Final = ("physnets", "chassis", "networks", "nodes", "guests", "ports", "tests")


def edited(model: Model, edits: Edits, *, confined: bool = False) -> Model:
    """The model with these entries. `confined`: they name no files of this machine but those of the image pool.

    Raises FileError with every problem, each with the JSON pointer of its place.
    """
    found = _nodes(model, edits, confined) if _is_about_nodes(model, edits) else _whole(model, edits, confined)
    return _as_before(found, model)


def built(sections: dict[str, Any], model: Model | None = None, *, confined: bool = False) -> Model:
    """The model of a whole file given as plain values; `model` is that of the running lab. Raises FileError."""
    return _as_before(build(Plain(sections), model, confined=confined), model)


def _whole(model: Model, edits: Edits, confined: bool) -> Model:
    return build(Plain(_sections(written.document(model), edits)), model, confined=confined)


def _sections(document: dict[str, Any], edits: Edits) -> dict[str, Any]:
    for (section, name), entry in edits.items():
        if entry is None:
            document.setdefault(section, {}).pop(name, None)
        else:
            document.setdefault(section, {})[name] = entry
    return document


def _is_about_nodes(model: Model, edits: Edits) -> bool:
    """Nodes that share nothing with others but networks: no uplink (macvlan), no chassis (local networks)."""
    if any(section != "nodes" or name in model.guests for section, name in edits):
        return False
    if any(port.macvlan for port in model.ports.values()) or _names(edits, "macvlan", "macvtap"):
        return False
    return not any(network.segment.kind == "local" for network in model.networks.values())


def _names(edits: Edits, *keys: str) -> bool:
    """Whether any of these keys is anywhere in what comes."""
    rest: list[Any] = list(edits.values())
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if not value.keys().isdisjoint(keys):
                return True
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return False


def _nodes(model: Model, edits: Edits, confined: bool) -> Model:
    """Only the nodes of `edits` are built; the others' names and numbers are taken."""
    touched = {name for _, name in edits}
    kept = replace(
        model,
        nodes={name: node for name, node in model.nodes.items() if name not in touched},
        ports={name: port for name, port in model.ports.items() if port.node not in touched},
    )
    sections = {key: value for key, value in _others(model).items() if value}
    made = build(Plain(_sections(sections, edits)), model, kept, confined=confined)
    return replace(made, nodes=kept.nodes | made.nodes, ports=kept.ports | made.ports, guests=model.guests)


def _others(model: Model) -> dict[str, Any]:
    """Everything but nodes and guests."""
    head = {"name": model.lab, "underlay": {"subnet": str(model.underlay.subnet), "mtu": model.underlay.mtu}}
    rest = ("chassis", "physnets", "networks", "tests")
    return head | {name: written.section(model, name) for name in rest}


def _as_before(model: Model, before: Model | None) -> Model:
    """What is as it was is the same object; what is changed keeps its line in the file; what is new gets its revision
    there."""
    known = before or Model(model.lab, model.underlay)
    new = Source(REVISION, known.revision + 1)
    found: dict[str, Any] = {name: _kept(getattr(model, name), getattr(known, name), new) for name in _MAPPINGS}
    return replace(model, **found, revision=known.revision)


def _kept(values: Mapping[str, Any], before: Mapping[str, Any], new: Source) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        old = before.get(name)
        if value is not old:
            placed = replace(value, source=old.source if old is not None else new)
            value = old if placed == old else placed
        found[name] = value
    return found
