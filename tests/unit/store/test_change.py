"""One road for every change: an edit is made of the newest model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datapath.errors import StaleError, TransientError
from sdn.model import Model
from sdn.store import Since, Store, start_server
from sdn.store.change import TRIES
from sdn.topology import parse

FILE = "name: t\nchassis: {hv1: {}}\nnetworks: {a: {segment: {vxlan: 5}}, b: {segment: {vxlan: 6}}}\n"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    server = start_server(tmp_path)
    found = [Store.open(tmp_path / "store.sock", history=True) for _ in range(2)]
    try:
        found[0].change(lambda _: parse(FILE, "t.yaml"))
        assert found[1].await_revision(1, 5)
        yield found[0], found[1]
    finally:
        for store in found:
            store.close()
        server.stop(2)


def with_mtu(model: Model | None, network: str, mtu: int) -> Model:
    assert model is not None
    return replace(model, networks={**model.networks, network: replace(model.networks[network], mtu=mtu)})


def test_it_is_made_again_where_somebody_was_faster(stores: tuple[Store, Store]) -> None:
    one, other = stores
    seen = []

    def edit(base: Model | None) -> Model:
        seen.append(base.revision if base else 0)
        if len(seen) == 1:
            other.change(lambda model: with_mtu(model, "b", 1300))
        return with_mtu(base, "a", 1400)

    written = one.change(edit)
    assert seen == [1, 2]
    assert (written.revision, written.changed) == (3, True)
    assert {name: network.mtu for name, network in written.model.networks.items()} == {"a": 1400, "b": 1300}


def test_nothing_to_do(stores: tuple[Store, Store]) -> None:
    one, _ = stores
    same = one.change(lambda model: with_mtu(model, "a", 1450))
    assert (same.revision, same.changed) == (1, False)
    anew = one.change(lambda model: with_mtu(model, "a", 1450), anew=lambda _: True)
    assert (anew.revision, anew.changed) == (2, True)


def test_since(stores: tuple[Store, Store]) -> None:
    one, _ = stores
    one.change(lambda model: with_mtu(model, "b", 1300))
    about_a = Since(1, lambda changes: "a" in changes.get("Network", ()))
    assert one.change(lambda model: with_mtu(model, "a", 1400), since=about_a).revision == 3
    with pytest.raises(StaleError):
        one.change(lambda model: with_mtu(model, "a", 1401), since=about_a)
    with pytest.raises(StaleError):
        one.change(lambda model: with_mtu(model, "a", 1401), since=Since(2))


def test_a_race_that_is_never_won_is_given_up(stores: tuple[Store, Store]) -> None:
    one, other = stores
    turns = []

    def edit(base: Model | None) -> Model:
        turns.append(base)
        other.change(lambda model: with_mtu(model, "b", 1000 + len(turns)))
        return with_mtu(base, "a", 1400)

    with pytest.raises(TransientError, match="all the time"):
        one.change(edit)
    assert len(turns) == TRIES
