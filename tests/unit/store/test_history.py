"""Any Model that was in the store comes back exactly, from a newer one and what was changed since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.errors import FileError
from datapath.plan import diff
from sdn.bounds import REVISIONS_KEPT
from sdn.differences import Count
from sdn.model import Model
from sdn.model.history import Revision, unpack
from sdn.store.folding import with_rows
from sdn.store.history import model_at, revision, revision_row, with_revisions
from sdn.store.rows import from_rows, rows_that_differ, to_rows
from tests.unit.store.models import big, models

TIME = 1_795_273_163.203_046
SINCE_EPOCH_MS = 1_795_273_163_203


def written(new: Model, old: Model | None, author: str = "ann", origin: str = "sdn apply lab.yaml") -> Revision:
    """What the store remembers of a write."""
    number = (old.revision if old else 0) + 1
    row: Any = revision_row(number, TIME, author, origin, diff(*rows_that_differ(new, old)))
    return revision({"settled": False, "errors": ()} | row)


def history(*wanted: Model) -> tuple[list[Model], dict[int, Revision]]:
    """The Models as the store has them one after the other, and its revisions."""
    stored: list[Model] = []
    revisions = {}
    for model in wanted:
        known = written(model, stored[-1] if stored else None)
        revisions[known.number] = known
        stored.append(from_rows(to_rows(model), known.number))
    return stored, revisions


def moved(model: Model, node: str, chassis: str) -> Model:
    return replace(
        model,
        nodes=model.nodes | {node: replace(model.nodes[node], chassis=chassis)},
        ports=model.ports | {node: replace(model.ports[node], chassis=chassis)},
    )


def in_order(model: Model) -> list[list[str]]:
    kinds = ("physnets", "chassis", "networks", "nodes", "guests", "ports", "tests")
    return [[*getattr(model, kind)] for kind in kinds]


@settings(max_examples=60, deadline=None)
@given(st.lists(models(), min_size=1, max_size=5))
def test_every_model_of_a_walk_comes_back(walk: list[Model]) -> None:
    stored, revisions = history(*walk)
    for number, then in enumerate(stored, 1):
        found = model_at(stored[-1], revisions, number)
        assert found == then
        assert in_order(found) == in_order(then)


@settings(max_examples=60, deadline=None)
@given(models(), models())
def test_rows_folded_into_a_model_make_the_other_one(one: Model, other: Model) -> None:
    old, new = (from_rows(to_rows(model), 1) for model in (one, other))
    after, before = rows_that_differ(new, old)
    folded = with_rows(old, dict.fromkeys(before) | after, 1)
    assert folded == new
    assert in_order(folded) == in_order(new)


def test_a_port_goes_back_with_its_node_though_its_own_row_never_changed() -> None:
    here = big(ports=3, chassis=2)
    stored, revisions = history(here, moved(here, "web1", "hv1"), moved(here, "web2", "hv2"))
    assert {table: [*changes] for table, changes in revisions[2].changes.items()} == {"Node": ["web1"]}
    assert model_at(stored[-1], revisions, 1).ports["web1"].chassis == "hv2"


def test_what_did_not_change_since_is_the_same_object() -> None:
    stored, revisions = history(big(ports=3, chassis=2), big(ports=4, chassis=2))
    found = model_at(stored[-1], revisions, 1)
    assert found.chassis is stored[-1].chassis
    assert found.ports["web2"] is stored[-1].ports["web2"]


def test_revisions_newer_than_the_model_do_not_matter() -> None:
    stored, revisions = history(big(ports=1), big(ports=2), big(ports=3))
    assert model_at(stored[1], revisions, 1) == stored[0]
    assert model_at(stored[1], {}, 2) == stored[1]


@pytest.mark.parametrize("number", [-1, 0, 4])
def test_a_revision_that_never_was(number: int) -> None:
    stored, revisions = history(big(ports=1), big(ports=2), big(ports=3))
    with pytest.raises(FileError, match=f"there is no revision {number} of lab big; the newest one is 3") as caught:
        model_at(stored[-1], revisions, number)
    assert caught.value.remedy == "see: sdn history big"


def test_a_revision_that_is_forgotten() -> None:
    stored, revisions = history(big(ports=1), big(ports=2), big(ports=3))
    del revisions[2]
    assert model_at(stored[-1], revisions, 2) == stored[1]
    with pytest.raises(
        FileError, match=f"revision 1 of lab big is forgotten: only the newest {REVISIONS_KEPT} are kept"
    ):
        model_at(stored[-1], revisions, 1)


def test_what_a_revision_says() -> None:
    small = from_rows(to_rows(big(ports=2, chassis=2)), 6)
    web2 = replace(small.ports["web2"], spoof_guard=False)
    known = written(replace(big(ports=3, chassis=2), ports=big(ports=3, chassis=2).ports | {"web2": web2}), small)
    assert (known.number, known.time, known.author, known.origin) == (7, TIME, "ann", "sdn apply lab.yaml")
    assert (known.settled, known.seconds) == (False, None)
    assert known.counts == {"Node": Count(added=1), "Port": Count(added=1, changed=1)}
    before, after = known.changes["Port"]["web2"]
    assert before is not None
    assert after == {**before, "spoof_guard": False}
    assert after["node"] == {"Node": "web2"}
    assert known.changes["Node"]["web3"][0] is None


def test_a_write_anew_changes_nothing() -> None:
    known = written(big(ports=2), from_rows(to_rows(big(ports=2)), 1))
    assert (known.packed, known.changes, known.counts) == ("", {}, {})
    assert unpack("") == {}


def test_seconds_are_counted_from_its_own_time() -> None:
    """Whoever settles it adds the time at which it does."""
    row: Any = revision_row(1, TIME, "ann", "", [])
    settled = {"settled": True, "errors": ("hv1: broken",), "milliseconds": row["milliseconds"] + SINCE_EPOCH_MS + 30}
    assert revision(row | settled).seconds == 0.03
    assert revision(row | settled).errors == ("hv1: broken",)


def test_revisions_are_known_by_number_the_oldest_first() -> None:
    rows: Any = {
        ("Revision", str(number)): {"settled": False, "errors": ()} | revision_row(number, TIME, "", "", [])
        for number in (11, 9, 10)
    }
    known = with_revisions({}, rows)
    assert [*known] == [9, 10, 11]
    assert [*with_revisions(known, {("Revision", "9"): None})] == [10, 11]
    assert with_revisions(known, {("Port", "web1"): None}) is known
