"""Where the API listens, and what that means for who may ask.

Enters: an address as it is typed; the headers of a request. Leaves: a Listener; why a request is not a browser's own.

    unix:/path        root of this machine, who alone can open it: no token
    loopback          no token, unless asked for; the browser is not to be somebody else's tool (see `strangeness`)
    any other         TLS and a token, always
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from datapath.errors import FileError

REMEDY: Final = "such as 127.0.0.1:8080, [::1]:8080 or unix:/run/sdn.sock"


@dataclass(frozen=True, slots=True)
class Listener:
    """`path` for a unix socket; else an address and a port, 0 for any that is free."""

    address: IPv4Address | IPv6Address | None
    port: int = 0
    path: Path | None = None
    tls: bool = False
    token: bool = False
    """Whether one is needed."""

    @property
    def is_loopback(self) -> bool:
        return self.address is not None and self.address.is_loopback

    @property
    def url(self) -> str:
        """Of the page; for a unix socket where it is. An address that stands for all is shown as it is."""
        if self.address is None:
            return f"unix:{self.path}"
        host = f"[{self.address}]" if isinstance(self.address, IPv6Address) else str(self.address)
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"


def parse(text: str) -> Listener:
    """What `--listen` says. Raises FileError."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise FileError(f"{text} is no absolute path", remedy=REMEDY)
        return Listener(None, path=path)
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 0xFFFF:
        raise FileError(f"{text!r} is no address with a port", remedy=REMEDY)
    address = _address(host)
    if address is None:
        raise FileError(f"{host!r} is no address of this machine", remedy=REMEDY)
    return Listener(address, int(port))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Names mean what a resolver says today; only this one is sure (RFC 6761 section 6.3)."""
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        found = ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        return None
    return found if isinstance(found, IPv6Address) == is_bracketed else None


def strangeness(listener: Listener, headers: Mapping[bytes, bytes]) -> str:
    """Why a request is not to be answered: a page of another site is behind it. '' where all is well.

    A name of the attacker's that resolves to 127.0.0.1 (DNS rebinding) is in Host, where no token would have kept it
    away. A page that only sends (CSRF), or opens a websocket, which no same-origin policy stops, has its own name in
    Origin (RFC 6454 section 7); programs send none.
    """
    if listener.path is not None:
        return ""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if not listener.token and not is_loopback_host(host):
        return f"the request is for host {host[:80]!r}, which is not this machine's loopback"
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
        return f"the request comes from a page of {origin.decode('latin-1')[:80]!r}, which is not ours"
    return ""


def is_loopback_host(host: str) -> bool:
    """Of a Host header, with or without a port, which may be that of a forwarded one: `ssh -L`."""
    name, separator, port = host.rpartition(":")
    if not separator or not port.isdecimal() or name.endswith(":"):
        name = host
    if name == "localhost":
        return True
    address = _address(name)
    return address is not None and address.is_loopback
