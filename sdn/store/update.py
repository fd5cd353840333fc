"""What a watcher of the store is told. PURE.

Enters: an older and a newer Model. Leaves: the names of what differs. Never: a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from sdn.model import Model
from sdn.model.facts import Facts
from sdn.model.history import Revision

K = TypeVar("K")
Names = frozenset[str]
NONE: Names = frozenset()


INTENT: Final = ("lab", "physnets", "chassis", "networks", "nodes", "guests", "ports", "tests")
"""The fields of Changed that are something to compile."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Names of what was added, changed or removed; what the newer Model lacks was removed.

    An object that only moved within the file is not among them. The last six are no intent: facts, and history, where
    the store was opened with it.
    """

    lab: bool = False
    physnets: Names = NONE
    chassis: Names = NONE
    networks: Names = NONE
    nodes: Names = NONE
    guests: Names = NONE
    ports: Names = NONE
    tests: Names = NONE
    flow_facts: Names = NONE
    host_facts: Names = NONE
    port_facts: Names = NONE
    guest_facts: Names = NONE
    drift_facts: Names = NONE
    revisions: frozenset[int] = frozenset()
    """Written just now, or settled, or forgotten."""

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def intent(self) -> bool:
        """True if there is something to compile."""
        return any(getattr(self, kind) for kind in INTENT)

    def __or__(self, other: Changed) -> Changed:
        return Changed(*(getattr(self, field.name) | getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Update:
    """The state after one or more transactions. `changed` is None for the first one: everything is new."""

    model: Model
    facts: Facts
    changed: Changed | None

    def after(self, earlier: Update) -> Update:
        """Both in one, for a watcher that has not looked at the earlier one yet."""
        if earlier.changed is None or self.changed is None:
            return replace(self, changed=None)
        return replace(self, changed=earlier.changed | self.changed)


def differs(new: Any, old: Any) -> bool:
    """Whether more than the place in the file differs."""
    if new is old or new == old:
        return False
    return bool(new is None or old is None or replace(old, source=new.source) != new)


def names_that_differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> Names:
    """Of values with a source. Most are the same objects in both, so that comparing a thousand takes 50 us."""
    if new is old:
        return NONE
    others = [name for name, value in new.items() if value is not old.get(name)]
    return frozenset(name for name in others if differs(new[name], old.get(name))) | (old.keys() - new.keys())


def changed_between(model: Model, facts: Facts, old_model: Model, old_facts: Facts) -> Changed:
    """What nobody tells after a reconnect."""
    return changed_intent(model, old_model) | changed_facts(facts, old_facts)


def changed_intent(model: Model, old_model: Model) -> Changed:
    intent: dict[str, Any] = {
        kind: names_that_differ(getattr(model, kind), getattr(old_model, kind)) for kind in INTENT[1:]
    }
    lab = (model.lab, model.underlay) != (old_model.lab, old_model.underlay)
    return Changed(lab=lab, **intent)


def changed_facts(facts: Facts, old: Facts) -> Changed:
    return Changed(
        flow_facts=_unequal(facts.flows, old.flows),
        host_facts=_unequal(facts.hosts, old.hosts),
        port_facts=_unequal(facts.ports, old.ports),
        guest_facts=_unequal(facts.guests, old.guests),
        drift_facts=_unequal(facts.drifts, old.drifts),
    )


def changed_revisions(revisions: Mapping[int, Revision], old: Mapping[int, Revision]) -> Changed:
    return Changed(revisions=_unequal(revisions, old))


def _unequal(new: Mapping[K, Any], old: Mapping[K, Any]) -> frozenset[K]:
    """Values that were taken over are the same objects."""
    if new is old:
        return frozenset()
    others = [name for name, value in new.items() if value is not old.get(name)]
    return frozenset(name for name in others if new[name] != old.get(name)) | (old.keys() - new.keys())
