"""The application: its routers, its errors, its description. Never: a route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from sdn.api import (
    console,
    counters,
    crud,
    derived,
    events,
    flows,
    health,
    history,
    looks,
    metrics,
    ofctl,
    openapi,
    page,
    problem,
    topology,
    unrealised,
)
from sdn.api.hub import Hub
from sdn.api.live import Live
from sdn.api.metrics import Metrics
from sdn.api.resources import KINDS
from sdn.api.samples import Samples


def create_app(live: Live) -> FastAPI:
    """The API of one lab. What comes in has passed the gate, which says who asks (`sdn.api.caller`)."""
    app = FastAPI(title="sdn", lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    app.state.live = live
    app.state.hub = Hub(live)
    app.state.samples = Samples(live)
    app.state.metrics = Metrics(live, app.state.samples)
    app.state.kinds = tuple(KINDS.values())
    problem.add_handlers(app)
    for router in crud.routers():
        app.include_router(router)
    for router in (*derived.routers(), *unrealised.routers()):
        app.include_router(router)
    for module in (topology, looks, flows):
        app.include_router(module.router())
    app.include_router(events.router())
    app.include_router(history.router())
    for module in (metrics, counters, health, console, page):
        app.include_router(module.router())
    app.state.ofctl = ofctl.LabSwitches(live)
    app.include_router(ofctl.router(app.state.ofctl))
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    live: Live = app.state.live
    hub: Hub = app.state.hub
    told: Metrics = app.state.metrics
    tasks = [
        asyncio.create_task(hub.run(), name="events"),
        asyncio.create_task(told.run(), name="metrics"),
        asyncio.create_task(live.follow(), name="follow"),
    ]
    try:
        yield
    finally:
        hub.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await app.state.ofctl.close()
        await live.close()
