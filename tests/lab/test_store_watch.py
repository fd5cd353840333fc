"""Whoever watches the store hears of all that changes, facts too, and of what changed while it was away."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from sdn.model import Source
from sdn.model.facts import FlowFacts, HostFacts, PortFacts
from sdn.store import Changed, Server, Store, running_server, start_server
from tests.lab.stores import after, moved, other, server, store
from tests.unit.store.models import big

pytestmark = pytest.mark.lab
__all__ = ["other", "server", "store"]


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
