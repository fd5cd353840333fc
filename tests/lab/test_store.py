"""What is written into the store: as one transaction, by any number of writers, refused where it must be."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings

from datapath.errors import SdnError, StaleError
from sdn.model import Model, Segment
from sdn.store import Server, Store
from sdn.store.history import model_at
from tests.lab.stores import moved, other, past, server, store, stored, with_mtu
from tests.unit.store.models import big, models

pytestmark = pytest.mark.lab
__all__ = ["other", "past", "server", "store"]


def test_an_empty_store_has_no_model_and_the_first_write_is_revision_1(store: Store) -> None:
    assert store.model() is None
    model = big(ports=3, chassis=2)
    assert store.write(model) == 1
    assert store.model() == model.with_revision(1)
    assert store.write(model) == 1
    assert store.write(model.with_revision(77)) == 1


def test_any_model_is_stored_and_changed_into_any_other(server: Server, store: Store, other: Store) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(models())
    def check(model: Model) -> None:
        revision = store.write(model)
        assert store.model() == model.with_revision(revision)
        assert store.write(model) == revision
        fresh = Store.open(server.socket)
        assert fresh.model() == store.model()
        assert [*fresh.model().ports] == [*store.model().ports]
        fresh.close()

    check()


def test_unique_values_can_be_swapped_in_one_transaction(store: Store) -> None:
    model = big(ports=2, chassis=2)
    web = model.networks["web"]
    two = replace(model, networks={"web": web, "db": replace(web, id=501, name="db", segment=Segment("vxlan", 20))})
    store.write(two)
    swapped = {
        "web": replace(web, segment=Segment("vxlan", 20), id=501),
        "db": replace(two.networks["db"], segment=web.segment, id=web.id),
    }
    assert store.write(replace(two, networks=swapped)) == 2
    assert store.model() == replace(two, networks=swapped, revision=2)


def test_an_object_is_renamed_with_all_that_refers_to_it(store: Store, other: Store) -> None:
    model = big(ports=2, chassis=2)
    store.write(model)
    renamed = replace(
        model,
        networks={"new": replace(model.networks["web"], name="new")},
        ports={name: replace(port, network="new") for name, port in model.ports.items()},
    )
    assert store.write(renamed) == 2
    assert store.model() == renamed.with_revision(2)
    assert other.write(model) == 3


def test_what_the_schema_forbids_is_a_clear_error_and_writes_nothing(store: Store) -> None:
    model = big(ports=2, chassis=2)
    store.write(model)
    twice = replace(model.nodes["web1"], id=model.nodes["web2"].id)
    with pytest.raises(SdnError, match=r'"Node" table to have identical values \(1002\).*"number"'):
        store.write(replace(model, nodes=model.nodes | {"web1": twice}))
    low = replace(model.ports["web1"], ofport=1)
    with pytest.raises(SdnError, match=r"1 is not in the valid range 64 to 65279") as caught:
        store.write(replace(model, ports=model.ports | {"web1": low}))
    assert not caught.value.retry
    assert store.model() == model.with_revision(1)
    assert store.write(moved(model, "web1", "hv1")) == 2


def test_writers_at_the_same_time_each_get_a_revision(server: Server) -> None:
    stores = [Store.open(server.socket) for _ in range(4)]
    given_revisions: list[list[int]] = [[] for _ in stores]

    def write(number: int) -> None:
        for size in range(1, 11):
            given_revisions[number].append(stores[number].write(big(ports=size * 4 + number, chassis=2)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chain(*given_revisions)) == list(range(1, 41))
    final = stores[0].write(big(ports=1))
    assert (final, stores[0].model()) == (41, big(ports=1).with_revision(41))
    for each in stores:
        each.close()


def test_a_change_from_a_revision_that_the_store_has_left_is_refused(store: Store) -> None:
    model = big(ports=2, chassis=2)
    with pytest.raises(StaleError):
        store.write(model, expected=1)
    assert store.write(model, expected=0) == 1
    assert store.write(with_mtu(model, 1400), expected=1) == 2
    with pytest.raises(StaleError, match="is at revision 2, and this change was made from revision 1") as caught:
        store.write(with_mtu(model, 1300), expected=1)
    assert (caught.value.expected, caught.value.present, caught.value.retry) == (1, 2, False)
    assert store.model() == with_mtu(model, 1400).with_revision(2)
    assert store.write(with_mtu(model, 1400), expected=2) == 2


def test_writers_that_say_what_they_expect_lose_nothing(server: Server, past: Store) -> None:
    """Each counts up what it read, and begins again where another one was faster."""
    least, times = 100, 200
    past.write(with_mtu(big(ports=2, chassis=2), least))
    stores = [Store.open(server.socket) for _ in range(2)]
    refused = []

    def count_up(store: Store) -> None:
        done = 0
        while done < times:
            model = stored(store)
            try:
                wanted = with_mtu(model, model.networks["web"].mtu + 1)
                store.write(wanted, author=f"writer {id(store)}", expected=model.revision)
                done += 1
            except StaleError as error:
                refused.append(error)

    threads = [threading.Thread(target=count_up, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = past.write(with_mtu(big(ports=2, chassis=2), 1500))
    assert last == 2 * times + 2
    revisions = past.revisions()
    assert [model_at(stored(past), revisions, number).networks["web"].mtu for number in range(1, last)] == [
        *range(least, least + 2 * times + 1)
    ]
    assert sorted(
        sum(revision.author == f"writer {id(store)}" for revision in revisions.values()) for store in stores
    ) == [times, times]
    assert refused
    for each in stores:
        each.close()
