"""The audit log: one line a request, for root, rotated, also by several processes."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from sdn.api.audit import FILE, REFUSED, Audit, Entry

ENTRY = Entry("ann", "operate", "192.0.2.1", "PUT", "/v1/ports/a", 200, 0.01234567, revision=3)


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.write(ENTRY)
    audit.close()
    (line,) = lines(tmp_path / FILE)
    assert list(line) == ["time", "caller", "role", "peer", "method", "path", "status", "seconds", "revision"]
    assert (line["seconds"], line["revision"]) == (0.012346, 3)
    assert str(line["time"]).endswith("Z")


def test_nobody_forges_a_line(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.write(Entry('eve"}\n{"caller": "root', "read", "", "GET", "/\r\n\x1b[2J", 403, 0.0, why="x\ny"))
    assert len(lines(tmp_path / FILE)) == 1
    assert "\x1b" not in (tmp_path / FILE).read_text()


def test_it_is_rotated(tmp_path: Path) -> None:
    audit = Audit(tmp_path, largest=1000)
    for _ in range(20):
        audit.write(ENTRY)
    old = tmp_path / f"{FILE}.1"
    assert 1000 <= old.stat().st_size < 1400
    assert (tmp_path / FILE).stat().st_size < 1400
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, old.name]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_one_that_was_moved_away_or_removed_is_begun_anew(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.write(ENTRY)
    (tmp_path / FILE).rename(tmp_path / "mine")
    audit.write(ENTRY)
    assert len(lines(tmp_path / FILE)) == 1
    (tmp_path / FILE).unlink()
    audit.write(ENTRY)
    assert len(lines(tmp_path / FILE)) == 1


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(_write_many, [tmp_path] * 4))
    assert len(lines(tmp_path / FILE)) == 4 * 200


def _write_many(folder: Path) -> None:
    audit = Audit(folder)
    for _ in range(200):
        audit.write(ENTRY)


def test_rotated_by_several_nothing_of_the_last_file_is_lost(tmp_path: Path) -> None:
    first, second = Audit(tmp_path, largest=1000), Audit(tmp_path, largest=1000)
    for _ in range(4):
        first.write(ENTRY)
        second.write(ENTRY)
    kept = lines(tmp_path / FILE) + (lines(tmp_path / f"{FILE}.1") if (tmp_path / f"{FILE}.1").exists() else [])
    assert len(kept) == 8


def test_what_cannot_be_written_is_said(tmp_path: Path, caplog: object) -> None:
    Audit(tmp_path / "gone").write(ENTRY)
    assert "cannot be written" in caplog.text  # type: ignore[attr-defined]


def test_a_long_path_is_cut(tmp_path: Path) -> None:
    Audit(tmp_path).write(replace(ENTRY, path="/" + "a" * 5000))
    (line,) = lines(tmp_path / FILE)
    assert line["path"] == "/" + "a" * 499 + "…"


def test_strangers_push_nothing_out(tmp_path: Path) -> None:
    """Their refusals have a file of their own, which is rotated by itself."""
    audit = Audit(tmp_path, largest=1000, largest_refused=500)
    audit.write(ENTRY)
    audit.write(replace(ENTRY, status=403, why="this needs role admin"))
    for number in range(100):
        audit.write(replace(ENTRY, caller="", role="", path=f"/{number}", status=401, why="this needs a token"))
    audit.close()
    assert [line["status"] for line in lines(tmp_path / FILE)] == [200, 403]
    assert lines(tmp_path / REFUSED)[-1]["path"] == "/99"
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {FILE, REFUSED, f"{REFUSED}.1"}
    assert sizes[REFUSED] + sizes[f"{REFUSED}.1"] < 1400
