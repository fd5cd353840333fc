"""Answers: plain values as JSON, fast. Never: a pydantic model built only to be written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import Request, Response

from datapath.errors import FileError
from sdn.problems import MalformedError

JSON: Final = "application/json"


def encode(value: Any) -> bytes:
    """JSON. What orjson does not know (addresses, enumerations) is written as text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, JSON)


async def body_of(request: Request) -> Any:
    """The request's JSON. Raises MalformedError."""
    content = await request.body()
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the request's body is not JSON: {error}") from error


async def mapping_of(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises MalformedError, and FileError for another kind of value."""
    found = await body_of(request)
    if not isinstance(found, dict):
        raise FileError("the request's body is no JSON object", remedy="send one such as {}")
    return found
