"""What the gate refuses, as RFC 9457 problem details.

Enters: why. Leaves: a Refusal with status, headers and body. Never: a hint about tokens to whoever has none.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import orjson

from datapath.errors import SdnError
from sdn.api.caller import Caller, Role
from sdn.api.limits import retry_after
from sdn.problems import KINDS, MEDIA_TYPE

Headers = list[tuple[bytes, bytes]]
_MAKE_ONE: Final = "make a token on the machine of the lab: sdn token create NAME --role read|operate|admin"


class Refusal(Exception):  # noqa: N818  # it is the answer, not a fault
    """Of a kind of `sdn.problems`, whose title is the problem's where there is no better one; `why` is its detail."""

    def __init__(
        self, name: str, why: str, *, title: str = "", remedy: str = "", headers: Headers | None = None
    ) -> None:
        super().__init__(why)
        kind = KINDS[name]
        self.status = kind.status
        self.why = why
        body: dict[str, Any] = {
            "type": kind.type,
            "title": title or kind.title,
            "status": self.status,
            "detail": why,
        }
        self.body = orjson.dumps({**body, "remedy": remedy} if remedy else body)
        length = str(len(self.body)).encode()
        self.headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", length), *(headers or [])]

    @property
    def is_audited(self) -> bool:
        """Of too many there are too many: they would push everything else out of the log."""
        return self.status != HTTPStatus.TOO_MANY_REQUESTS


def too_long(limit: int) -> Refusal:
    why = f"path and query are longer than {limit} bytes"
    return Refusal("too-long", why)


def other_user(port: int) -> Refusal:
    """On loopback without tokens, where the kernel knows whose a connection is."""
    why = "without a token only root and who started the server may ask here"
    remedy = f"sdn serve --listen 127.0.0.1:{port} --require-token, and a token: sdn token create NAME --role read"
    return Refusal("user", why, remedy=remedy)


def no_token() -> Refusal:
    why = "this needs a token: Authorization: Bearer sdn_…"
    challenge = (b"www-authenticate", b'Bearer realm="sdn"')
    return Refusal("token", why, remedy=_MAKE_ONE, headers=[challenge])


def bad_token(error: SdnError) -> Refusal:
    """RFC 6750 section 3.1."""
    words = error.message.encode("ascii", "replace").replace(b'"', b"'").replace(b"\\", b"/")
    challenge = b'Bearer realm="sdn", error="invalid_token", error_description="%b"' % words
    headers = [(b"www-authenticate", challenge)]
    title = "The token is not valid"
    return Refusal("token", error.message, title=title, remedy=_MAKE_ONE, headers=headers)


def too_weak(caller: Caller, needed: Role) -> Refusal:
    challenge = b'Bearer realm="sdn", error="insufficient_scope", scope="%b"' % needed.label.encode()
    why = f"this needs role {needed.label}; {caller.name} has role {caller.role.label}"
    remedy = f"sdn token create NAME --role {needed.label}"
    headers = [(b"www-authenticate", challenge)]
    return Refusal("role", why, remedy=remedy, headers=headers)


def strange(why: str) -> Refusal:
    return Refusal("origin", why)


def no_tokens(error: SdnError) -> Refusal:
    """Nobody can be recognised; why is in the log, and not everybody's business."""
    why = "the tokens of this machine cannot be read; the server's log says why"
    return Refusal("tokens", why, remedy=error.remedy)


def too_large(limit: int) -> Refusal:
    """The rest of the body is not read: the connection goes."""
    why = f"the body is larger than {limit} bytes"
    headers = [(b"connection", b"close")]
    return Refusal("too-large", why, headers=headers)


def too_slow(seconds: float) -> Refusal:
    why = f"the body did not arrive within {seconds:.0f} s"
    headers = [(b"connection", b"close")]
    return Refusal("too-slow", why, headers=headers)


def too_many(seconds: float, what: str) -> Refusal:
    headers = [(b"retry-after", retry_after(seconds).encode())]
    return Refusal("too-many", what, headers=headers)
