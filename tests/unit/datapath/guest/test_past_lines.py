"""The log of a console does not grow without end, and whoever writes it notices nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from datapath.guest import past_lines
from datapath.guest.console import LOG
from datapath.guest.past_lines import MOST, bound, earlier
from datapath.guest.qemu import arrival


def test_a_log_within_bounds_stays(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    bound(log)
    assert not log.exists()
    log.write_bytes(bytes(MOST))
    bound(log)
    assert log.stat().st_size == MOST
    assert not earlier(log).exists()


def test_the_writer_goes_on_at_the_beginning(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(2):
            writer.write(b"%d" % number * (MOST + 1))
            bound(log)
            writer.write(b"after")
            assert log.read_bytes() == b"after"
            log.write_bytes(b"")
        assert os.path.samestat(os.fstat(writer.fileno()), log.stat())
    assert earlier(log).read_bytes() == b"1" * (MOST + 1)
    assert earlier(log).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["console.log", "console.log.1"]


def test_without_room_for_a_copy_room_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    log = tmp_path / "console.log"
    log.write_bytes(bytes(MOST + 1))
    past_lines.bound(log)
    assert log.stat().st_size == 0


def test_what_was_printed_before_a_move_is_kept(tmp_path: Path) -> None:
    """Also what was cut off while the guest moved."""
    home, arriving = tmp_path / "web", tmp_path / "web.arriving"
    home.mkdir()
    log = home / LOG
    log.write_bytes(b"of now")
    arrival.prepare(home, arriving)
    earlier(log).write_bytes(b"of before")
    arrival.take_over(home, arriving)
    assert (earlier(log).read_bytes(), log.read_bytes()) == (b"of before", b"of now")
    arrival.prepare(home, arriving)
    arrival.take_over(home, arriving)
    assert earlier(log).read_bytes() == b"of before"
