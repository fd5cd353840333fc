"""The API of a lab that does not run, over a store that does: what the switches would confirm is reported by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from sdn.api.app import create_app
from sdn.api.caller import SCOPE, Caller, Role
from sdn.api.live import Live
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import FlowFacts, HostFacts
from sdn.store import Store, start_server
from sdn.topology import parse

FILE = """
name: t
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 10}, subnets: [10.0.0.0/24, "fd00::/64"]}
  db: {segment: {vxlan: 11}, subnet: 10.1.0.0/24}
nodes:
  web1: {chassis: hv1, network: web}
  web2: {chassis: hv2, network: web, ip: [10.0.0.22]}
  fw: {chassis: hv1, trunk: {native: web, 20: db}}
tests: {all: {from: web*, to: web*, ping: ok}}
"""
ROOT = Caller("root", Role.ADMIN, is_local=True)


@contextmanager
def store_at(path: Path) -> Iterator[Path]:
    """The socket of a store's server."""
    server = start_server(path)
    try:
        yield path / "store.sock"
    finally:
        server.stop(2)


@contextmanager
def opened(socket: Path) -> Iterator[Store]:
    store = Store.open(socket, history=True)
    try:
        yield store
    finally:
        store.close()


def as_caller(app: FastAPI, caller: Caller = ROOT) -> ASGIApp:
    """What the gate does."""

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE] = caller
        await app(scope, receive, send)

    return gated


class Api(httpx.AsyncClient):
    """A client of one process' API; `live` is what that process sees."""

    def __init__(self, live: Live, app: FastAPI, caller: Caller = ROOT) -> None:
        super().__init__(transport=httpx.ASGITransport(as_caller(app, caller)), base_url="http://sdn")
        self.live = live
        self.app = app

    def by(self, caller: Caller) -> Api:
        """For somebody else."""
        return Api(self.live, self.app, caller)

    async def until(self, revision: int) -> None:
        """This process sees this revision, or a newer one."""
        with self.live.subscribe() as updates:
            async with asyncio.timeout(5):
                while self.live.revision < revision:
                    await updates.get()

    def confirm(self, revision: int) -> None:
        """As controller and agent do."""
        names = self.live.model.chassis
        self.live.store.report(
            flows={name: FlowFacts(True, revision, 9) for name in names},
            hosts={name: HostFacts(revision, "netdev") for name in names},
        )


@asynccontextmanager
async def api(socket: Path, lab: str = "t") -> AsyncIterator[Api]:
    with opened(socket) as store:
        live = Live(RunDir(lab), store)
        app = create_app(live)
        async with app.router.lifespan_context(app), Api(live, app) as client:
            yield client


def model() -> Model:
    return parse(FILE, "t.yaml")


def fill(socket: Path) -> None:
    with opened(socket) as store:
        store.write(model(), author="test", origin="up")


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """Of a store with the lab of FILE in it."""
    with store_at(tmp_path) as path:
        fill(path)
        yield path
