"""Names of images and disks, and that nothing half-made gets one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from datapath.errors import FileError
from datapath.guest.pool import disks, storage
from tests.unit.datapath.guest.pool.test_qcow2 import header


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    for name in ("images", "volumes", "labs/demo"):
        disks.ready(tmp_path / "pool" / name)
    return tmp_path / "pool"


class TestNames:
    @pytest.mark.parametrize("name", ["data1", "a", "Z-1_x.y", "twenty-letters-12345"])
    def test_volumes(self, pool: Path, name: str) -> None:
        assert disks.volume(name) == pool / "volumes" / f"{name}.qcow2"

    @pytest.mark.parametrize("name", ["", ".x", "../x", "a/b", "a b", "ä", "a" * 21, "root", "seed", "state", "-x"])
    def test_no_volumes(self, name: str) -> None:
        with pytest.raises(FileError):
            disks.volume(name)

    @pytest.mark.parametrize("name", ["../etc/passwd", ".partial-1-x", "", "a/b"])
    def test_no_images(self, name: str) -> None:
        with pytest.raises(FileError):
            disks.image(name)

    def test_what_is_there_is_found_and_named(self, pool: Path) -> None:
        for each in (disks.volume("data1"), disks.own("demo", "web1")):
            each.write_bytes(header())
        assert disks.name_of(disks.disk("data1")) == "data1"
        assert disks.name_of(disks.disk("demo/web1")) == "demo/web1"
        assert disks.name_of(pool / "images" / "a.raw") == "a.raw"
        assert disks.name_of(Path("/somewhere/a.raw")) == "/somewhere/a.raw"

    def test_a_typing_mistake_gets_a_hint(self) -> None:
        disks.volume("data1").write_bytes(header())
        with pytest.raises(FileError) as caught:
            disks.disk("dta1")
        assert "did you mean data1?" in str(caught.value)

    def test_how_a_missing_volume_is_made_is_said(self) -> None:
        with pytest.raises(FileError) as caught:
            disks.disk("data1")
        assert caught.value.remedy == "there is none yet; or: sdn volume create data1 --size 10G"
        with pytest.raises(FileError) as caught:
            disks.disk("demo/web1")
        assert "create" not in caught.value.remedy

    def test_dependants(self, pool: Path) -> None:
        base = pool / "images" / "a.raw"
        base.touch()
        for each in (disks.volume("data1"), disks.own("demo", "web1")):
            each.write_bytes(header(backing=str(base).encode(), backing_format=b"raw"))
        disks.volume("data2").write_bytes(header())
        disks.volume("damaged").write_bytes(b"QFI\xfb")
        assert [disks.name_of(each) for each in disks.dependants(base)] == ["data1", "demo/web1"]


class TestFindImage:
    def test_by_path_and_by_name(self, pool: Path, tmp_path: Path) -> None:
        for path in (tmp_path / "beside.raw", pool / "images" / "debian.qcow2"):
            path.touch()
        (tmp_path / "link.raw").symlink_to("beside.raw")
        assert disks.find_image("./beside.raw", tmp_path) == tmp_path / "beside.raw"
        assert disks.find_image("link.raw", tmp_path) == tmp_path / "beside.raw"
        assert disks.find_image(str(tmp_path / "beside.raw"), Path("/")) == tmp_path / "beside.raw"
        assert disks.find_image("debian.qcow2", tmp_path) == pool / "images" / "debian.qcow2"

    def test_what_is_there_is_told(self, pool: Path, tmp_path: Path) -> None:
        (pool / "images" / "debian.qcow2").touch()
        with pytest.raises(FileError) as caught:
            disks.find_image("fedora", tmp_path)
        assert "there are: debian.qcow2" in str(caught.value)


class TestFresh:
    def test_it_appears_complete(self, pool: Path) -> None:
        path = pool / "images" / "a"
        with disks.fresh(path, 0o444) as partial:
            partial.write_text("whole")
            assert disks.every_image() == []
        assert path.read_text() == "whole"
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert os.listdir(path.parent) == ["a"]

    def test_nothing_is_overwritten(self, pool: Path) -> None:
        path = pool / "volumes" / "a.qcow2"
        path.write_text("old")
        with pytest.raises(FileError, match="there already"), disks.fresh(path) as partial:
            partial.write_text("new")
        assert path.read_text() == "old"
        assert os.listdir(path.parent) == ["a.qcow2"]

    def test_what_a_killed_one_left_goes(self, pool: Path) -> None:
        left = pool / "volumes" / f"{disks.PARTIAL}99999999-1-a.qcow2"
        left.touch()
        with disks.fresh(pool / "volumes" / "a.qcow2") as partial:
            partial.touch()
        assert not left.exists()

    def test_nobody_sees_into_the_pool(self, pool: Path) -> None:
        made = [pool, *(pool / name for name in ("images", "volumes", "labs", "labs/demo"))]
        assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o700}


class TestBaseImage:
    def test_a_base_in_the_pool_becomes_read_only(self, pool: Path) -> None:
        path = pool / "images" / "a.raw"
        path.touch(0o644)
        storage.base_image(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o444

    @pytest.mark.parametrize("below", [b"/etc/passwd", b"../../etc/passwd", b"json:{}", b"nbd://x/y"])
    def test_a_strangers_image_names_no_file_of_this_machine(self, tmp_path: Path, below: bytes) -> None:
        (tmp_path / "images").mkdir()
        path = tmp_path / "images" / "evil"
        path.write_bytes(header(backing=below, backing_format=b"raw"))
        with pytest.raises(FileError):
            storage.base_image(path)

    def test_a_layer_over_what_is_beside_it_will_do(self, tmp_path: Path) -> None:
        (tmp_path / "base.raw").touch()
        path = tmp_path / "layer.qcow2"
        path.write_bytes(header(backing=b"base.raw", backing_format=b"raw"))
        assert storage.base_image(path).size == 1 << 30
        path.write_bytes(header(backing=b"base.raw"))
        with pytest.raises(FileError, match="of what format"):
            storage.base_image(path)

    def test_others_are_to_be_imported(self, tmp_path: Path) -> None:
        path = tmp_path / "a.vmdk"
        path.write_bytes(b"KDMV")
        with pytest.raises(FileError, match="vmdk") as caught:
            storage.base_image(path)
        assert "sdn image import --convert" in caught.value.remedy

    def test_data_in_another_file_and_encryption_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        for content in (header(features=4), header(encryption=1)):
            path.write_bytes(content)
            with pytest.raises(FileError, match="not supported"):
                storage.base_image(path)
