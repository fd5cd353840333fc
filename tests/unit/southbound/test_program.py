"""Bundles and steps against a scripted switch: order, refusals, a switch that goes in the middle."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from datapath.errors import RefusedError, TransientError
from datapath.openflow.codec import ADD, DELETE_STRICT
from datapath.openflow.flow import Flow, Output, SetField, Unknown, match
from sdn.southbound.messages import Type
from tests.unit.southbound import fake
from tests.unit.southbound.fake import BARRIER_REQUEST, BUNDLE_ADD, BUNDLE_CONTROL, FLOW_MOD, V13, controller

FLOWS = [Flow(0, priority, match(in_port=64), (Output(65),), cookie=priority) for priority in range(1, 4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openflow.sock"


def command_and_priority(flow_mod: bytes) -> tuple[int, int]:
    """Of an OFPT_FLOW_MOD's body (after its header)."""
    return flow_mod[17], struct.unpack_from("!H", flow_mod, 22)[0]


async def test_one_ordered_bundle_then_barrier(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(FLOWS[:1], FLOWS[1:2], FLOWS[2:]))
        heard = await switch.take_bundle()
        last = await switch.expect(BARRIER_REQUEST)
        switch.say(fake.BARRIER_REPLY, xid=last.xid)
        assert await work == 3
    assert [said.kind for said in heard] == [BUNDLE_CONTROL, *[BUNDLE_ADD] * 3, BARRIER_REQUEST, BUNDLE_CONTROL]
    controls = [struct.unpack_from("!HH", said.body, 4) for said in heard if said.kind == BUNDLE_CONTROL]
    assert controls == [(fake.OPEN, 3), (fake.COMMIT, 3)]
    flow_mods = [said for said in heard if said.kind == BUNDLE_ADD]
    inner = [command_and_priority(said.body[8 + 8 :]) for said in flow_mods]
    assert inner == [(ADD, 1), (ADD, 2), (DELETE_STRICT, 3)]
    assert all(struct.unpack_from("!I", said.body, 12) == (said.xid,) for said in flow_mods)


async def test_additions_alone_are_committed_in_one_go(path: Path) -> None:
    """What the switch refuses of them is named, and the others are there."""
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(FLOWS))
        heard = await switch.take_bundle(refuse=1)
        last = await switch.expect(BARRIER_REQUEST)
        switch.say(fake.BARRIER_REPLY, xid=last.xid)
        with pytest.raises(RefusedError, match=r"priority=2.*; all others were added$"):
            await work
    assert [said.kind for said in heard] == [BUNDLE_CONTROL, *[BUNDLE_ADD] * 3, BUNDLE_CONTROL]


async def test_nothing_to_change_is_a_barrier_alone(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program())
        asked = await switch.expect(BARRIER_REQUEST)
        switch.say(fake.BARRIER_REPLY, xid=asked.xid)
        assert await work == 0


async def test_a_refused_flow_is_named_and_the_bundle_discarded(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(FLOWS[:2], FLOWS[2:]))
        heard = await switch.take_bundle(refuse=1)
        with pytest.raises(RefusedError) as refused:
            await work
        assert struct.unpack_from("!H", heard[-1].body, 4) == (fake.DISCARD,)
        assert "hv1 refused" in str(refused.value)
        assert "priority=2" in str(refused.value)
        assert "OFPBIC_UNSUP_METADATA_MASK (OFPET_BAD_INSTRUCTION); nothing was changed" in str(refused.value)
        again = asyncio.create_task(session.program(FLOWS[:2], FLOWS[2:]))
        await switch.take_bundle()
        switch.say(fake.BARRIER_REPLY, xid=(await switch.expect(BARRIER_REQUEST)).xid)
        assert await again == 3


async def test_a_flow_without_encoding_is_named_and_the_bundle_discarded(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        bad = FLOWS[0]._replace(actions=(Unknown(b"\0\0\0\0"),))
        work = asyncio.create_task(session.program([*FLOWS, bad]))
        heard = await switch.take_bundle()
        assert struct.unpack_from("!H", heard[-1].body, 4) == (fake.DISCARD,)
        with pytest.raises(RefusedError, match="has no OpenFlow encoding"):
            await work


async def test_a_cancelled_program_is_discarded(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(FLOWS[:2], FLOWS[2:]))
        await switch.expect(BUNDLE_CONTROL)
        for _ in FLOWS:
            await switch.expect(BUNDLE_ADD)
        await switch.expect(BARRIER_REQUEST)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert struct.unpack_from("!H", (await switch.expect(BUNDLE_CONTROL)).body, 4) == (fake.DISCARD,)


async def test_the_switch_goes_in_the_middle_of_a_bundle(path: Path) -> None:
    """The rest is not even encoded."""
    taken = 0

    def endless() -> Iterator[Flow]:
        nonlocal taken
        while True:
            taken += 1
            yield Flow(0, 1, match(reg0=taken), (SetField("reg1", taken),))

    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(endless()))
        await switch.expect(BUNDLE_CONTROL)
        switch.writer.transport.abort()
        with pytest.raises(TransientError, match="hv1"):
            await asyncio.wait_for(work, 10)
        assert await c.gone.get() is session


async def test_a_slow_switch_holds_the_encoder_back(path: Path) -> None:
    """Sending begins before all is encoded, and no more is encoded than fits into the buffers."""
    taken = 0

    def counted() -> Iterator[Flow]:
        nonlocal taken
        for taken in range(1, 200_001):
            yield Flow(0, 1, match(reg0=taken), (SetField("reg1", taken),))

    async with controller(path) as c:
        switch, session = await c.connect(1)
        switch.reader._limit = 1 << 14  # asyncio's own back-pressure: read no more than twice this much ahead
        work = asyncio.create_task(session.program(counted()))
        await switch.expect(BUNDLE_CONTROL)
        before = -1
        while before != taken:
            before = taken
            for _ in range(50):
                await asyncio.sleep(0)
        assert 0 < taken < 20_000
        work.cancel()


async def test_other_messages_are_served_while_flows_stream(path: Path) -> None:
    flows = (Flow(0, 1, match(reg0=number), (SetField("reg1", number),)) for number in range(20_000))
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.program(flows))
        await switch.expect(BUNDLE_CONTROL)
        switch.say(Type.ECHO_REQUEST, b"now", xid=9)
        before_the_answer = 0
        while (await switch.hear()).kind != Type.ECHO_REPLY:
            before_the_answer += 1
        assert before_the_answer < 19_000
        work.cancel()


async def test_openflow_13_goes_step_by_step_behind_barriers(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1, V13)
        work = asyncio.create_task(session.program(FLOWS[:1], FLOWS[1:2], FLOWS[2:]))
        for expected in ((ADD, 1), (ADD, 2), (DELETE_STRICT, 3)):
            said = await switch.expect(FLOW_MOD)
            assert command_and_priority(said.body) == expected
            switch.say(fake.BARRIER_REPLY, xid=(await switch.expect(BARRIER_REQUEST)).xid)
        assert await work == 3


async def test_openflow_13_deletes_nothing_after_a_refused_addition(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1, V13)
        work = asyncio.create_task(session.program(FLOWS[:2], (), FLOWS[2:]))
        refused = [await switch.expect(FLOW_MOD) for _ in range(2)][1]
        switch.writer.write(fake.error(5, 1, refused.xid, V13))
        switch.say(fake.BARRIER_REPLY, xid=(await switch.expect(BARRIER_REQUEST)).xid)
        with pytest.raises(RefusedError, match=r"priority=2.*OFPFMFC_TABLE_FULL.*flows sent before it stay"):
            await work
        after = asyncio.create_task(switch.hear())
        await session.connection.drain()
        assert not after.done()
        after.cancel()


async def test_two_programs_wait_for_one_another(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = [asyncio.create_task(session.program([flow])) for flow in FLOWS]
        for _ in work:
            heard = await switch.take_bundle()
            assert [said.kind for said in heard] == [BUNDLE_CONTROL, BUNDLE_ADD, BUNDLE_CONTROL]
            switch.say(fake.BARRIER_REPLY, xid=(await switch.expect(BARRIER_REQUEST)).xid)
        assert await asyncio.gather(*work) == [1, 1, 1]


async def test_a_dump_in_many_parts(path: Path) -> None:
    """Flow statistics are fixed bytes (OpenFlow 1.4 section 7.3.5.2); the last part has no OFPMPF_REPLY_MORE."""
    numbers = iter(range(1000))

    def entry(number: int) -> bytes:
        head = struct.pack("!HBxIIHHH6xQQQ", 56, 3, 1, 0, number, 0, 0, number, 5, 300)
        return head + struct.pack("!HHxxxx", 1, 4)

    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.dump())
        asked = await switch.expect(fake.MULTIPART_REQUEST)
        while part := list(islice(numbers, 300)):
            more = part[-1] != 999
            switch.say(Type.MULTIPART_REPLY, struct.pack("!HH4x", 1, more) + b"".join(map(entry, part)), asked.xid)
        flows = await work
    assert len(flows) == 1000
    assert {stats.flow.cookie for stats in flows.values()} == set(range(1000))


async def test_a_dump_without_end_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdn.southbound.session.MULTIPART_MAX", 1000)
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.dump())
        asked = await switch.expect(fake.MULTIPART_REQUEST)
        for _ in range(100):
            switch.say(Type.MULTIPART_REPLY, struct.pack("!HH4x", 1, 1), asked.xid)
        with pytest.raises(TransientError, match="multipart reply of more than 1000 bytes"):
            await work


async def test_a_dump_that_is_not_one_ends_the_session(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        work = asyncio.create_task(session.dump())
        asked = await switch.expect(fake.MULTIPART_REQUEST)
        switch.say(Type.MULTIPART_REPLY, struct.pack("!HH4x", 1, 0) + bytes(60), asked.xid)
        with pytest.raises(TransientError, match="multipart reply"):
            await work
    assert "hv1: malformed message: multipart reply" in caplog.text
