"""Whatever bytes a switch sends: at worst its session ends, nothing reaches the loop, its neighbour sees nothing."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapath.errors import SdnError
from sdn.southbound.messages import Type
from tests.unit.southbound import fake
from tests.unit.southbound.fake import Controller, FakeSwitch, controller, message

_MATCH = struct.pack("!HHII4x", 1, 12, 0x80000004, 64)
_PORT = struct.pack("!IH2x6s2x16sII", 64, 72, b"\2\0\0\0\0\1", b"web1", 0, 4) + struct.pack("!HH28x", 0, 32)
_STATS = struct.pack("!HBxIIHHH6xQQQ", 64, 3, 1, 0, 5, 0, 0, 5, 5, 300) + _MATCH
CORPUS = [
    fake.hello(4, 5),
    message(Type.ERROR, struct.pack("!HH", 5, 1) + bytes(16), 1 << 31),
    message(Type.ERROR, struct.pack("!HHI", 0xFFFF, 1, 0x2320) + bytes(16), 3),
    message(Type.ECHO_REQUEST, b"abc"),
    message(Type.ECHO_REPLY),
    fake.features(1, 2),
    message(Type.PACKET_IN, struct.pack("!IHBBQ", 0xFFFFFFFF, 6, 1, 24, 7) + _MATCH + b"\0\0packet"),
    message(Type.FLOW_REMOVED, struct.pack("!QHBBIIHHQQ", 7, 5, 0, 3, 1, 0, 0, 0, 1, 1) + _MATCH),
    message(Type.PORT_STATUS, b"\0" * 8 + _PORT),
    message(Type.MULTIPART_REPLY, struct.pack("!HH4x", 1, 0) + _STATS * 3, 3),
    message(Type.MULTIPART_REPLY, struct.pack("!HH4x", 13, 1) + _PORT, 3),
    message(fake.BARRIER_REPLY, xid=3),
    message(fake.BUNDLE_CONTROL, struct.pack("!IHH", 1, 1, 3), 3),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message of the corpus with a few bytes changed, cut, or repeated; sometimes its length is made right again."""
    data = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 7, 8, 0x7F, 0x80, 0xFF]))
    data = data[: draw(st.integers(8, len(data)))] + draw(st.binary(max_size=20))
    if draw(st.booleans()):
        struct.pack_into("!H", data, 2, len(data))
    return bytes(data)


STREAMS = st.lists(st.one_of(mutated(), st.sampled_from(CORPUS), st.binary(max_size=60)), max_size=6).map(b"".join)


class Rig:
    """One loop with a controller, kept for all examples; `raised` is what reached the loop's exception handler."""

    def __init__(self, runner: asyncio.Runner, path: Path) -> None:
        self.runner = runner
        self.raised: list[dict[str, Any]] = []
        self._context = controller(path)
        runner.get_loop().set_exception_handler(lambda _, context: self.raised.append(context))
        self.controller: Controller = runner.run(self._context.__aenter__())
        self.neighbour: FakeSwitch = runner.run(self.controller.connect(2))[0]

    def close(self) -> None:
        self.runner.run(self._context.__aexit__(None, None, None))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with asyncio.Runner() as runner:
        made = Rig(runner, tmp_path / "s")
        yield made
        made.close()


def fuzz(function: Callable[[Rig, bytes], None]) -> Callable[[Rig, bytes], None]:
    fixture_is_shared = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=300, deadline=None, suppress_health_check=fixture_is_shared)(
        given(data=STREAMS)(function)
    )


@fuzz
def test_before_the_handshake(rig: Rig, data: bytes) -> None:
    async def example() -> None:
        switch = await rig.controller.call()
        await say_and_hang_up(switch, data)
        await neighbour_lives(rig)

    rig.runner.run(example())
    assert rig.raised == []


@fuzz
def test_after_the_handshake(rig: Rig, data: bytes) -> None:
    async def example() -> None:
        switch, session = await rig.controller.connect(1)
        waiting = [asyncio.create_task(work) for work in (session.dump(), session.barrier(), session.program())]
        await switch.expect(fake.MULTIPART_REQUEST)
        await say_and_hang_up(switch, data)
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert not isinstance(result, BaseException) or isinstance(result, SdnError)
        assert await rig.controller.gone.get() is session
        await neighbour_lives(rig)

    rig.runner.run(example())
    assert rig.raised == []


async def say_and_hang_up(switch: FakeSwitch, data: bytes) -> None:
    switch.writer.write(data)
    switch.writer.write_eof()
    await switch.hung_up()
    switch.writer.close()


async def neighbour_lives(rig: Rig) -> None:
    rig.neighbour.say(Type.ECHO_REQUEST, b"?", xid=1)
    assert (await rig.neighbour.expect_any()).kind == Type.ECHO_REPLY
