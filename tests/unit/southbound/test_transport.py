"""Framing: whatever way the stream is cut, the same messages come out; what is not OpenFlow is refused early."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdn.southbound.transport import Framer, MalformedError
from tests.unit.southbound.fake import V13, V14, message

MESSAGES = st.lists(st.builds(message, st.integers(0, 35), st.binary(max_size=200), st.integers(0, 0xFFFFFFFF)))


@given(MESSAGES, st.lists(st.integers(0, 5000)))
def test_any_cut_of_the_stream_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(messages)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    framer = Framer()
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert [found for piece in pieces for found in framer.feed(piece)] == messages
    assert framer.partial == b""


def test_byte_by_byte_up_to_the_longest_message() -> None:
    longest = message(10, bytes(65535 - 8))
    framer = Framer()
    assert [found for byte in longest for found in framer.feed(bytes([byte]))] == [longest]


def test_messages_before_the_bad_one_are_delivered() -> None:
    framer = Framer()
    feed = framer.feed(message(2) + b"GET / HTTP/1.1\r\n\r\n")
    assert next(feed) == message(2)
    with pytest.raises(MalformedError, match=r"version 0x47 is not OpenFlow; it begins with 47455420"):
        next(feed)


def test_a_length_below_the_header_is_refused() -> None:
    with pytest.raises(MalformedError, match="says that it is 7 bytes long"):
        list(Framer().feed(bytes([5, 0, 0, 7, 0, 0, 0, 0])))


def test_after_negotiation_one_version_holds() -> None:
    framer = Framer()
    framer.version = V14
    with pytest.raises(MalformedError, match="version 0x04 where 0x05 was negotiated"):
        list(framer.feed(message(2, version=V13)))
