"""The store on a real ovsdb-server, a child process on a unix socket in tmp_path."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings

from datapath.errors import FileError, SdnError, StaleError, TransientError
from sdn.author import acting
from sdn.bounds import REVISIONS_KEPT
from sdn.model import Model, Segment, Source
from sdn.model.facts import Drift, FlowFacts, HostFacts, PortFacts
from sdn.store import Changed, Server, Store, Update, running_server, start_server
from sdn.store.client import SCHEMA
from sdn.store.commands import KEPT_DRIFTS
from sdn.store.history import model_at
from tests.unit.store.models import big, models

pytestmark = pytest.mark.lab

T = TypeVar("T")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = start_server(tmp_path)
    yield started
    last = running_server(tmp_path)
    if last is not None:
        last.stop()
    started.close()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    opened = Store.open(server.socket)
    yield opened
    opened.close()


@pytest.fixture
def past(server: Server) -> Iterator[Store]:
    """With history."""
    opened = Store.open(server.socket, history=True)
    yield opened
    opened.close()


@pytest.fixture
def other(server: Server) -> Iterator[Store]:
    opened = Store.open(server.socket)
    yield opened
    opened.close()


async def after(queue: asyncio.Queue[Update], revision: int) -> Update:
    """The sum of updates until the model has `revision`."""
    update = await asyncio.wait_for(queue.get(), 10)
    while update.model.revision < revision:
        update = (await asyncio.wait_for(queue.get(), 10)).after(update)
    return update


def moved(model: Model, node: str, chassis: str) -> Model:
    return replace(
        model,
        nodes=model.nodes | {node: replace(model.nodes[node], chassis=chassis)},
        ports=model.ports | {node: replace(model.ports[node], chassis=chassis)},
    )


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
    for store in stores:
        store.close()


def with_mtu(model: Model, mtu: int) -> Model:
    return replace(model, networks={"web": replace(model.networks["web"], mtu=mtu)})


def stored(store: Store) -> Model:
    model = store.model()
    assert model is not None
    return model


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
    for store in stores:
        store.close()


def test_only_the_newest_revisions_are_kept(past: Store) -> None:
    model = big(ports=1, chassis=1)
    for number in range(1, REVISIONS_KEPT + 4):
        assert past.write(with_mtu(model, 1000 + number)) == number
    assert [*past.revisions()] == [*range(4, REVISIONS_KEPT + 4)]
    assert model_at(stored(past), past.revisions(), 3).networks["web"].mtu == 1003
    with pytest.raises(FileError, match="revision 2 of lab big is forgotten"):
        model_at(stored(past), past.revisions(), 2)


async def test_a_change_is_remembered_with_who_wanted_it(store: Store, past: Store) -> None:
    model = big(ports=2, chassis=2)
    began = time.time()
    queue = past.watch(asyncio.get_running_loop())
    with acting(author="ann", origin="sdn apply lab.yaml"):
        store.write(model)
    await after(queue, 1)
    store.write(with_mtu(model, 1300), author="bob", origin="PATCH /v1/networks/web")
    update = await after(queue, 2)
    assert update.changed == Changed(networks=frozenset({"web"}), revisions=frozenset({2}))
    store.write(with_mtu(model, 1300), anew=True)
    update = await after(queue, 3)
    assert update.changed == Changed(revisions=frozenset({3}))
    assert not update.changed.intent
    assert store.revisions() == {}
    known = [*past.revisions().values()]
    assert [(each.number, each.author, each.origin) for each in known[:2]] == [
        (1, "ann", "sdn apply lab.yaml"),
        (2, "bob", "PATCH /v1/networks/web"),
    ]
    assert known[2].author
    assert known[2].changes == {}
    assert [*known[1].changes["Network"]] == ["web"]
    assert [each.time for each in known] == sorted(each.time for each in known)
    assert began - 0.001 < known[0].time < time.time() + 0.001
    assert model_at(stored(past), past.revisions(), 1) == model.with_revision(1)


async def test_a_revision_is_settled_once(store: Store, past: Store) -> None:
    for size in (1, 2, 3):
        store.write(big(ports=size))
    queue = past.watch(asyncio.get_running_loop())
    await after(queue, 3)
    began = past.revisions()[1].time
    await asyncio.to_thread(store.settle, 2, ["hv1: broken", "hv2: broken too"])
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(revisions=frozenset({1, 2}))
    settled = past.revisions()
    assert [each.settled for each in settled.values()] == [True, True, False]
    assert settled[1].errors == ("hv1: broken", "hv2: broken too")
    assert settled[1].seconds is not None
    assert -0.002 < settled[1].seconds < time.time() - began + 0.002
    assert settled[3].seconds is None
    await asyncio.to_thread(store.settle, 3)
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(revisions=frozenset({3}))
    assert past.revisions()[2] == settled[2]
    assert past.revisions()[3].errors == ()


async def test_drift_is_told_and_then_what_became_of_it(store: Store, other: Store, tmp_path: Path) -> None:
    store.write(big(ports=1, chassis=1))
    queue = other.watch(asyncio.get_running_loop())
    await after(queue, 1)
    found = Drift("hv1", "flow table=0", "removed", 1_795_273_163.203_046)
    store.report(drifts={"controller-1": found})
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(drift_facts=frozenset({"controller-1"}))
    assert not update.changed.intent
    assert update.facts.drifts == {"controller-1": found}
    repaired = replace(found, repaired=found.found + 0.5, error="not at once")
    store.report(drifts={"controller-1": repaired})
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.facts.drifts == {"controller-1": repaired}
    assert update.model is other.model()
    size = (tmp_path / "store.db").stat().st_size
    store.report(drifts={"controller-1": repaired})
    assert (tmp_path / "store.db").stat().st_size == size


def test_only_the_newest_drifts_are_kept(store: Store, other: Store) -> None:
    store.write(big(ports=1, chassis=1))
    for number in range(KEPT_DRIFTS + 5):
        teller = (store, other)[number % 2]
        teller.report(drifts={f"agent-{number}": Drift("hv1", "address", "removed", 1000.0 + number)})
    store.report(drifts={"agent-last": Drift("hv1", "address", "added", 2000.0)})
    assert [*store.facts().drifts] == [*(f"agent-{n}" for n in range(6, KEPT_DRIFTS + 5)), "agent-last"]
    fresh = Store.open(other.socket)
    assert fresh.facts() == store.facts()
    fresh.close()


def test_a_store_of_an_older_version_is_converted(tmp_path: Path) -> None:
    older = json.loads(SCHEMA.read_text())
    older["version"] = "1.2.0"
    del older["tables"]["Revision"], older["tables"]["Drift"]
    (tmp_path / "older.ovsschema").write_text(json.dumps(older))
    lab = {"name": "big", "revision": 6, "underlay_subnet": "172.31.0.0/24", "underlay_mtu": 1500}
    insertion = ["SDN", {"op": "insert", "table": "Lab", "row": lab}]
    database = str(tmp_path / "store.db")
    subprocess.run(["ovsdb-tool", "create", database, str(tmp_path / "older.ovsschema")], check=True)
    subprocess.run(["ovsdb-tool", "transact", database, json.dumps(insertion)], check=True, capture_output=True)
    server = start_server(tmp_path)
    store = Store.open(server.socket, history=True)
    assert stored(store).revision == 6
    assert store.write(big(ports=1)) == 7
    assert [*store.revisions()] == [7]
    assert model_at(stored(store), store.revisions(), 6).ports == {}
    with pytest.raises(FileError, match="revision 5 of lab big is forgotten"):
        model_at(stored(store), store.revisions(), 5)
    store.close()
    server.stop()


async def test_a_watcher_gets_everything_then_what_changes(store: Store, other: Store) -> None:
    queue = other.watch(asyncio.get_running_loop())
    assert queue.empty()
    model = big(ports=4, chassis=2)
    store.write(model)
    first = await after(queue, 1)
    assert (first.changed, first.model) == (None, model.with_revision(1))
    late = await store.watch(asyncio.get_running_loop()).get()
    assert (late.changed, late.model) == (None, first.model)

    store.write(moved(model, "web1", "hv1"))
    update = await after(queue, 2)
    assert update.changed == Changed(nodes=frozenset({"web1"}), ports=frozenset({"web1"}))
    assert update.model == moved(model, "web1", "hv1").with_revision(2)

    store.write(big(ports=3, chassis=2))
    update = await after(queue, 3)
    both = frozenset({"web1", "web4"})
    assert update.changed == Changed(nodes=both, ports=both, port_facts=frozenset({"web4"}))
    assert "web4" not in update.model.ports
    assert "web4" not in update.facts.ports


async def test_a_line_that_moved_is_an_update_in_which_nothing_changed(store: Store) -> None:
    model = big(ports=4, chassis=2)
    store.write(model)
    queue = store.watch(asyncio.get_running_loop())
    await after(queue, 1)
    store.write(big(ports=4, chassis=2, line=70))
    update = await after(queue, 2)
    assert not update.changed
    assert update.model.ports["web1"].source == Source("lab.yaml", 70)


async def test_a_slow_watcher_finds_one_item(store: Store) -> None:
    store.write(big(ports=1, chassis=2))
    queue = store.watch(asyncio.get_running_loop())
    for size in range(2, 12):
        store.write(big(ports=size, chassis=2))
    await asyncio.sleep(0)
    assert queue.qsize() == 1
    update = await after(queue, 11)
    assert (update.changed, len(update.model.ports)) == (None, 11)
    for size in range(12, 22):
        await asyncio.to_thread(store.write, big(ports=size, chassis=2))
    update = await after(queue, 21)
    assert update.changed is not None
    assert update.changed.ports == {f"web{n}" for n in range(12, 22)}


async def test_facts_are_reported_apart_from_intent(store: Store, other: Store) -> None:
    model = big(ports=4, chassis=2)
    store.write(model)
    queue = other.watch(asyncio.get_running_loop())
    await after(queue, 1)
    store.report(flows={"hv1": FlowFacts(True, 1, 40), "gone": FlowFacts(True)})
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(flow_facts=frozenset({"hv1"}))
    assert not update.changed.intent
    store.report(hosts={"hv1": HostFacts(1, "netdev", ("b", "a"))}, ports={"web1": PortFacts(True, 7)})
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(host_facts=frozenset({"hv1"}), port_facts=frozenset({"web1"}))
    assert other.facts().flows["hv1"] == FlowFacts(True, 1, 40)
    assert other.facts().hosts == {"hv1": HostFacts(1, "netdev", ("b", "a")), "hv2": HostFacts()}
    assert other.facts().ports["web1"] == PortFacts(True, 7)
    store.report(hosts={"hv1": HostFacts(1, "netdev")}, ports={"web1": PortFacts(True, 7)})
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(host_facts=frozenset({"hv1"}))
    assert update.model is other.model()
    assert other.write(model) == 1
    assert other.facts().ports["web1"].up


def test_a_report_of_what_is_known_sends_nothing(store: Store, tmp_path: Path) -> None:
    store.write(big(ports=2, chassis=1))
    store.report(ports={"web1": PortFacts(True, 65)})
    size = (tmp_path / "store.db").stat().st_size
    store.report(ports={"web1": PortFacts(True, 65)}, flows={"nobody": FlowFacts(True)})
    store.write(big(ports=2, chassis=1))
    assert (tmp_path / "store.db").stat().st_size == size


async def test_the_store_is_killed_and_comes_back(tmp_path: Path, server: Server, store: Store, other: Store) -> None:
    model = big(ports=4, chassis=2)
    store.write(model)
    queue = other.watch(asyncio.get_running_loop())
    await after(queue, 1)
    store.report(ports={"web1": PortFacts(True, 65)})
    assert (await queue.get()).changed == Changed(port_facts=frozenset({"web1"}))
    for revision in range(2, 6):
        victim = running_server(tmp_path)
        assert victim is not None
        victim.signal(signal.SIGKILL)
        assert victim.wait(5)
        victim.close()
        began = time.perf_counter()
        start_server(tmp_path).close()
        wanted = moved(model, "web1", f"hv{revision % 2 + 1}")
        assert await asyncio.to_thread(store.write, wanted) == revision
        update = await after(queue, revision)
        took = time.perf_counter() - began
        touched = frozenset({"web1"}) if revision > 2 or wanted.nodes != model.nodes else frozenset()
        assert update.changed == Changed(nodes=touched, ports=touched)
        assert update.model == wanted.with_revision(revision)
        assert update.facts.ports["web1"].up
        assert took < 10
    await asyncio.sleep(0)
    assert queue.empty()


async def test_what_vanished_while_the_store_was_away_is_noticed(tmp_path: Path, server: Server, store: Store) -> None:
    """Another writer is faster than the watcher's reconnect: no event tells of the deletion."""
    store.write(big(ports=4, chassis=2))
    queue = store.watch(asyncio.get_running_loop())
    await after(queue, 1)
    server.signal(signal.SIGKILL)
    server.wait()
    side = tmp_path / "side"
    side.mkdir()
    (tmp_path / "store.db").rename(side / "store.db")
    aside = start_server(side)
    writer = Store.open(aside.socket)
    writer.write(big(ports=2, chassis=2))
    writer.close()
    aside.stop()
    (side / "store.db").rename(tmp_path / "store.db")
    start_server(tmp_path).close()
    update = await after(queue, 2)
    gone = frozenset({"web3", "web4"})
    assert update.changed == Changed(nodes=gone, ports=gone, port_facts=gone)


def test_open_waits_for_a_store_that_is_about_to_start(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"did not answer within 0\.3 s"):
        Store.open(tmp_path / "store.sock", timeout=0.3)
    opened: list[Store] = []
    thread = threading.Thread(target=lambda: opened.append(Store.open(tmp_path / "store.sock")))
    thread.start()
    server = start_server(tmp_path)
    thread.join()
    opened[0].close()
    server.stop()


def test_a_store_that_is_away_is_a_transient_error(server: Server) -> None:
    store = Store.open(server.socket, timeout=0.5)
    server.signal(signal.SIGKILL)
    server.wait()
    with pytest.raises(TransientError, match=r"did not answer within 0\.5 s"):
        store.write(big(ports=1))
    store.close()


def test_a_running_server_is_found_and_its_files_are_private(tmp_path: Path, server: Server) -> None:
    again = start_server(tmp_path)
    assert again.pid == server.pid
    assert not again.wait(0)
    for name in ("store.db", "store.sock", "logs/store.log"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    assert os.getpgid(again.pid) != os.getpgid(0)
    again.stop()
    assert running_server(tmp_path) is None
    assert server.wait(0)
    server.signal(signal.SIGTERM)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database")
    with pytest.raises(SdnError, match=r"store\.db"):
        start_server(tmp_path)


async def test_figures_of_a_thousand_ports(server: Server, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    def timed(what: str, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = call()
        lines.append(f"{what:<44}{(time.perf_counter() - began) * 1000:8.1f} ms")
        return result

    lines = ["", "store, 1,000 ports on 20 chassis"]
    model = big()
    timed("write into the empty store", lambda: store.write(model))
    timed("write again, unchanged", lambda: store.write(model))
    watcher = timed("open", lambda: Store.open(server.socket))
    queue = watcher.watch(asyncio.get_running_loop())
    await after(queue, 1)
    for revision in (2, 3):
        larger = big(ports=999 + revision)
        began = time.perf_counter()
        await asyncio.to_thread(store.write, larger)
        written = time.perf_counter()
        update = await after(queue, revision)
        arrived = time.perf_counter()
        lines.append(f"{'one more node: write':<44}{(written - began) * 1000:8.1f} ms")
        lines.append(f"{'  until the watcher has it':<44}{(arrived - began) * 1000:8.1f} ms")
        assert update.changed is not None
        assert len(update.changed.ports) == 1
    up = {name: PortFacts(True, port.ofport) for name, port in update.model.ports.items()}
    timed("report every port", lambda: store.report(ports=up))
    timed("report one chassis", lambda: store.report(flows={"hv1": FlowFacts(True, 3, 100)}))
    with capsys.disabled():
        print("\n".join(lines))
    watcher.close()
