"""One session: versions, keepalive, answers, and everything that ends it without touching its neighbours."""

from __future__ import annotations

import asyncio
import logging
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from datapath.errors import RefusedError, TransientError
from sdn.southbound import messages
from sdn.southbound.messages import Type
from sdn.southbound.session import Timers
from tests.unit.southbound import fake
from tests.unit.southbound.fake import V13, V14, controller, message

QUICK = Timers(handshake=0.2, echo_interval=0.05, echo_timeout=0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openflow.sock"


def test_the_package_loads_neither_eventlet_nor_the_hub_of_osken() -> None:
    program = (
        "import sys, sdn.southbound; early = 'os_ken' in sys.modules; sdn.southbound.Server, sdn.southbound.connect;"
        "from sdn.southbound import messages; [messages.dialect(version) for version in messages.VERSIONS];"
        "print(early, *(name for name in sys.modules if name == 'eventlet' or name == 'os_ken.lib.hub'))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (fake.hello(1, V13, V14), V14),
        (fake.hello(1, V13), V13),
        (fake.hello(V13, V14, 6), V14),  # its header says 1.5, which we do not speak
        (message(Type.HELLO, version=V13), V13),  # no bitmap: that version and all before
        (message(Type.HELLO, version=6), V14),
    ],
)
async def test_the_highest_common_version_is_chosen(path: Path, offer: bytes, agreed: int) -> None:
    async with controller(path) as c:
        switch = await c.call(agreed)
        switch.writer.write(offer)
        assert (await switch.hear()).kind == Type.HELLO
        asked = await switch.expect(fake.FEATURES_REQUEST)
        assert asked.version == agreed
        switch.writer.write(fake.features(7, asked.xid, agreed))
        ready = await c.ready.get()
        assert (ready.version, ready.dpid, ready.name) == (agreed, 7, "hv7")


@pytest.mark.parametrize("offer", [fake.hello(1), fake.hello(1, 6), message(Type.HELLO, version=1)])
async def test_no_common_version_is_an_error_in_words_and_the_end(
    path: Path, offer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with controller(path) as c:
        switch = await c.call()
        switch.writer.write(offer)
        await switch.hear()
        refused = await switch.hear()
        assert refused.kind == Type.ERROR
        assert struct.unpack_from("!HH", refused.body) == (0, 0)  # OFPET_HELLO_FAILED, OFPHFC_INCOMPATIBLE
        assert b"no common OpenFlow version" in refused.body
        await switch.hung_up()
    assert "no common OpenFlow version: the switch offers 1.0" in caplog.text


@pytest.mark.parametrize("element", [b"\0\1\0\0", b"\0\1\0\3", b"\0\1\0\x40", b"\0\1\0\7\1\2\3"])
async def test_a_hello_whose_element_lies_about_its_length(path: Path, element: bytes) -> None:
    async with controller(path) as c:
        switch = await c.call()
        switch.writer.write(message(Type.HELLO, element))
        await switch.hung_up()


async def test_a_peer_that_never_says_hello_is_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controller(path, QUICK) as c:
        switch = await c.call()
        await asyncio.wait_for(switch.hung_up(), 2)
    assert "no OpenFlow handshake within 0.2 s" in caplog.text


async def test_echo_requests_are_answered_with_their_data(path: Path) -> None:
    async with controller(path) as c:
        switch, _ = await c.connect(1)
        switch.say(Type.ECHO_REQUEST, b"payload", xid=77)
        assert await switch.hear() == (V14, Type.ECHO_REPLY, 77, b"payload")


async def test_a_silent_switch_is_probed_and_then_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controller(path, QUICK) as c:
        switch, ready = await c.connect(3)
        await switch.hung_up()
        assert await c.gone.get() is ready
        assert ready.gave_up
    assert [record.levelname for record in caplog.records if "hv3: silent for" in record.message] == ["WARNING"]


async def test_a_silent_switch_is_told_of_before_it_is_dropped(path: Path) -> None:
    """And that it answers again."""
    told: asyncio.Queue[bool] = asyncio.Queue()
    async with controller(path, Timers(echo_interval=0.02, echo_patience=0.02, echo_timeout=60)) as c:
        switch, ready = await c.connect(3)
        ready.on_silence = told.put_nowait
        async with asyncio.timeout(5):
            assert await told.get()
            switch.say(Type.ECHO_REPLY, b"", 1)
            assert not await told.get()
        assert not ready.over.done()
        assert not ready.gave_up


async def test_a_switch_that_answers_stays(path: Path) -> None:
    async with controller(path, QUICK) as c:
        switch, ready = await c.connect(3)
        for _ in range(5):
            asked = await switch.hear()
            assert asked.kind == Type.ECHO_REQUEST
            switch.say(Type.ECHO_REPLY, asked.body, asked.xid)
        assert not ready.over.done()


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        (b"\x05\x02\x00\x07\0\0\0\0", "hv1: malformed message: a message of type 2 says that it is 7 bytes long"),
        (message(2, version=V13), "hv1: malformed message: version 0x04 where 0x05 was negotiated"),
        (message(99), "hv1: malformed message: there is no message type 99"),
        (message(Type.PACKET_IN, b"\0\1"), "hv1: malformed message: message of type 10"),
        (message(Type.PORT_STATUS, bytes(20)), "hv1: malformed message: message of type 12"),
        (message(Type.ERROR), "hv1: malformed message: message of type 1"),
        (message(Type.MULTIPART_REPLY, b"\0\1"), "hv1: malformed message: a multipart reply without its header"),
    ],
)
async def test_a_malformed_message_ends_that_session_only(
    path: Path, said: bytes, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with controller(path) as c:
        bad, session = await c.connect(1)
        good, _ = await c.connect(2)
        bad.writer.write(said)
        await bad.hung_up()
        assert await c.gone.get() is session
        good.say(Type.ECHO_REQUEST, b"still here?", xid=5)
        assert (await good.hear()).body == b"still here?"
    assert logged in caplog.text
    assert said[:4].hex() in caplog.text


async def test_a_truncated_message_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controller(path) as c:
        switch, _ = await c.connect(1)
        switch.writer.write(message(Type.PACKET_IN, bytes(100))[:50])
        switch.writer.write_eof()
        await switch.hung_up()
        await c.gone.get()
    assert "hv1: truncated message" in caplog.text


async def test_a_second_connection_supersedes_the_first(path: Path) -> None:
    async with controller(path) as c:
        old, first = await c.connect(1)
        _, second = await c.connect(1)
        await old.hung_up()
        assert await c.gone.get() is first
        assert c.server.switches == {1: second}
        assert c.gone.empty()


async def test_replies_find_their_requests_in_any_order(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        one, two = asyncio.create_task(session.barrier()), asyncio.create_task(session.barrier())
        xids = [(await switch.expect(fake.BARRIER_REQUEST)).xid for _ in range(2)]
        switch.say(fake.BARRIER_REPLY, xid=xids[1])
        await two
        assert not one.done()
        switch.say(fake.BARRIER_REPLY, xid=xids[0])
        await one


async def test_an_error_goes_to_whoever_asked_by_name(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(9)
        asked = asyncio.create_task(session.dump())
        request = await switch.expect(fake.MULTIPART_REQUEST)
        switch.writer.write(fake.error(1, 2, request.xid))
        with pytest.raises(RefusedError, match=r"hv9 refused FlowStatsRequest: OFPBRC_BAD_MULTIPART"):
            await asked


async def test_who_waits_is_told_when_the_switch_goes(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(9)
        waiting = asyncio.create_task(session.barrier())
        await switch.expect(fake.BARRIER_REQUEST)
        switch.writer.close()
        with pytest.raises(TransientError, match="hv9: the switch closed the connection"):
            await waiting
        with pytest.raises(TransientError, match="hv9"):
            await session.barrier()


async def test_events_reach_the_callback(path: Path) -> None:
    async with controller(path) as c:
        switch, session = await c.connect(1)
        codec = messages.dialect(V14)
        match = struct.pack("!HHIIxxxx", 1, 12, 0x80000004, 64)  # in_port=64
        body = struct.pack("!IHBBQ", 0xFFFFFFFF, 6, 1, 24, 0x5D0E) + match + b"\0\0" + b"packet"
        switch.say(Type.PACKET_IN, body)
        who, event = await c.events.get()
        assert who is session
        assert isinstance(event, codec.ofproto_parser.OFPPacketIn)
        assert (event.match["in_port"], event.cookie, event.data) == (64, 0x5D0E, b"packet")


async def test_a_peer_that_asks_and_never_reads_is_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controller(path) as c:
        switch, _ = await c.connect(1)
        flood = message(Type.ECHO_REQUEST, bytes(60000)) * 16

        async def shout() -> None:
            while True:
                switch.writer.write(flood)
                await switch.writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(shout(), 20)
        await c.gone.get()
    assert "asks and does not read the answers" in caplog.text


async def test_log_lines_carry_the_logger_of_the_package(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sdn.southbound"):
        async with controller(path) as c:
            await c.connect(1)
    assert ("sdn.southbound", logging.INFO, "hv1: connected, OpenFlow 1.4") in caplog.record_tuples
