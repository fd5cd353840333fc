"""Instructions to bytes, as RFC 9669 writes them, and the verifier's many words to the one line that tells."""

from __future__ import annotations

import sys

import pytest

from datapath.linux import bpf
from datapath.linux.bpf import Instruction, Program

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are a little-endian host's")


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        (bpf.move(1, 42), "b7 01 0000 2a000000"),
        (bpf.move(0, -1), "b7 00 0000 ffffffff"),
        (bpf.copy(6, 1), "bf 16 0000 00000000"),
        (bpf.load_word(2, 1, 20), "61 12 1400 00000000"),
        (bpf.mask(2, 0xFFF), "57 02 0000 ff0f0000"),
        (bpf.call(23), "85 00 0000 17000000"),
        (bpf.leave(), "95 00 0000 00000000"),
    ],
)
def test_one_instruction(instruction: Instruction, expected: str) -> None:
    assert bpf.assemble([instruction]) == bytes.fromhex(expected)


def test_jumps_count_from_the_next_instruction() -> None:
    listing = [
        bpf.label("start"),
        bpf.if_equal(2, 20, "end"),  # over one
        bpf.unless_equal(2, 0, "start"),  # back over itself and the one before
        bpf.label("end"),
        bpf.if_equal(0, 0, "end"),  # to itself
    ]
    expected = "15 02 0100 14000000  55 02 feff 00000000  15 00 ffff 00000000"
    assert bpf.assemble(listing) == bytes.fromhex(expected)


def test_a_jump_to_nowhere_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        bpf.assemble([bpf.if_equal(0, 0, "nowhere")])


def test_programs_are_told_apart_by_what_they_do() -> None:
    one, same, other = Program("a", b"12345678"), Program("b", b"12345678"), Program("a", b"12345679")
    assert one.digest == same.digest != other.digest


def test_the_telling_line_of_a_log() -> None:
    log = "0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000) max_states 0\n"
    assert bpf.telling(log) == "R0 !read_ok"
    assert bpf.telling("") == ""
