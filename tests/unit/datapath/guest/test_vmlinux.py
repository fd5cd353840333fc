"""A kernel comes out of a bzImage as it went in, however it was packed; what is no such image is left alone."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from struct import pack

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.guest import vmlinux


def kernel(filling: bytes = b"", note: int = 18, owner: bytes = b"Xen\0") -> bytes:
    """ELF, 64 bits: one program header, with two notes."""
    notes = pack("<III", 4, 2, 1) + b"GNU\0" + b"xy\0\0" + pack("<III", 4, 8, note) + owner + bytes(8)
    header = b"\x7fELF\x02\x01" + bytes(0x1A) + pack("<Q", 64) + bytes(14) + pack("<HH", 56, 1)
    table = pack("<II6Q", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return header.ljust(64, b"\0") + table + notes + filling


def lz4_legacy(content: bytes) -> bytes:
    blocks = [content[start : start + (8 << 20)] for start in range(0, len(content), 8 << 20)]
    packed = [lz4.block.compress(block, store_size=False) for block in blocks]
    return b"\x02\x21\x4c\x18" + b"".join(pack("<I", len(block)) + block for block in packed)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4_legacy,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
}


def image(content: bytes, packer: str) -> bytes:
    packed = PACKERS[packer](content)
    if packer != "gzip":  # which ends with the size itself: Linux, arch/x86/boot/compressed/Makefile
        packed += pack("<I", len(content))
    setup = bytearray(2 * 512)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    setup[0x248:0x250] = pack("<II", 16, len(packed))
    return bytes(setup) + bytes(16) + packed + b"what follows"


@pytest.mark.parametrize("packer", PACKERS)
def test_it_comes_out_as_it_went_in(packer: str) -> None:
    content = kernel(bytes(range(256)) * 5000)
    assert vmlinux.of(image(content, packer)) == content


def test_one_of_several_blocks() -> None:
    content = kernel(bytes(17 << 20))
    assert vmlinux.of(image(content, "lz4")) == content


@pytest.mark.parametrize("content", [kernel(note=17), kernel(owner=b"Yen\0"), b"#!/bin/sh", b"\x7fELF\x01\x01"])
def test_one_that_cannot_be_entered_so_is_booted_as_it_is(content: bytes) -> None:
    assert vmlinux.of(image(content, "gzip")) is None


@given(st.binary(max_size=2000))
def test_what_is_no_kernel_is_none(content: bytes) -> None:
    assert vmlinux.of(content) is None


@given(st.sampled_from(sorted(PACKERS)), st.data())
def test_a_damaged_one_is_never_an_error(packer: str, data: st.DataObject) -> None:
    whole = image(kernel(b"filling" * 10), packer)
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(1, len(whole)))
    found = vmlinux.of((whole[:place] + data.draw(st.binary(min_size=1, max_size=8)) + whole[place + 1 :])[:cut])
    assert found is None or found.startswith(b"\x7fELF")
