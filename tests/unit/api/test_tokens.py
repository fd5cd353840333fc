"""Tokens: what is kept of them, who may read the file, writers beside each other, and a file that changes meanwhile."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from datapath.errors import ConflictError, FileError, MachineError
from sdn.api import tokens
from sdn.api.caller import Role
from sdn.api.tokens import InvalidTokenError, Tokens
from sdn.cli.tokens import lifetime


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pool" / "tokens.json"


def test_the_secret_is_not_kept(file: Path) -> None:
    token, text = tokens.create("ann", Role.OPERATE, 60.0, file)
    prefix, number, secret = text.split("_", 2)
    assert (prefix, number) == ("sdn", token.id)
    assert len(secret) * 6 >= 256, "base64: 6 bits a character"
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir() if path.stat().st_mode & 0o077] == []
    (row,) = json.loads(file.read_text())["tokens"]
    assert row == {**row, "name": "ann", "role": "operate", "expires": row["created"] + 60.0}
    assert Tokens(file).check(text) == token


def test_the_mode_does_not_depend_on_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        tokens.create("ann", Role.READ, None, file)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a\n", "x" * 64, "ü"])
def test_names(file: Path, name: str) -> None:
    with pytest.raises(FileError):
        tokens.create(name, Role.READ, None, file)
    assert not file.exists()


def test_a_name_is_one_valid_token(file: Path) -> None:
    tokens.create("ann", Role.READ, 60.0, file)
    with pytest.raises(ConflictError):
        tokens.create("ann", Role.ADMIN, 60.0, file)
    tokens.create("old", Role.READ, 0.0, file)
    tokens.create("old", Role.ADMIN, 60.0, file)
    assert [(each.name, each.role) for each in tokens.every(file)] == [("ann", Role.READ), ("old", Role.ADMIN)]


def test_revoking_is_all_or_nothing(file: Path) -> None:
    _, text = tokens.create("ann", Role.READ, None, file)
    bob, _ = tokens.create("bob", Role.READ, None, file)
    with pytest.raises(FileError, match="no token eve"):
        tokens.revoke(["ann", "eve"], file)
    assert Tokens(file).check(text)
    assert {each.name for each in tokens.revoke(["ann", bob.id, "bob"], file)} == {"ann", "bob"}
    assert tokens.every(file) == []


def test_writers_beside_each_other_lose_nothing(file: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        made = [pool.submit(tokens.create, f"t{number}", Role.READ, None, file) for number in range(40)]
        texts = [each.result()[1] for each in made]
    checked = Tokens(file)
    assert {checked.check(text).name for text in texts} == {f"t{number}" for number in range(40)}


def test_a_reader_follows_the_file(file: Path) -> None:
    reader = Tokens(file)
    with pytest.raises(InvalidTokenError):
        reader.check("sdn_0_x")
    for turn in range(20):  # as fast as it goes: a file's time alone might not tell
        token, text = tokens.create(f"t{turn}", Role.READ, None, file)
        assert reader.check(text) == token
        tokens.revoke([token.id], file)
        assert reader.valid(token.id) is None
    file.unlink()
    assert reader.valid("0") is None


def test_expiry_is_looked_at_each_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Tokens(file)
    token, text = tokens.create("ann", Role.READ, 60.0, file)
    assert reader.check(text) == token
    assert token.expires is not None
    monkeypatch.setattr(time, "time", lambda: token.expires)
    assert reader.valid(token.id) is None
    with pytest.raises(InvalidTokenError, match="expired at"):
        reader.check(text)


ROW = {"id": "1", "name": "ann", "role": "read", "created": 1.0, "expires": None, "sha256": "0"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "tokens": []}',
        '{"version": 1, "tokens": [{}]}',
        *(json.dumps({"version": 1, "tokens": [{**ROW, key: 5}]}) for key in ("id", "name", "role", "sha256")),
        *(json.dumps({"version": 1, "tokens": [{**ROW, key: "x"}]}) for key in ("role", "created", "expires", "more")),
    ],
)
def test_a_damaged_file_vouches_for_nobody(file: Path, content: str) -> None:
    _, text = tokens.create("ann", Role.READ, None, file)
    reader = Tokens(file)
    reader.check(text)
    file.write_text(content)
    for _ in range(2):
        with pytest.raises(FileError, match="damaged"):
            reader.check(text)


def test_a_file_that_cannot_be_read_vouches_for_nobody(file: Path) -> None:
    _, text = tokens.create("ann", Role.READ, None, file)
    reader = Tokens(file)
    reader.check(text)
    file.unlink()
    file.mkdir()
    with pytest.raises(MachineError, match=r"tokens\.json cannot be read: Is a directory"):
        reader.check(text)
    file.rmdir()
    file.parent.rename(file.parent.with_name("gone"))
    file.parent.write_bytes(b"")
    with pytest.raises(MachineError, match=r"tokens\.json cannot be read: Not a directory"):
        reader.valid("1")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_of_others_vouches_for_nobody(file: Path, mode: int) -> None:
    _, text = tokens.create("ann", Role.READ, None, file)
    file.chmod(mode)
    with pytest.raises(MachineError, match="open to others"):
        Tokens(file).check(text)
    with pytest.raises(MachineError):
        tokens.create("eve", Role.ADMIN, None, file)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2592000.0), ("12h", 43200.0), ("15m", 900.0), ("2w", 1209600.0), ("never", None)]
)
def test_lifetimes(text: str, seconds: float | None) -> None:
    assert lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "1y", "1.5h", "d", "Never", "999999d"])
def test_no_lifetimes(text: str) -> None:
    with pytest.raises(FileError):
        lifetime(text)
