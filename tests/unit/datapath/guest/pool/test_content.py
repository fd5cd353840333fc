"""What is the image of a disk, and what is only a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.errors import FileError
from datapath.guest.pool import content, images, qcow2

MIB = 1 << 20


def quiet(_done: int, _total: int) -> None:
    pass


def raw(path: Path, place: int, magic: bytes) -> Path:
    with path.open("wb") as file:
        file.truncate(MIB)
        file.seek(place)
        file.write(magic)
    return path


@pytest.fixture(autouse=True)
def _pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))


@pytest.mark.parametrize(("place", "magic", "name"), content._MAGIC)
def test_what_is_on_a_disk(place: int, magic: bytes, name: str, tmp_path: Path) -> None:
    assert content.of(raw(tmp_path / "a.raw", place, magic)) == name


def test_a_file_is_no_disk(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    for convert in (False, True):
        with pytest.raises(FileError, match="is no image of a disk") as caught:
            images.bring(passwd, "passwd", convert, quiet)
        assert "--format raw" in caught.value.remedy
    assert images.bring(passwd, "passwd", False, quiet, vouched=True).read_bytes() == passwd.read_bytes()


def test_a_disk_is_brought(tmp_path: Path) -> None:
    assert images.bring(raw(tmp_path / "a.raw", 510, b"\x55\xaa"), "a.raw", False, quiet).exists()


def test_less_than_a_sector_is_never_one(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(511))
    (tmp_path / "empty").touch()
    for name in ("small", "empty"):
        with pytest.raises(FileError, match="smaller than a sector"):
            images.bring(tmp_path / name, name, False, quiet, vouched=True)


def test_a_description_of_a_disk_is_smaller(tmp_path: Path) -> None:
    """A VMDK's may be of 340 octets, and names the file that has the content."""
    description = tmp_path / "a.vmdk"
    description.write_text("# Disk DescriptorFile\nversion=1\n")
    images._check_content(description, qcow2.read(description), False)


def test_what_says_that_it_is_something_else_is_not_raw(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is vhdx by its first bytes"):
        images.bring(raw(tmp_path / "a.vhdx", 0, b"vhdxfile"), "a", False, quiet, vouched=True)
