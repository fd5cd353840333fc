"""How much one may ask for: sizes of bodies, requests a second, open streams.

Enters: who asks, how much. Leaves: whether it may be, and after how long again. Never: a wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from sdn.topology.nodes import MAX_CHARACTERS

BODY: Final = 4 << 20
FILES: Final = {"/v1/topology": MAX_CHARACTERS, "/v1/plan": MAX_CHARACTERS}
"""Bytes of a request's body: of one resource, and where a whole topology file is sent."""

TARGET: Final = 2048
"""Bytes of a path with its query."""

STREAMS, STREAMS_OF_ONE = 256, 32
"""Event streams and websockets that are open at once: of all, and of one token."""

SEND_SECONDS: Final = 30.0
"""For which a piece of an answer may wait for a client that does not read."""

BODY_SECONDS: Final = 60.0
"""In which a request's body has to arrive."""

_KNOWN: Final = 4096
"""Callers that are remembered: with more, those that have asked least lately are forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, then `rate` a second."""

    rate: float
    burst: float

    @classmethod
    def of(cls, rate: float) -> Rate:
        """With what a page asks for at once, when it is opened."""
        return cls(rate, 2 * rate)


ASKING: Final = Rate.of(200)
FAILING: Final = Rate(10, 10)
"""Requests of one caller over TCP; wrong tokens from one address."""
NOTED: Final = Rate(1, 10)
"""Refusals of one token in the audit log."""


class Buckets:
    """A token bucket for each who asks: it fills at `rate` up to `burst`, and each request takes one out."""

    def __init__(self, limit: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> float:
        """0.0 where it may be, else in how many seconds. A rate of 0 is no limit."""
        if not self._limit.rate:
            return 0.0
        now = self._clock()
        level, then = self._levels.pop(who, (self._limit.burst, now))
        level = min(self._limit.burst, level + (now - then) * self._limit.rate)
        allowed = level >= 1.0
        self._levels[who] = (level - 1.0 if allowed else level), now
        if len(self._levels) > _KNOWN:
            del self._levels[next(iter(self._levels))]
        return 0.0 if allowed else (1.0 - level) / self._limit.rate


def retry_after(seconds: float) -> str:
    """RFC 9110 section 10.2.3: whole seconds."""
    return str(max(1, ceil(seconds)))


def body_limit(method: str, path: str) -> int:
    return FILES.get(path, BODY) if method in ("PUT", "POST") else BODY


def neighbourhood(address: str) -> str:
    """An address, of IPv6 its /64: that is what one host gets as its own (RFC 6177), to draw addresses from."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64))
