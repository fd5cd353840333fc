"""The gate: who asks, whether they may, how much and how often. ASGI, in front of the app.

Enters: every request and websocket. Leaves: those that are admitted, with `scope["sdn.caller"]`; to the others problem
details (RFC 9457). Never: a body read, a look at what is asked for beyond method, path, headers, and
whether it is a dry run.

    how long? ─▶ strange? ─▶ who? ─▶ how often? ─▶ may they? ─▶ how large? ─▶ app ─▶ answer with safe headers ─▶ audit
      414          403         401       429           403          413

A token or session that is revoked or expires while a stream is open ends the stream within WATCH seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from datapath.errors import SdnError
from sdn.api import connections, refusals
from sdn.api.audit import Audit, Entry
from sdn.api.caller import NOBODY, SCOPE, Caller, Role
from sdn.api.limits import (
    ASKING,
    FAILING,
    NOTED,
    STREAMS,
    STREAMS_OF_ONE,
    TARGET,
    Buckets,
    Rate,
    body_limit,
    neighbourhood,
)
from sdn.api.listeners import Listener, strangeness
from sdn.api.passage import GOING_AWAY, OPENED, POLICY_VIOLATION, Passage, refuse
from sdn.api.refusals import Refusal
from sdn.api.roles import RoleOf, is_dry, roles_of
from sdn.api.sessions import GATE, LISTENER, TOKEN, Sessions, cookie_of
from sdn.api.tokens import InvalidTokenError, Token, Tokens
from sdn.author import author

if TYPE_CHECKING:
    from fastapi import FastAPI

LOG = logging.getLogger(__name__)
WATCH: Final = 1.0
"""Seconds between looks at the tokens of open streams: expiry tells nobody, and a stat(2) costs a microsecond."""
AUTHOR: Final = b"sdn-author"
"""A header, believed on the unix socket only: for whom root asks."""
_BEARER: Final = "bearer "
_LONGEST_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class Admitted:
    """`holds` says whether what was shown still does; None where nothing had to be. `body` in bytes."""

    caller: Caller
    token: Token | None
    holds: Callable[[], bool] | None
    body: int


Headers = dict[bytes, bytes]


class Gate:
    """Of one server process. `in_front_of` makes one for each place that it listens at; they share what they know."""

    def __init__(
        self,
        tokens: Tokens,
        audit: Audit,
        *,
        streams: int = STREAMS,
        streams_of_one: int = STREAMS_OF_ONE,
        asking: Rate = ASKING,
    ) -> None:
        self.sessions = Sessions()
        self._tokens = tokens
        self._audit = audit
        self._most, self._most_of_one = streams, streams_of_one
        self._rate = asking
        self._asking, self._failing = Buckets(asking), Buckets(FAILING)
        self._noted = Buckets(NOTED)
        self._unnoted: dict[str, int] = {}
        self._users = connections.trusted()
        self._streams: set[Passage] = set()
        self._watch: asyncio.Task[None] | None = None
        self._own = author()

    def in_front_of(self, app: FastAPI, listener: Listener) -> ASGIApp:
        """When all routes are in the app."""
        role_of = roles_of(app)

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return
            await self._serve(app, listener, role_of, scope, receive, send)

        return gated

    def close(self) -> None:
        """The server ends: streams end now. Nothing else is waited for but answers that are on their way."""
        for passage in list(self._streams):
            passage.end(GOING_AWAY, "the server ends")
        self._audit.close()

    # One request

    async def _serve(
        self, app: ASGIApp, listener: Listener, role_of: RoleOf, scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = time.monotonic()
        headers: Headers = dict(scope["headers"])
        scope[GATE], scope[LISTENER] = self, listener
        try:
            admitted = self._admit(listener, role_of, scope, headers)
        except Refusal as refusal:
            self._note(scope, started, refusal.status, refusal=refusal)
            await refuse(scope, send, refusal)
            return
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        await Passage(self, admitted, scope, receive, send).go(app, has_body)

    def _admit(self, listener: Listener, role_of: RoleOf, scope: Scope, headers: Headers) -> Admitted:
        """Raises Refusal."""
        method, path = scope.get("method", "GET"), scope["path"]
        limit = body_limit(method, path)
        if listener.path is not None:
            if _is_too_long(scope):
                raise refusals.too_long(TARGET)
            name = headers.get(AUTHOR, b"").decode("latin-1")[:_LONGEST_NAME]
            admitted = Admitted(Caller(name or "root", Role.ADMIN, is_local=True), None, None, limit)
        else:
            admitted = self._admit_over_tcp(listener, role_of, scope, headers, limit)
        scope[SCOPE], scope[TOKEN] = admitted.caller, admitted.token
        dry = is_dry(scope.get("query_string", b""))
        needed = role_of(scope["type"], method, path, dry=dry, remember=admitted.caller.is_known)
        if needed is not None and admitted.caller.role < needed:
            raise refusals.too_weak(admitted.caller, needed)
        if headers.get(b"content-length", b"").isdigit() and int(headers[b"content-length"]) > limit:
            raise refusals.too_large(limit)
        return admitted

    def _admit_over_tcp(
        self, listener: Listener, role_of: RoleOf, scope: Scope, headers: Headers, limit: int
    ) -> Admitted:
        peer = neighbourhood(_peer(scope))
        try:
            if _is_too_long(scope):
                raise refusals.too_long(TARGET)
            if why := strangeness(listener, headers):
                raise refusals.strange(why)
            admitted = self._who(listener, role_of, scope, headers, limit)
        except Refusal:
            if wait := self._failing.take(peer):
                raise refusals.too_many(wait, "too many requests that were refused") from None
            raise
        if wait := self._asking.take(f"token {admitted.token.id}" if admitted.token else peer):
            raise refusals.too_many(wait, f"more than {self._rate.rate:g} requests a second")
        return admitted

    def _who(self, listener: Listener, role_of: RoleOf, scope: Scope, headers: Headers, limit: int) -> Admitted:
        """Of what is public nobody is refused. Raises Refusal."""
        try:
            return self._recognise(listener, scope, headers, limit)
        except Refusal:
            if role_of(scope["type"], scope.get("method", "GET"), scope["path"]) is not None:
                raise
            return Admitted(NOBODY, None, None, limit)

    def _recognise(self, listener: Listener, scope: Scope, headers: Headers, limit: int) -> Admitted:
        """Raises Refusal."""
        said = headers.get(b"authorization", b"").decode("latin-1")
        try:
            if said[: len(_BEARER)].lower() == _BEARER:
                token = self._tokens.check(said[len(_BEARER) :].strip())
                return Admitted(Caller(token.name, token.role), token, lambda: self._is_valid(token.id), limit)
            if said:
                raise refusals.no_token()
            if found := self._of_session(cookie_of(listener, headers.get(b"cookie")), limit):
                return found
        except InvalidTokenError as error:
            raise refusals.bad_token(error) from None
        except SdnError as error:
            LOG.error("%s", error)
            raise refusals.no_tokens(error) from None
        if listener.token:
            raise refusals.no_token()
        connection = connections.of(scope)
        if connection is None or connection.user not in self._users:
            raise refusals.other_user(listener.port)
        return Admitted(Caller(self._own, Role.ADMIN), None, None, limit)

    def _of_session(self, cookie: str, limit: int) -> Admitted | None:
        session = self.sessions.find(cookie) if cookie else None
        token = self._tokens.valid(session.token) if session else None
        if token is None:
            return None

        def holds() -> bool:
            return self.sessions.find(cookie) is not None and self._is_valid(token.id)

        return Admitted(Caller(token.name, token.role), token, holds, limit)

    def _is_valid(self, number: str) -> bool:
        """A file that cannot be read vouches for nobody."""
        try:
            return self._tokens.valid(number) is not None
        except SdnError as error:
            LOG.error("%s", error)
        except Exception:  # whatever it is: streams shall not outlive their tokens by it
            LOG.exception("tokens cannot be looked at")
        return False

    # Streams

    def opened(self, passage: Passage) -> bool:
        """False where there are too many, or too many of the same token."""
        token = passage.admitted.token
        of_one = sum(1 for each in self._streams if each.admitted.token == token) if token else 0
        if len(self._streams) >= self._most or of_one >= self._most_of_one:
            return False
        self._streams.add(passage)
        if passage.admitted.holds and (self._watch is None or self._watch.done()):
            self._watch = asyncio.create_task(self._watch_streams())
        return True

    def closed(self, passage: Passage) -> None:
        self._streams.discard(passage)

    async def _watch_streams(self) -> None:
        """As long as there are any that depend on a token."""
        while watched := [each for each in self._streams if each.admitted.holds]:
            for passage in watched:
                if passage.admitted.holds and not passage.admitted.holds():
                    passage.end(POLICY_VIOLATION, "the token is not valid any more")
            await asyncio.sleep(WATCH)

    # The audit log

    def note(self, passage: Passage, what: str = "") -> None:
        """`what` has happened to a websocket."""
        passage.owed = what == OPENED
        self._note(passage.scope, passage.started, passage.status, passage.revision, passage.refusal, what)

    def _note(
        self,
        scope: Scope,
        started: float,
        status: int,
        revision: int | None = None,
        refusal: Refusal | None = None,
        what: str = "",
    ) -> None:
        caller: Caller | None = scope.get(SCOPE)
        caller = caller if caller and caller.is_known else None
        if refusal and not self._is_noted(refusal, scope):
            return
        query = scope.get("query_string", b"").decode("latin-1")
        entry = Entry(
            caller=caller.name if caller else "",
            role=caller.role.label if caller else "",
            peer=_peer(scope) or "unix",
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"] + (f"?{query}" if query else ""),
            status=status,
            seconds=time.monotonic() - started,
            revision=revision,
            why=refusal.why if refusal else "",
            what=what,
            more=self._unnoted.pop(_token_of(scope), 0) if refusal else 0,
        )
        self._audit.write(entry)

    def _is_noted(self, refusal: Refusal, scope: Scope) -> bool:
        """Who has a token may not push out of the log what others have done, either."""
        if not refusal.is_audited:
            return False
        token = _token_of(scope)
        if not token or not self._noted.take(token):
            return True
        self._unnoted[token] = self._unnoted.get(token, 0) + 1
        return False


def _token_of(scope: Scope) -> str:
    """The id of what was shown and is valid; '' without."""
    token: Token | None = scope.get(TOKEN)
    return token.id if token else ""


def _is_too_long(scope: Scope) -> bool:
    return len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b"")) > TARGET


def _peer(scope: Scope) -> str:
    """'' on a unix socket."""
    client = scope.get("client")
    return client[0] if client else ""
