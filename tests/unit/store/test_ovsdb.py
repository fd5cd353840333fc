"""datapath.ovsdb against the JSON code of `ovs` that it replaces."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import ovsdb
from datapath.framing import Framer
from tests.unit.store import ovs_json_original as original

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    # Beyond 2**53 the original reads 6.5e16 as the integer that the decimal stands for; as a real it is the same.
    st.floats(-(2.0**53), 2.0**53),
    st.text(characters, max_size=8),
    st.sampled_from(["}{", "{", '"', "\\", '\\"}{', "]}", "\u2028ü😀", "}", "][" * 3]),
)
keys = st.text(characters, max_size=4)
values = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)
texts = st.dictionaries(keys, values, max_size=4) | st.lists(values, max_size=4)


def encoded(value: Any, style: int) -> str:
    return json.dumps(value, ensure_ascii=bool(style & 1), indent=1 if style & 2 else None)


@given(texts, st.integers(0, 3))
def test_parses_as_the_original(value: Any, style: int) -> None:
    text = encoded(value, style)
    assert ovsdb.from_string(text) == original.from_string(text)


@given(texts)
def test_serialises_as_the_original_reads_it(value: Any) -> None:
    assert original.from_string(ovsdb.to_string(value)) == original.from_string(original.to_string(value))
    assert original.from_string(ovsdb.to_bytes(value).decode()) == original.from_string(original.to_string(value))


@given(st.text(st.sampled_from('{}[]":,\\ntrue1.-e5 "'), max_size=12))
def test_accepts_no_text_that_the_original_refuses(text: str) -> None:
    ours, theirs = ovsdb.from_string(text), original.from_string(text)
    assert isinstance(ours, str) == isinstance(theirs, str)


def test_what_orjson_cannot_express_the_original_writes() -> None:
    assert ovsdb.to_string({"a": 2**70}) == '{"a":' + str(2**70) + "}"
    assert ovsdb.to_bytes([2**70]) == f"[{2**70}]".encode()
    assert ovsdb.to_string({"b": 1, "a": 2}) == '{"a":2,"b":1}'
    assert ovsdb.to_string([1], pretty=True) == original.to_string([1], pretty=True)


@given(
    st.lists(st.tuples(texts, st.integers(0, 3), st.sampled_from(["", "\n", " "])), max_size=5),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_frames_messages_whatever_the_chunks(messages: list[tuple[Any, int, str]], sizes: list[int]) -> None:
    stream = b"".join((encoded(value, style) + gap).encode() for value, style, gap in messages)
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        size = sizes[at % len(sizes)]
        framer.feed(stream[at : at + size])
        at += size
        while (value := framer.next()) is not None:
            found.append(value)
    assert found == [original.from_string(encoded(value, style)) for value, style, _ in messages]


@pytest.mark.parametrize("stream", [b"x", b"1", b"]", b'{"a":}', b'{"a":1]', b'{"a":"\xff"}'])
def test_a_stream_that_is_not_json_is_an_error(stream: bytes) -> None:
    framer = Framer()
    framer.feed(stream)
    with pytest.raises(ValueError, match=r"."):
        framer.next()


def test_a_string_full_of_ends_stays_linear() -> None:
    message = json.dumps({"a": "}{" * 50_000}).encode()
    framer = Framer()
    began = time.perf_counter()
    for at in range(0, len(message), 100):
        assert framer.next() is None
        framer.feed(message[at : at + 100])
    assert framer.next() == json.loads(message)
    assert time.perf_counter() - began < 5


class Stream:
    """A connection's stream that gives what was put in, then EAGAIN or the end."""

    name = "test"

    def __init__(self, *chunks: bytes, end: bool = False) -> None:
        self.chunks, self.end, self.sent, self.room = list(chunks), end, b"", 10

    def recv(self, _: int) -> tuple[int, bytes]:
        if self.chunks:
            return 0, self.chunks.pop(0)
        return (0, b"") if self.end else (errno.EAGAIN, b"")

    def send(self, data: bytes) -> int:
        taken = data[: self.room]
        self.sent, self.room = self.sent + taken, self.room - len(taken)
        return len(taken) if taken else -errno.EAGAIN

    def close(self) -> None:
        self.chunks = []


NOTE = b'{"method":"\xc3\xbc","params":[{"a":"}{"}],"id":null}'


def test_a_connection_receives_messages_split_within_a_character() -> None:
    connection = ovsdb.FastConnection(Stream(NOTE[:12], NOTE[12:] + NOTE, NOTE[:5]))
    assert [connection.recv()[1].method for _ in range(2)] == ["ü", "ü"]
    assert connection.recv() == (errno.EAGAIN, None)
    assert connection.input == b""  # so that the poller waits for the socket


def test_a_connection_ends_at_garbage_and_at_the_end() -> None:
    connection = ovsdb.FastConnection(Stream(b"{]"))
    assert connection.recv() == (errno.EPROTO, None)
    connection = ovsdb.FastConnection(Stream(b'{"what":1}'))
    assert connection.recv() == (errno.EPROTO, None)
    connection = ovsdb.FastConnection(Stream(end=True))
    assert connection.recv()[0] == connection.get_status() != 0


def test_a_connection_sends_the_rest_later() -> None:
    stream = Stream()
    connection = ovsdb.FastConnection(stream)
    message = ovsdb.FastConnection(Stream(NOTE)).recv()[1]
    assert connection.send(message) == connection.send(message) == 0
    backlog = connection.get_backlog()
    assert backlog
    stream.room = 1000
    connection.run()
    assert not connection.get_backlog()
    assert len(stream.sent) == backlog + 10
    assert json.loads(stream.sent[: len(stream.sent) // 2]) == json.loads(NOTE)


def test_a_descriptor_registered_twice_waits_for_both() -> None:
    reader, writer = os.pipe()
    try:
        poll = ovsdb.MergingPoll()
        poll.register(writer, 4)
        poll.register(writer, 1)
        assert poll.poll(0) == [(writer, 4)]
    finally:
        os.close(reader)
        os.close(writer)


def test_eventlet_is_never_imported_and_can_be_afterwards() -> None:
    code = (
        "import sys, importlib.util; import sdn.store; tops = {m.partition('.')[0] for m in sys.modules};"
        "assert not tops & {'eventlet', 'gevent'}; importlib.util.find_spec('eventlet')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
