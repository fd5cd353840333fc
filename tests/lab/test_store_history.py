"""What the store remembers: who wanted a revision and how it ended, and what drifted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from datapath.errors import FileError
from sdn.author import acting
from sdn.bounds import REVISIONS_KEPT
from sdn.model.facts import Drift
from sdn.store import Changed, Store, start_server
from sdn.store.client import SCHEMA
from sdn.store.commands import KEPT_DRIFTS
from sdn.store.history import model_at
from tests.lab.stores import after, other, past, server, store, stored, with_mtu
from tests.unit.store.models import big

pytestmark = pytest.mark.lab
__all__ = ["other", "past", "server", "store"]


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
    assert settled[3].flows_seconds is None
    await asyncio.to_thread(store.settle, 3)
    update = await asyncio.wait_for(queue.get(), 10)
    assert update.changed == Changed(revisions=frozenset({3}))
    assert past.revisions()[2] == settled[2]
    assert past.revisions()[3].errors == ()


async def test_when_flows_were_confirmed_is_known_of_each(store: Store, past: Store) -> None:
    for size in (1, 2, 3, 4):
        store.write(big(ports=size))
    queue = past.watch(asyncio.get_running_loop())
    began = (await after(queue, 4), past.revisions())[1]
    flows = [(2, began[2].time + 0.5), (4, began[4].time + 7)]
    await asyncio.to_thread(store.settle, 3, (), flows)
    await asyncio.wait_for(queue.get(), 10)
    found = past.revisions()
    assert found[2].flows_seconds == pytest.approx(0.5, abs=0.002)
    assert found[1].flows_seconds == pytest.approx(began[2].time - began[1].time + 0.5, abs=0.002)
    assert found[3].flows_seconds == pytest.approx(began[4].time - began[3].time + 7, abs=0.002)
    await asyncio.to_thread(store.settle, 4)
    await asyncio.wait_for(queue.get(), 10)
    assert past.revisions()[4].settled
    assert past.revisions()[4].flows_seconds is None


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
    repaired = replace(found, repaired=found.found + 0.5, error="not at once", repairs=2, took=(0.25, 0.5))
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
