"""Errors as RFC 9457 problem details: the kinds of `datapath.errors`, in HTTP's words.

Enters: whatever a route raises. Leaves: `application/problem+json`. Never: a traceback to the client.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from datapath.errors import (
    CheckError,
    ConflictError,
    FileError,
    MachineError,
    Problem,
    RefusedError,
    SdnError,
    StaleError,
    TransientError,
)
from sdn.api.answer import encode

LOG = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = "1"
"""Seconds; a store or switch that is away is mostly back by then."""


class MalformedError(FileError):
    """The request is none that could mean anything: no JSON, no such parameter."""


class NotFoundError(FileError):
    """There is no such thing in the lab."""


KINDS: Final[dict[type[SdnError], tuple[str, HTTPStatus, str]]] = {
    MalformedError: ("malformed", HTTPStatus.BAD_REQUEST, "The request is malformed"),
    NotFoundError: ("not-found", HTTPStatus.NOT_FOUND, "There is no such thing"),
    FileError: ("file", HTTPStatus.UNPROCESSABLE_ENTITY, "What was sent is wrong"),
    MachineError: ("machine", HTTPStatus.CONFLICT, "The machine lacks something"),
    ConflictError: ("conflict", HTTPStatus.CONFLICT, "Something else is in the way"),
    StaleError: ("stale", HTTPStatus.PRECONDITION_FAILED, "It has changed meanwhile"),
    TransientError: ("transient", HTTPStatus.SERVICE_UNAVAILABLE, "Not at the moment"),
    RefusedError: ("refused", HTTPStatus.CONFLICT, "A switch refused it"),
    CheckError: ("check", HTTPStatus.CONFLICT, "The lab is not whole"),
    SdnError: ("error", HTTPStatus.CONFLICT, "It cannot be done"),
}
"""The kind in `type` (urn:sdn:problem:<kind>), the status, the title."""


def problem(error: SdnError) -> tuple[int, dict[str, Any]]:
    """The status and the body."""
    kind, status, title = next(KINDS[each] for each in type(error).__mro__ if each in KINDS)
    body: dict[str, Any] = {
        "type": f"urn:sdn:problem:{kind}",
        "title": title,
        "status": int(status),
        "detail": error.message,
    }
    if error.remedy:
        body["remedy"] = error.remedy
    if isinstance(error, FileError) and error.problems:
        body["errors"] = [_mistake(each) for each in error.problems]
    return status, body


def _mistake(mistake: Problem) -> dict[str, Any]:
    """A place in a file, or a JSON pointer into what was sent."""
    if mistake.line:
        place = {"file": mistake.file, "line": mistake.line, "column": mistake.column}
        return {**place, "message": mistake.message}
    return {"pointer": mistake.file, "message": mistake.message}


def respond(error: SdnError, headers: Mapping[str, str] | None = None) -> Response:
    status, body = problem(error)
    more = {"Retry-After": RETRY_AFTER} if error.retry else {}
    return Response(encode(body), status, {**more, **(headers or {})}, MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Whatever ends a request otherwise than by an answer has the same form."""
    app.add_exception_handler(SdnError, _own)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(Exception, _unforeseen)


def _own(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SdnError)
    return respond(error)


def _of_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": str(error.detail)}
    return Response(encode(body), status, error.headers, MEDIA_TYPE)


def _of_parameters(_request: Request, error: Exception) -> Response:
    """Parameters of the path and the query."""
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{detail['loc'][-1]}: {detail['msg']}" for detail in error.errors())
    return respond(MalformedError(f"the request's parameters are not understood: {told}"))


def _unforeseen(request: Request, error: Exception) -> Response:
    LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    body = {
        "type": "urn:sdn:problem:fault",
        "title": "A fault in sdn",
        "status": 500,
        "detail": f"{type(error).__name__}: {error}",
        "remedy": "the log of the api process shows where: sdn logs api",
    }
    return Response(encode(body), HTTPStatus.INTERNAL_SERVER_ERROR, media_type=MEDIA_TYPE)
