"""What a watcher is told: what is intent, and what only looks so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdn.model import Source
from sdn.model.facts import Drift, Facts
from sdn.model.history import Revision
from sdn.store.update import INTENT, Changed, changed_facts, changed_intent, changed_revisions
from tests.unit.store.models import big

DRIFT = Drift("hv1", "flow", "removed", 1.0)


@pytest.mark.parametrize("kind", ["flow_facts", "host_facts", "port_facts", "guest_facts", "drift_facts", "revisions"])
def test_facts_and_history_are_nothing_to_compile(kind: str) -> None:
    changed = Changed(**{kind: frozenset({"x"})})
    assert changed
    assert not changed.intent


@pytest.mark.parametrize("kind", INTENT)
def test_all_else_is(kind: str) -> None:
    assert Changed(**{kind: True if kind == "lab" else frozenset({"x"})}).intent


def test_what_was_added_changed_and_removed() -> None:
    old, new = big(ports=3, chassis=2), big(ports=2, chassis=2)
    new = replace(new, ports=new.ports | {"web1": replace(new.ports["web1"], spoof_guard=False)})
    assert changed_intent(new, old) == Changed(nodes=frozenset({"web3"}), ports=frozenset({"web1", "web3"}))
    assert changed_intent(old, new).ports == {"web1", "web3"}
    assert not changed_intent(old, old)


def test_what_only_stands_elsewhere_in_the_file_has_not_changed() -> None:
    old = big(ports=1, chassis=1)
    new = replace(old, nodes={"web1": replace(old.nodes["web1"], source=Source("lab.yaml", 9))})
    assert not changed_intent(new, old)


def test_drift_is_found_repaired_and_forgotten() -> None:
    found, none = Facts(drifts={"a-1": DRIFT}), Facts()
    told = Changed(drift_facts=frozenset({"a-1"}))
    assert changed_facts(found, none) == told
    assert changed_facts(Facts(drifts={"a-1": replace(DRIFT, repaired=2.0)}), found) == told
    assert changed_facts(none, found) == told
    assert not changed_facts(Facts(drifts={"a-1": replace(DRIFT)}), found)


def test_revisions_that_are_new_settled_or_forgotten() -> None:
    one, two = Revision(1, 0.0, "", "", ""), Revision(2, 0.0, "", "", "")
    settled = {2: replace(two, settled=True, seconds=0.1)}
    assert changed_revisions(settled, {1: one, 2: two}).revisions == {1, 2}
    assert changed_revisions({1: one, 2: two}, {1: one}).revisions == {2}
