"""Where the API is, and how it is asked: httpx, over the lab's socket or over TLS.

Enters: a lab's name, or an address and a token. Leaves: answers as JSON, errors as they were on the other side. Never:
a token sent without TLS, but to this machine.

    SDN_API=https://host:8443  SDN_TOKEN=sdn_…  SDN_CA=ca.pem    another machine; the CA where it is not a public one
"""

from __future__ import annotations

import os
import ssl
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import orjson

from datapath.errors import FileError, TransientError
from sdn import author
from sdn.client import problems
from sdn.problems import MEDIA_TYPE

if TYPE_CHECKING:
    import httpx

API: Final = "SDN_API"
TOKEN: Final = "SDN_TOKEN"  # noqa: S105  # the name of a variable
CA: Final = "SDN_CA"
ANSWER: Final = 30.0
"""Seconds that an answer may take that waits for nothing."""
CONNECT: Final = 5.0
OPENINGS: Final = 3
"""Tries at a socket that is just being opened, 0, 0.5 and 1 s after each other."""
LONGEST_ORIGIN: Final = 2000
"""Characters of a command line; headers have an end."""
_PLAIN: Final = string.punctuation.replace("%", "") + " "
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

Answer = tuple[Any, Mapping[str, str]]
"""The value, and the headers."""


@dataclass(frozen=True, slots=True)
class Place:
    """A unix socket, or an address with what one needs there."""

    socket: Path | None = None
    url: str = ""
    token: str = ""
    ca: str = ""

    def __str__(self) -> str:
        return self.url or str(self.socket)


def place(url: str, token: str | None = None, ca: str | None = None) -> Place:
    """An address as it is typed; token and CA from the environment where they are not given. Raises FileError."""
    if url.startswith("unix:"):
        return Place(Path(url.removeprefix("unix:")))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FileError(f"{url!r} is no address of an API", remedy="such as https://host:8443 or unix:/run/sdn.sock")
    found = Place(None, url.rstrip("/"), token or os.environ.get(TOKEN, ""), ca or os.environ.get(CA, ""))
    if found.token and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise FileError(f"a token is not sent to {url} in the clear", remedy=f"use https://{parts.netloc}")
    return found


class Wire:
    """An open connection, or several. Close it when done."""

    def __init__(self, place: Place, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self.place = place
        self._http = httpx.Client(
            transport=transport or _transport(place),
            base_url=place.url or "http://lab",
            headers=_headers(place),
            timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, *, seconds: float = 0.0, headers: Mapping[str, str] = _NONE, **how: Any
    ) -> Answer:
        """`seconds` is how long the answer is meant to take. Raises every kind of SdnError."""
        import httpx

        with self._understood():
            timeout = httpx.Timeout(ANSWER + seconds, connect=CONNECT)
            told = {**headers, **_origin(self.place)}
            answer = self._http.request(method, path, timeout=timeout, headers=told, **how)
        _check(answer)
        return (orjson.loads(answer.content) if answer.content else None), answer.headers

    @contextmanager
    def lines(self, path: str, *, silence: float, **how: Any) -> Iterator[Iterator[str]]:
        """The lines of a stream, which says something at least every `silence` seconds. Raises as `ask`."""
        import httpx

        timeout = httpx.Timeout(silence, connect=CONNECT)
        with self._understood(), self._http.stream("GET", path, timeout=timeout, **how) as answer:
            if answer.is_error:
                answer.read()
                _check(answer)
            yield answer.iter_lines()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What httpx says in our words."""
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            raise TransientError(f"the API at {self.place} did not answer in time") from error
        except httpx.TransportError as error:
            if _is_about_trust(error):
                remedy = f"{CA}=FILE names the authority that vouches for it"
                raise FileError(f"{self.place} is not trusted: {error}", remedy=remedy) from error
            raise TransientError(f"the API at {self.place} does not answer: {error}") from error


def _is_about_trust(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _transport(place: Place) -> httpx.BaseTransport:
    import httpx

    if place.socket is not None:
        return httpx.HTTPTransport(uds=str(place.socket), retries=OPENINGS)
    return httpx.HTTPTransport(verify=_trust(place.ca))


def _trust(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise FileError(f"{ca}: {error.strerror or error}", remedy=f"{CA} names a file with certificates") from error


def _headers(place: Place) -> dict[bytes, bytes]:
    """In Latin-1 (RFC 9110 section 5.5), as they are read; a user's name may have other signs."""
    if place.token:
        return {b"Authorization": f"Bearer {place.token}".encode("latin-1", "replace")}
    if place.socket is None:
        return {}
    return {author.AUTHOR_HEADER.encode(): author.author().encode("latin-1", "replace")}


def _origin(place: Place) -> dict[str, str]:
    """The command that asks. Another machine would not believe it."""
    said = author.origin() if place.socket is not None else ""
    return {author.ORIGIN_HEADER: quote(said[:LONGEST_ORIGIN], safe=_PLAIN)} if said else {}


def _check(answer: httpx.Response) -> None:
    """Raises what the answer says."""
    if answer.is_success:
        return
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        raise problems.error(answer.status_code, orjson.loads(answer.content))
    raise problems.error(answer.status_code, None, answer.reason_phrase)
