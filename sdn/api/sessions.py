"""Sessions of the page: a browser's EventSource and WebSocket send no Authorization header, but they send cookies.

Enters: a token that was shown once, `POST /v1/session`. Leaves: a cookie that stands for it, here, for a while. Never:
the token or its secret in the browser's storage.

No script can read the cookie (HttpOnly), no other site's page makes the browser send it (SameSite=Strict), it goes over
TLS only where there is TLS (Secure, __Host-: RFC 6265bis section 4.1.3). SameSite does not tell ports of localhost
apart: Origin does, which the gate compares with Host.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from sdn.api.caller import Role, caller

if TYPE_CHECKING:
    from sdn.api.listeners import Listener
    from sdn.api.tokens import Token

LIFETIME: Final = 12 * 3600.0
"""Seconds; never longer than the token's."""
_MOST, _MOST_OF_ONE = 1024, 64
"""Sessions: of all tokens, of one. The oldest goes: that of the token itself, or of the one that has most."""
_SECRET_BYTES: Final = 32
GATE, TOKEN, LISTENER = "sdn.gate", "sdn.token", "sdn.listener"
"""In the scope: the sessions are the gate's."""


@dataclass(frozen=True, slots=True)
class Session:
    token: str
    """Its id."""
    expires: float


class Sessions:
    """In memory: they end with the process."""

    def __init__(self) -> None:
        self._known: dict[bytes, Session] = {}

    def open(self, token: Token) -> tuple[str, Session]:
        now = time.time()
        self._known = {key: each for key, each in self._known.items() if each.expires > now}
        of = Counter(each.token for each in self._known.values())
        if of[token.id] >= _MOST_OF_ONE:
            self._drop_oldest(token.id)
        elif len(self._known) >= _MOST:
            self._drop_oldest(of.most_common(1)[0][0])
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        session = self._known[_key(secret)] = Session(token.id, min(now + LIFETIME, token.expires or float("inf")))
        return secret, session

    def _drop_oldest(self, token: str) -> None:
        del self._known[next(key for key, each in self._known.items() if each.token == token)]

    def find(self, secret: str) -> Session | None:
        found = self._known.get(_key(secret))
        return found if found and found.expires > time.time() else None

    def close(self, secret: str) -> None:
        self._known.pop(_key(secret), None)


def _key(secret: str) -> bytes:
    """What a dictionary looks for is compared byte by byte: not the secret itself."""
    return hashlib.sha256(secret.encode()).digest()


def cookie_name(listener: Listener) -> str:
    """Cookies know no ports: two servers of one machine have two names."""
    return "__Host-sdn" if listener.tls else f"sdn-{listener.port}"


def cookie_of(listener: Listener, header: bytes | None) -> str:
    """'' without one."""
    if header is None:
        return ""
    name = cookie_name(listener) + "="
    parts = (part.strip() for part in header.decode("latin-1").split(";"))
    return next((part[len(name) :] for part in parts if part.startswith(name)), "")


_TOLD: Final = {
    "type": "object",
    "required": ["name", "role", "expires", "token_needed"],
    "properties": {
        "name": {"type": "string"},
        "role": {"type": "string", "enum": [role.label for role in Role]},
        "expires": {"type": ["number", "null"], "description": "When the token does, in seconds since the epoch."},
        "token_needed": {"type": "boolean", "description": "Whether one is, here."},
    },
}


def router() -> APIRouter:
    from sdn.api import openapi

    made = APIRouter(tags=["session"])
    who = {**openapi.refusals(), **openapi.found("Who asks", _TOLD)}
    ended: dict[int | str, dict[str, Any]] = {**openapi.refusals(), 204: {"description": "It is ended"}}
    for method, endpoint, summary, answers in (
        ("GET", _look, "Who asks, and what they may", who),
        ("POST", _open, "Have a cookie instead of the token", who),
        ("DELETE", _close, "End the session", ended),
    ):
        made.add_api_route(
            "/v1/session",
            endpoint,
            methods=[method],
            summary=summary,
            status_code=min(status for status in answers if isinstance(status, int)),
            response_class=Response,
            responses=answers,
            openapi_extra={"x-sdn-role": "read"},
        )
    return made


async def _look(request: Request) -> Response:
    from sdn.api.answer import answer

    return answer(_told(request))


async def _open(request: Request) -> Response:
    """The token is in the Authorization header, as always. Where none is needed there is no cookie either."""
    from sdn.api.answer import answer

    response = answer(_told(request))
    token: Token | None = request.scope.get(TOKEN)
    if token is not None:
        secret, session = _sessions(request.scope).open(token)
        _set_cookie(request, response, secret, round(session.expires - time.time()))
    return response


async def _close(request: Request) -> Response:
    secret = cookie_of(request.scope[LISTENER], request.headers.get("cookie", "").encode("latin-1"))
    _sessions(request.scope).close(secret)
    response = Response(status_code=204)
    _set_cookie(request, response, "", 0)
    return response


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    listener: Listener = request.scope[LISTENER]
    response.set_cookie(
        cookie_name(listener), value, seconds, path="/", secure=listener.tls, httponly=True, samesite="strict"
    )


def _told(request: Request) -> dict[str, object]:
    token: Token | None = request.scope.get(TOKEN)
    who = caller(request)
    listener: Listener = request.scope[LISTENER]
    expires = token.expires if token else None
    return {"name": who.name, "role": who.role.label, "expires": expires, "token_needed": listener.token}


def _sessions(scope: Scope) -> Sessions:
    found: Sessions = scope[GATE].sessions
    return found
