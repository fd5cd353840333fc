"""Parts of guests' snapshots in volumes, with qemu-img's word made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datapath.errors import FileError, RefusedError
from datapath.guest.pool import disks, qemu_img, snapshots, volumes
from sdn.cli.main import main
from tests.unit.datapath.guest.pool.test_qcow2 import header

TAG = "s cpus=1 memory=128MiB eth0=0/02:00:00:00:00:01 v1=0 v3=1"
OTHER = TAG.replace(":01 ", ":02 ")


class Disks:
    """Tags and moments by disk."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[str, int]]] = {}

    def has(self, name: str, *tags: tuple[str, int]) -> None:
        path = disks.own(*name.split("/")) if "/" in name else disks.volume(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header(snapshots=len(tags)))
        self.kept[name] = list(tags)

    def run(self, *arguments: str | Path) -> str:
        if arguments[0] == "info":
            said = self.kept[disks.name_of(Path(arguments[-1]))]
            return json.dumps(
                {"snapshots": [{"name": tag, "date-sec": taken, "vm-state-size": 0} for tag, taken in said]}
            )
        *_, what, tag, path = map(str, arguments)
        assert what == "-d"
        name = disks.name_of(Path(path))
        self.has(name, *(each for each in self.kept[name] if each[0] != tag))
        return ""


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    """w1 was kept while it ran, and then while it was off; v3 has a snapshot of its own too."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path))
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))
    made = Disks()
    monkeypatch.setattr(qemu_img, "run", made.run)
    made.has("demo/w1", (TAG, 1000), ("cold", 2000))
    made.has("v3", ("mine", 500), (TAG, 1000), ("cold", 2001))
    return made


def test_whose_they_are(pool: Disks, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshots.guests(disks.disk("v3")) == {TAG: "demo/w1", "cold": "demo/w1"}
    assert main(["volume", "snapshot", "list", "v3"]) == 0
    out = capsys.readouterr().out
    assert "s (of guest w1 of lab demo, with its memory)  " in out
    assert "cold (of guest w1 of lab demo)  " in out
    assert "\nmine  " in out
    assert "cpus=" not in out
    assert main(["volume", "snapshot", "list", "v3", "-o", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["guest"]) for each in said] == [("mine", None), ("s", "demo/w1"), ("cold", "demo/w1")]


def test_what_has_only_the_same_name(pool: Disks) -> None:
    pool.has("v3", ("cold", 9000))
    assert snapshots.guests(disks.disk("v3")) == {}
    volumes.delete("v3")


def test_deleted_by_its_short_name(pool: Disks, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "snapshot", "delete", "v3", "s"]) == 0
    said = capsys.readouterr()
    assert "snapshot s of v3 is gone" in said.out
    assert "guest w1 of lab demo cannot be reverted to s" in said.err
    assert [tag for tag, _ in pool.kept["v3"]] == ["mine", "cold"]


def test_what_its_guest_has_forgotten(pool: Disks, capsys: pytest.CaptureFixture[str]) -> None:
    pool.has("demo/w1")
    assert main(["volume", "snapshot", "list", "v3"]) == 0
    assert "s (of a guest that has it no more)" in capsys.readouterr().out
    assert main(["volume", "snapshot", "delete", "v3", "s"]) == 0
    assert not capsys.readouterr().err
    assert main(["volume", "delete", "v3"]) == 0


def test_two_of_one_name(pool: Disks) -> None:
    pool.has("v3", (TAG, 1000), (OTHER, 3000))
    with pytest.raises(FileError, match="v3 has 2 snapshots s") as error:
        volumes.delete_snapshot("v3", "s")
    assert OTHER in error.value.message
    volumes.delete_snapshot("v3", OTHER)
    assert pool.kept["v3"] == [(TAG, 1000)]


def test_a_part_is_not_deleted_unasked(pool: Disks) -> None:
    pool.has("v3", (TAG, 1000))
    with pytest.raises(RefusedError, match="v3 is in snapshot s of guest w1 of lab demo") as error:
        volumes.delete("v3")
    assert "sdn guest snapshot delete --lab demo w1 s" in error.value.remedy
    volumes.delete_snapshot("v3", "s")
    volumes.delete("v3")
    volumes.delete("demo/w1")
