"""The application: its routers, its errors, its description. Never: a route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from sdn.api import (
    console,
    counters,
    crud,
    derived,
    document,
    events,
    flows,
    health,
    history,
    links,
    looks,
    metrics,
    ofctl,
    page,
    problem,
    topology,
    unrealised,
)
from sdn.api.dumps import Dumps
from sdn.api.ends import Ends
from sdn.api.head import Head
from sdn.api.hub import Hub
from sdn.api.live import Live
from sdn.api.metrics import Metrics
from sdn.api.parameters import only_known
from sdn.api.problem import NotFoundError
from sdn.api.roles import methods_at
from sdn.api.samples import Samples

LOG = logging.getLogger(__name__)


def create_app(live: Live) -> FastAPI:
    """The API of one lab. What comes in has passed the gate, which says who asks (`sdn.api.caller`)."""
    app = FastAPI(
        title="sdn",
        lifespan=_lifespan,
        dependencies=[Depends(only_known)],
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )
    app.state.live = live
    app.state.hub = Hub(live)
    app.state.samples = Samples(live)
    app.state.dumps = Dumps(live.switch)
    app.state.metrics = Metrics(live, app.state.samples)
    app.state.ends = Ends()
    app.add_middleware(Head)
    problem.add_handlers(app)
    app.add_exception_handler(HTTPStatus.NOT_FOUND, _not_found)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, _not_allowed)
    for router in crud.routers():
        app.include_router(router)
    for kind in (derived.LABS, derived.SWITCHES, links.LINKS):
        app.include_router(derived.router(kind))
    for router in unrealised.routers():
        app.include_router(router)
    for module in (topology, looks, flows):
        app.include_router(module.router())
    app.include_router(events.router())
    app.include_router(history.router())
    for module in (metrics, counters, health, console, page):
        app.include_router(module.router())
    app.state.ofctl = ofctl.LabSwitches(live)
    app.include_router(ofctl.router(app.state.ofctl, app.state.hub))
    app.openapi = lambda: document.document(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    live: Live = app.state.live
    hub: Hub = app.state.hub
    told: Metrics = app.state.metrics
    running = {"events": hub.run(), "processes": hub.look_after(), "metrics": told.run(), "follow": live.follow()}
    tasks = [asyncio.create_task(each, name=name) for name, each in running.items()]
    for task in tasks:
        task.add_done_callback(partial(_ended, app.state.ends))
    try:
        yield
    finally:
        hub.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what they died of has been said
        await app.state.ofctl.close()
        await live.close()


def _ended(ends: Ends, task: asyncio.Task[None]) -> None:
    """None of them ends but by us: without it the API would go on, and what it says would be old."""
    if task.cancelled():
        return
    LOG.error("task %s of the API has ended", task.get_name(), exc_info=task.exception())
    ends.tell(f"task {task.get_name()} of the API has ended: {task.exception() or 'without a reason'}")


def _not_found(request: Request, error: Exception) -> Response:
    """A path with a slash too many is said to be one: to be sent elsewhere, without a body, helps no program."""
    path = request.url.path.rstrip("/")
    if path != request.url.path and methods_at(iter_route_contexts(request.app.router.routes), path):
        error = NotFoundError(f"there is no path {request.url.path}", remedy=f"without the slash at its end: {path}")
        return problem.respond(error)
    return problem.of_http(request, error)


def _not_allowed(request: Request, error: Exception) -> Response:
    """RFC 9110 section 15.5.6: all methods that there are for this path. FastAPI has a route for each, and the router
    tells those of the first."""
    assert isinstance(error, HTTPException)
    allowed = methods_at(iter_route_contexts(request.app.router.routes), request.url.path)
    more = {**(error.headers or {}), "Allow": ", ".join(sorted(allowed))}
    return problem.of_http(request, HTTPException(error.status_code, error.detail, more))
