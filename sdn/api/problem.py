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

from datapath.errors import FileError, Problem, SdnError
from sdn.api.answer import encode
from sdn.problems import FAULT, MEDIA_TYPE, MalformedError, NeededError, NotFoundError, kind_of

__all__ = ["MEDIA_TYPE", "MalformedError", "NotFoundError", "add_handlers", "problem", "respond"]

LOG = logging.getLogger(__name__)
RETRY_AFTER: Final = "1"
"""Seconds; a store or switch that is away is mostly back by then."""


def problem(error: SdnError) -> tuple[int, dict[str, Any]]:
    """The status and the body."""
    kind = kind_of(error)
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": error.message,
    }
    if error.remedy:
        body["remedy"] = error.remedy
    if isinstance(error, FileError | NeededError) and error.problems:
        body["errors"] = [_mistake(each) for each in error.problems]
    return kind.status, body


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
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(Exception, _unforeseen)


def _own(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SdnError)
    return respond(error)


def of_http(_request: Request, error: Exception) -> Response:
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
        "type": FAULT.type,
        "title": FAULT.title,
        "status": FAULT.status,
        "detail": f"{type(error).__name__}: {error}",
        "remedy": "the log of the api process shows where: sdn logs api",
    }
    return Response(encode(body), FAULT.status, media_type=MEDIA_TYPE)
