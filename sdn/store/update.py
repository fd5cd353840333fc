"""What a watcher of the store is told. PURE.

Enters: an older and a newer Model. Leaves: the names of what differs. Never: a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sdn.model import Model
from sdn.model.facts import Facts

Names = frozenset[str]
NONE: Names = frozenset()


@dataclass(frozen=True, slots=True)
class Changed:
    """Names of what was added, changed or removed; what the newer Model lacks was removed.

    An object that only moved within the file is not among them. The last four are facts, the others intent.
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

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def intent(self) -> bool:
        """True if there is something to compile."""
        return bool(replace(self, flow_facts=NONE, host_facts=NONE, port_facts=NONE, guest_facts=NONE))

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
    return new != old and (new is None or old is None or replace(old, source=new.source) != new)


def names_that_differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> Names:
    """Of values with a source."""
    return frozenset(name for name in new.keys() | old.keys() if differs(new.get(name), old.get(name)))


def changed_between(model: Model, facts: Facts, old_model: Model, old_facts: Facts) -> Changed:
    """By comparing everything; after a reconnect, when nobody tells what happened."""
    kinds = ("physnets", "chassis", "networks", "nodes", "guests", "ports", "tests")
    intent = {kind: names_that_differ(getattr(model, kind), getattr(old_model, kind)) for kind in kinds}
    lab = (model.lab, model.underlay) != (old_model.lab, old_model.underlay)
    return Changed(lab=lab, **intent) | changed_facts(facts, old_facts)


def changed_facts(facts: Facts, old: Facts) -> Changed:
    return Changed(
        flow_facts=_unequal(facts.flows, old.flows),
        host_facts=_unequal(facts.hosts, old.hosts),
        port_facts=_unequal(facts.ports, old.ports),
        guest_facts=_unequal(facts.guests, old.guests),
    )


def _unequal(new: Mapping[str, Any], old: Mapping[str, Any]) -> Names:
    """Values that were taken over are the same objects, so that comparing a thousand takes 50 us."""
    return frozenset(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))
