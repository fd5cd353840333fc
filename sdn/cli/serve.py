"""`serve`: the API and the page of a lab on TCP, in the foreground.

Enters: where to listen. Leaves: answers until ^C. Never: an address open to others without TLS and a token.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datapath.errors import ConflictError, FileError
from sdn import lab
from sdn.cli import output, target
from sdn.cli.output import ACCENT, SOFT
from sdn.lab.rundir import RunDir

if TYPE_CHECKING:
    from sdn.api.listeners import Listener
    from sdn.api.server import Place

DEFAULT: Final = "127.0.0.1:8080"
_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Wanted:
    listen: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    require_token: bool
    rate: float = 200.0


def serve(wanted_lab: str | None, wanted: Wanted) -> None:
    """Raises FileError where it would be open to others, MachineError where an address cannot be had."""
    name = target.lab_of(wanted_lab)
    if not lab.is_running(name):
        raise FileError(f"lab {name} is not running", remedy="bring it up with: sdn up FILE")
    context = _tls(wanted)
    listeners = [_listener(text, wanted, context) for text in wanted.listen or (DEFAULT,)]
    _log()
    with _places(listeners, context) as places:
        from sdn.api import server
        from sdn.api.limits import Rate

        server.run(RunDir(name), places, lambda: _say(name, places), Rate.of(wanted.rate))


def _tls(wanted: Wanted) -> ssl.SSLContext | None:
    from sdn.api import tls

    if wanted.certificate is None and wanted.key is None:
        return None
    if wanted.certificate is None or wanted.key is None:
        raise FileError("--tls-cert and --tls-key belong together", remedy="give both")
    return tls.context(wanted.certificate, wanted.key)


def _listener(text: str, wanted: Wanted, context: ssl.SSLContext | None) -> Listener:
    from sdn.api import tls
    from sdn.api.listeners import parse

    found = parse(text)
    if found.path is not None:
        return found
    if not found.is_loopback and context is None:
        kind = "DNS" if found.address is None or found.address.is_unspecified else "IP"
        host = socket.gethostname() if kind == "DNS" else found.address
        remedy = tls.EXAMPLE.format(host=host, kind=kind, listen=text)
        raise FileError(f"{text} is open to others: that needs TLS, and then a token", remedy=remedy)
    return replace(found, tls=context is not None, token=wanted.require_token or not found.is_loopback)


@contextmanager
def _places(listeners: Sequence[Listener], context: ssl.SSLContext | None) -> Iterator[list[Place]]:
    """Open sockets, with the ports that they got. Those with a path go when done."""
    from sdn.api.server import Place

    places: list[Place] = []
    try:
        for listener in listeners:
            opened = _opened(listener)
            if listener.path is None:
                listener = replace(listener, port=opened.getsockname()[1])
            places.append(Place(listener, opened, context if listener.tls else None))
        yield places
    finally:
        for place in places:
            place.socket.close()
            if place.listener.path is not None:
                place.listener.path.unlink(missing_ok=True)


def _opened(listener: Listener) -> socket.socket:
    """Raises ConflictError, FileError."""
    if listener.path is not None:
        return _opened_path(listener.path)
    family = socket.AF_INET6 if isinstance(listener.address, IPv6Address) else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio sets no TCP_NODELAY
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind((str(listener.address), listener.port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise ConflictError(
            f"cannot listen on {listener.url}: {error.strerror}", remedy="another port: --listen 127.0.0.1:8081"
        ) from error
    return made


def _opened_path(path: Path) -> socket.socket:
    """A socket that nobody listens on any more is taken over; anything else that is there is not ours."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise ConflictError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return made


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _log() -> None:
    """What the server has to say that is no answer goes to stderr."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=os.environ.get("SDN_LOG", "WARNING").upper(), format="%(message)s")


def _say(name: str, places: Sequence[Place]) -> None:
    output.say(f"lab {name} is served until ^C:")
    for place in places:
        _say_place(place.listener)
    sys.stdout.flush()


def _say_place(listener: Listener) -> None:
    if listener.path is not None:
        output.say(f"  {output.paint(listener.url, ACCENT)}")
        output.say(output.paint(f"    curl --unix-socket {listener.path} http://sdn/v1/ports", SOFT))
        return
    header = "-H 'Authorization: Bearer sdn_…' " if listener.token else ""
    output.say(f"  {output.paint(listener.url, ACCENT)}")
    output.say(output.paint(f"    curl {'--cacert FILE ' if listener.tls else ''}{header}{listener.url}v1/ports", SOFT))
    if listener.token:
        output.say(output.paint("    a token is needed: sdn token create NAME --role read|operate|admin", SOFT))
    else:
        output.say(output.paint("    root and you may use it without a token; for other users: --require-token", SOFT))
