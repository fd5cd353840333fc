"""What switches count, in OpenFlow 1.3 and 1.4: our questions are os-ken's, of their answers nothing is mixed up."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest

from datapath.openflow.codec import encode_flow_mod, encode_match
from datapath.openflow.flow import Flow, Output, match
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK, Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.southbound import counters, messages
from sdn.southbound.counters import Counters, TableCounters
from sdn.southbound.requests import Request
from sdn.southbound.session import Session

V13, V14 = 4, 5
ANY = 0xFFFFFFFF
KNOWN = (11, 12, 13, 14, 15, 16, 17, 18)
UNKNOWN = (1 << 64) - 1
LOCAL = 0xFFFFFFFE


class Script:
    """A session with a switch that answers a question, by its multipart type, with these bodies."""

    def __init__(self, version: int, *bodies: bytes) -> None:
        self.version = version
        self.bodies = bodies
        self.asked: list[Request] = []

    async def multipart(self, request: Request, each: Callable[[bytes], None]) -> None:
        self.asked.append(request)
        for body in self.bodies:
            each(body)


def session(version: int, *bodies: bytes) -> Session:
    return cast(Session, Script(version, *bodies))


def port(version: int, number: int, counted: tuple[int, ...]) -> bytes:
    if version == V13:
        return struct.pack("!I4x8Q4QII", number, *counted, 0, 0, 0, 0, 1, 2)
    ethernet = struct.pack("!HH4x4Q", 0, 40, 1, 2, 3, 4)  # a property: OFPPSPT_ETHERNET
    return struct.pack("!H2xIII8Q", 80 + len(ethernet), number, 1, 2, *counted) + ethernet


def description(version: int, number: int, state: int) -> bytes:
    if version == V13:
        return struct.pack("!I4x6s2x16sII6I", number, b"\2" * 6, b"eth0", 0, state, *range(6))
    return struct.pack("!IH2x6s2x16sII", number, 72, b"\2" * 6, b"eth0", 0, state) + bytes(32)


@pytest.mark.parametrize("version", [V13, V14])
def test_questions(version: int) -> None:
    codec = messages.dialect(version)
    parser, any_port = codec.ofproto_parser, codec.ofproto.OFPP_ANY
    for ours, theirs in (
        (counters.PORT_STATS, parser.OFPPortStatsRequest(codec, 0, any_port)),
        (counters.TABLE_STATS, parser.OFPTableStatsRequest(codec, 0)),
    ):
        assert ours.encode(version, 77) == messages.encode(theirs, 77)
    if version == V13:  # os-ken's 1.4 asks for one port, as 1.5 does: Open vSwitch takes that for nothing more
        assert counters.PORT_DESC.encode(version, 77) == messages.encode(parser.OFPPortDescStatsRequest(codec, 0), 77)


@pytest.mark.parametrize("version", [V13, V14])
async def test_ports(version: int) -> None:
    parts = port(version, 1, KNOWN) + port(version, 64, (*KNOWN[:6], UNKNOWN, UNKNOWN)), port(version, LOCAL, KNOWN)
    found = await counters.ports(session(version, *parts))
    assert found == {1: Counters(*KNOWN), 64: Counters(*KNOWN[:6], 0, 0)}
    assert found[1].turned() == Counters(12, 11, 14, 13, 16, 15, 18, 17)
    assert found[1].turned().turned() == found[1]


@pytest.mark.parametrize("version", [V13, V14])
async def test_links(version: int) -> None:
    down, live = 1, 4
    body = description(version, 1, live) + description(version, 2, down) + description(version, LOCAL, 0)
    assert await counters.links(session(version, body)) == {1: True, 2: False, LOCAL: True}


async def test_tables() -> None:
    body = struct.pack("!B3xIQQ", 0, 5, 100, 90) + struct.pack("!B3xIQQ", 8, 0, 7, 7)
    assert await counters.tables(session(V14, body)) == {0: TableCounters(5, 100, 90), 8: TableCounters(0, 7, 7)}


@pytest.mark.parametrize("version", [V13, V14])
@pytest.mark.parametrize("ask", [counters.ports, counters.links, counters.tables])
async def test_a_reply_that_is_cut_short(ask: Callable[[Session], Any], version: int) -> None:
    whole = {
        counters.ports: port(version, 1, KNOWN),
        counters.links: description(version, 1, 0),
        counters.tables: struct.pack("!B3xIQQ", 0, 5, 100, 90),
    }[ask]
    for size in range(1, min(len(whole), 40)):
        with pytest.raises(ValueError, match="cut short"):
            await asyncio.wait_for(ask(session(version, whole[:size])), 1)


def flow_stats(flow: Flow, packets: int) -> bytes:
    """As a switch dumps it: the instructions are those of the flow-mod that made it."""
    made = encode_flow_mod(flow, 0, 1, V14)
    wanted = encode_match(flow.match)
    instructions = made[48 + len(wanted) :]
    head = struct.pack(
        "!HBxIIHHHHHxxQQQ", 48 + len(wanted) + len(instructions), flow.table, 1, 0, flow.priority, 0, 0, 0, 0,
        flow.cookie, packets, packets * 60,
    )  # fmt: skip
    return head + wanted + instructions


async def test_only_flows_that_drop() -> None:
    drop = Flow(Table.FORWARD, 0, match(), cookie=Cookie(Kind.CHASSIS, 16).pack())
    others = [drop._replace(priority=1, goto=Table.OUTPUT), drop._replace(priority=2, actions=(Output(1),))]
    bodies = [flow_stats(flow, 9) for flow in (drop, *others)]
    script = Script(V14, *bodies)
    found = await counters.drops(cast(Session, script), 16)
    assert [(each.flow.priority, each.packets) for each in found] == [(0, 9)] * len(script.asked)


async def test_what_is_asked_for_drops() -> None:
    """Never everything: each question is for a cookie."""
    script = Script(V14)
    await counters.drops(cast(Session, script), 16)
    filters = [struct.unpack_from("!8xB3xII4xQQ", request.body) for request in script.asked]
    assert filters == [
        (0xFF, ANY, ANY, Cookie(Kind.CHASSIS, 16).pack(), UNKNOWN),
        (Table.ANSWER, ANY, ANY, COOKIE_MARK << 48 | Kind.PORT << 40, 0xFFFFFF << 40),
        (0xFF, ANY, ANY, USER_MARK << 48, 0xFFFF << 48),
    ]
