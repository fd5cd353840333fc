"""What processes tell each other: each word once, whole, and none lost where the file is begun anew."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from sdn.lab import told
from sdn.lab.told import Word, Words


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "told.jsonl"


def word(number: int, size: int = 0) -> Word:
    return Word(float(number), "test.done", "x" * size, ("lab", "t"), {"number": number}, "me")


def numbers(words: Words) -> list[int]:
    return [each.data["number"] for each in words.news()]


def test_what_was_said_is_read_once(file: Path) -> None:
    words = Words(file)
    assert numbers(words) == []
    told.append(file, word(1))
    told.append(file, word(2))
    assert list(words.news()) == [word(1), word(2)]
    assert numbers(words) == []
    told.append(file, word(3))
    assert numbers(words) == [3]
    assert numbers(Words(file)) == [1, 2, 3]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_has_grown_is_begun_anew_and_nothing_is_lost(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "LARGEST", 2000)
    often, seldom = Words(file), Words(file)
    found, said = [], 0
    for said in range(1, 100):
        told.append(file, word(said, 100))
        found += numbers(often)
        if said % 8 == 0:
            assert numbers(seldom)[-1] == said
    assert found == list(range(1, said + 1))
    assert file.stat().st_size < 2300


def test_many_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads."""
    monkeypatch.setattr(told, "LARGEST", 60_000)

    def say(first: int) -> None:
        for number in range(first, first + 200):
            told.append(file, word(number, 50))

    told.append(file, word(9999))
    words = Words(file)
    found = numbers(words)
    threads = [threading.Thread(target=say, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found += numbers(words)
    found += numbers(words)
    assert (found[0], file.stat().st_size < 60_000) == (9999, True), "it was begun anew"
    for first in (0, 1000, 2000):
        assert [number for number in found if first <= number < first + 1000] == list(range(first, first + 200))


def test_a_word_that_does_not_fit_is_taken_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told.append(file, word(1))
    words, write = Words(file), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
        with pytest.raises(OSError, match="No space left") as found:
            told.append(file, word(2))
    assert found.value.errno == errno.ENOSPC
    told.append(file, word(3))
    assert numbers(words) == [1, 3]


def test_what_is_not_whole_is_read_later(file: Path) -> None:
    told.append(file, word(1))
    whole = file.read_bytes()
    words = Words(file)
    with file.open("ab", buffering=0) as opened:
        opened.write(whole[:20])
        assert numbers(words) == [1]
        opened.write(whole[20:])
    assert numbers(words) == [1]


def test_what_is_not_understood_is_skipped_and_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may be of another version."""
    file.write_text("no JSON\n" + json.dumps({"kind": "other"}) + "\n[]\n")
    told.append(file, word(1))
    assert numbers(Words(file)) == [1]
    assert caplog.text.count("is not understood") == 3


def test_no_lab(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        told.append(file.parent / "gone" / file.name, word(1))
