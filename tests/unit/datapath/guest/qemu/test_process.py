"""Processes that are watched by a pidfd, ours and others'; what is left to say of one that died."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.guest.qemu import process
from datapath.guest.qemu.process import Process


def start(directory: Path, *command: str) -> Process:
    pid = process.spawn("/bin/sh", ["-c", *command], directory, directory / "log", ())
    return Process(pid, os.pidfd_open(pid))


async def test_why_it_ended_is_known_where_it_is_our_child(tmp_path: Path) -> None:
    started = start(tmp_path, "echo gone >&2; exit 3")
    async with asyncio.timeout(10):
        await started.ended()
    assert started.exit == "exit status 3"
    assert process.last_words(tmp_path / "console", tmp_path / "log") == "\nQEMU: gone"
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


async def test_it_is_ended_and_that_is_told_once(tmp_path: Path) -> None:
    started = start(tmp_path, "exec sleep 60")
    told: list[str] = []
    started.watch(told.append)
    began = time.monotonic()
    await started.end()
    assert time.monotonic() - began < 5
    assert told == ["killed by SIGKILL"]
    await started.end()
    started.close()
    assert told == ["killed by SIGKILL"]


async def test_it_has_a_session_of_its_own_and_only_what_it_inherits(tmp_path: Path) -> None:
    kept, inherited = os.pipe()
    pid = process.spawn("/bin/sh", ["-c", "ls /proc/self/fd; pwd; umask"], tmp_path, tmp_path / "log", (inherited,))
    started = Process(pid, os.pidfd_open(pid))
    os.close(inherited)
    async with asyncio.timeout(10):
        await started.ended()
    os.close(kept)
    lines = (tmp_path / "log").read_text().split()
    assert str(inherited) in lines
    assert str(kept) not in lines
    assert lines[-2:] == [str(tmp_path), "0077"]


async def test_a_stranger_is_not_adopted(tmp_path: Path) -> None:
    assert process.adopt(os.getpid(), "6a3c1e5e", tmp_path) is None
    started = start(tmp_path, "exec sleep 60")
    assert process.adopt(started.pid, "", tmp_path) is None
    os.kill(started.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await started.ended()
    assert process.adopt(started.pid, "", tmp_path) is None


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no sdnt-no-such-program"):
        process.spawn("sdnt-no-such-program", [], tmp_path, tmp_path / "log", ())


def test_last_words_are_text(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"first\n" * 9 + b"\x1b[2J\x1b[1;31mKernel panic\x1b[0m - not syncing\r\n\r\n\x07\n")
    words = process.last_words(console, tmp_path / "log")
    assert words.splitlines()[-1] == "console: Kernel panic - not syncing"
    assert len(words.splitlines()) == 6  # the first is empty: it follows what else is said


def test_what_a_kernel_says_last_is_before_its_trace(tmp_path: Path) -> None:
    console = tmp_path / "console"
    trace = [f"Call Trace {number:60}" for number in range(60)]
    console.write_text("\r\n".join(["first", *["before"] * 5, "[ 3.1] Kernel panic - not syncing: x", *trace]))
    words = process.last_words(console, tmp_path / "log", "Kernel panic").splitlines()
    assert words == ["", *["console: before"] * 4, "console: [ 3.1] Kernel panic - not syncing: x"]
    assert process.last_words(console, tmp_path / "log", "Oops").splitlines()[-1].endswith(" 59")
