"""What a switch has counted: of its ports, of its tables, of those flows that drop.

Enters: a session. Leaves: counters by OpenFlow port number or table, and statistics of flows. Never: a dump of all
flows: 40,000 of them take a second to read, those that can drop are some 20 in every switch and a few for each port.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

from datapath.openflow.codec import V13, FlowStats, decode_flow_stats, encode_match
from datapath.openflow.flow import Match, match
from sdn.pipeline.fields import COOKIE_MARK, INPORT, LAST_ID, USER_MARK, Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.southbound.requests import Request
from sdn.southbound.session import Session

_MULTIPART: Final = Struct("!HH4x")
_ANY: Final = 0xFFFFFFFF
_FLOW, _TABLE, _PORT_STATS, _PORT_DESC = 1, 3, 4, 13
_FLOW_STATS: Final = Struct("!HH4xB3xII4xQQ")
_PORT: Final = Struct("!I4x")
EVERY_TABLE: Final = 0xFF
LAST_PORT: Final = 0xFFFFFF00
"""OFPP_MAX: above it are reserved numbers, such as the bridge's own port."""

PORT_STATS: Final = Request("PortStatsRequest", 18, _MULTIPART.pack(_PORT_STATS, 0) + _PORT.pack(_ANY))
PORT_DESC: Final = Request("PortDescRequest", 18, _MULTIPART.pack(_PORT_DESC, 0))
TABLE_STATS: Final = Request("TableStatsRequest", 18, _MULTIPART.pack(_TABLE, 0))


class Counters(NamedTuple):
    """Of a device, as its owner sees it. `dropped` is what was refused at the device: full queues, no flows yet."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    rx_errors: int
    tx_errors: int

    def turned(self) -> Counters:
        """As the other end of the wire sees it: what a switch receives its node has sent."""
        rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_errors, tx_errors = self
        return Counters(tx_packets, rx_packets, tx_bytes, rx_bytes, tx_dropped, rx_dropped, tx_errors, rx_errors)


class TableCounters(NamedTuple):
    """`lookups` are packets that came to the table, `matches` those that one of its flows took."""

    flows: int
    lookups: int
    matches: int


async def ports(session: Session) -> dict[int, Counters]:
    """By number, as the switch sees them; a counter that it does not keep is 0. Raises TransientError."""
    found: dict[int, Counters] = {}
    parse = _ports_13 if session.version == V13 else _ports_14
    await session.multipart(PORT_STATS, lambda body: found.update(parse(body)))
    return found


async def links(session: Session) -> dict[int, bool]:
    """Whether there is a carrier, by port number. Raises TransientError."""
    found: dict[int, bool] = {}
    fixed = _DESC_13.size if session.version == V13 else 0
    await session.multipart(PORT_DESC, lambda body: found.update(_descriptions(body, fixed)))
    return found


async def tables(session: Session) -> dict[int, TableCounters]:
    """Raises TransientError."""
    found: dict[int, TableCounters] = {}

    def part(body: bytes) -> None:
        entries = (_unpacked(_TABLE_STATS, body, offset) for offset in range(0, len(body), _TABLE_STATS.size))
        found.update((table, TableCounters(*counted)) for table, *counted in entries)

    await session.multipart(TABLE_STATS, part)
    return found


async def drops(session: Session, chassis: int) -> list[FlowStats]:
    """Flows that drop: those about the chassis, those of local ports in table `answer`, and of users. `chassis` is its
    id. Raises TransientError."""
    found: list[FlowStats] = []
    for request in _may_drop(chassis):
        await session.multipart(request, lambda body: found.extend(decode_flow_stats(body, session.version)))
    return [each for each in found if not each.flow.actions and each.flow.goto is None]


def _may_drop(chassis: int) -> Iterator[Request]:
    """A flow is told where its match is as narrow as the question's or narrower (OpenFlow 1.4 section 7.3.5.2): to ask
    for the highest bit of register `inport`, which no id has, is to ask for flows that know the port."""
    yield flow_stats(cookie=Cookie(Kind.CHASSIS, chassis).pack(), mask=0xFFFFFFFF_FFFFFFFF)
    known_port = match(**{INPORT: (0, LAST_ID + 1)})
    yield flow_stats(Table.ANSWER, known_port, COOKIE_MARK << 48 | Kind.PORT << 40, 0xFFFFFF << 40)
    yield flow_stats(cookie=USER_MARK << 48, mask=0xFFFF << 48)


def flow_stats(table: int = EVERY_TABLE, wanted: Match = (), cookie: int = 0, mask: int = 0) -> Request:
    """For `multipart`: the flows of a table, with such a match or a narrower one, and with this cookie where `mask` has
    ones."""
    body = _FLOW_STATS.pack(_FLOW, 0, table, _ANY, _ANY, cookie, mask) + encode_match(wanted)
    return Request("FlowStatsRequest", 18, body)


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_STATS_13: Final = Struct("!I4x8Q40x")
"""OpenFlow 1.3 section 7.3.5.6: port, packets, bytes, dropped, errors, each received and sent; then frame errors."""
_STATS_14: Final = Struct("!H2xI8x8Q")
"""OpenFlow 1.4 section 7.3.5.6: with its length, since properties follow."""
_DESC_13: Final = Struct("!I4x6s2x16sII24x")
_DESC_14: Final = Struct("!IH2x6s2x16sII")
_TABLE_STATS: Final = Struct("!B3xIQQ")
_LINK_DOWN: Final = 1
_UNKNOWN: Final = 0xFFFFFFFF_FFFFFFFF
"""A counter that is not kept (section 7.3.5.6)."""


def _ports_13(body: bytes) -> Iterator[tuple[int, Counters]]:
    for offset in range(0, len(body), _STATS_13.size):
        port, *counted = _unpacked(_STATS_13, body, offset)
        if port <= LAST_PORT:
            yield port, _counters(counted)


def _ports_14(body: bytes) -> Iterator[tuple[int, Counters]]:
    offset = 0
    while offset < len(body):
        size, port, *counted = _unpacked(_STATS_14, body, offset)
        if port <= LAST_PORT:
            yield port, _counters(counted)
        offset += max(size, _STATS_14.size)


def _counters(counted: list[int]) -> Counters:
    return Counters(*(0 if value == _UNKNOWN else value for value in counted))


def _descriptions(body: bytes, fixed: int) -> Iterator[tuple[int, bool]]:
    """`fixed` is the size of a description that does not tell it (OpenFlow 1.3)."""
    if fixed:
        for offset in range(0, len(body), fixed):
            port, _, _, _, state = _unpacked(_DESC_13, body, offset)
            yield port, not state & _LINK_DOWN
        return
    offset = 0
    while offset < len(body):
        port, size, _, _, _, state = _unpacked(_DESC_14, body, offset)
        yield port, not state & _LINK_DOWN
        offset += max(size, _DESC_14.size)


def _unpacked(form: Struct, body: bytes, offset: int) -> tuple[Any, ...]:
    """Raises ValueError, which ends the session that sent it."""
    if offset + form.size > len(body):
        raise ValueError("statistics are cut short")
    return form.unpack_from(body, offset)
