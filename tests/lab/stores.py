"""A store on a real ovsdb-server, a child process on a unix socket in tmp_path; fixtures for test_store_*.

Enters: nothing. Leaves: `server` and connections to it, models to write, updates awaited. Never: a server that stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sdn.model import Model
from sdn.store import Server, Store, Update, running_server, start_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = start_server(tmp_path)
    yield started
    last = running_server(tmp_path)
    if last is not None:
        last.stop()
    started.close()


def _opened(server: Server, *, history: bool = False) -> Iterator[Store]:
    store = Store.open(server.socket, history=history)
    yield store
    store.close()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    yield from _opened(server)


@pytest.fixture
def other(server: Server) -> Iterator[Store]:
    yield from _opened(server)


@pytest.fixture
def past(server: Server) -> Iterator[Store]:
    """With history."""
    yield from _opened(server, history=True)


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


def with_mtu(model: Model, mtu: int) -> Model:
    return replace(model, networks={"web": replace(model.networks["web"], mtu=mtu)})


def stored(store: Store) -> Model:
    model = store.model()
    assert model is not None
    return model
