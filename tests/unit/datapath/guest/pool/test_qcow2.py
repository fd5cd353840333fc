"""Headers of images, written here by hand after QEMU's docs/interop/qcow2.txt."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from datapath.errors import FileError
from datapath.guest.pool import qcow2


def header(
    size: int = 1 << 30,
    backing: bytes = b"",
    backing_format: bytes = b"",
    snapshots: int = 0,
    version: int = 3,
    features: int = 0,
    encryption: int = 0,
) -> bytes:
    length = 104 if version == 3 else 72
    extensions = struct.pack(">II", 0x6803F857, 5) + b"names\0\0\0"
    if backing_format:
        padded = backing_format + b"\0" * (-len(backing_format) % 8)
        extensions += struct.pack(">II", 0xE2792ACA, len(backing_format)) + padded
    extensions += bytes(8)
    at = length + len(extensions) if backing else 0
    start = struct.pack(">4sIQIIQI", b"QFI\xfb", version, at, len(backing), 16, size, encryption)
    start += struct.pack(">IQQIIQ", 2, 0x30000, 0x10000, 1, snapshots, 0)
    if version == 3:
        start += struct.pack(">QQQII", features, 0, 0, 4, length)
    assert len(start) == length
    return start + extensions + backing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk"


@pytest.mark.parametrize("version", [2, 3])
def test_a_layer(path: Path, version: int) -> None:
    path.write_bytes(header(3 << 30, b"/pool/images/a.raw", b"raw", 2, version))
    found = qcow2.read(path)
    assert (found.format, found.size, found.snapshots) == ("qcow2", 3 << 30, 2)
    assert (found.backing, found.backing_format) == ("/pool/images/a.raw", "raw")
    assert not found.encrypted
    assert not found.data_elsewhere


def test_nothing_below(path: Path) -> None:
    path.write_bytes(header())
    assert (qcow2.read(path).backing, qcow2.read(path).backing_format) == ("", "")


def test_what_we_do_not_use(path: Path) -> None:
    path.write_bytes(header(features=4))
    assert qcow2.read(path).data_elsewhere
    path.write_bytes(header(encryption=2))
    assert qcow2.read(path).encrypted


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (b"", "raw"),
        (b"\xeb\x63\x90 a boot sector", "raw"),
        (b"KDMV\1\0", "vmdk"),
        (b"# Disk DescriptorFile\nversion=1\n", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe", "vdi"),
    ],
)
def test_formats(path: Path, content: bytes, format_: str) -> None:
    path.write_bytes(content)
    assert (qcow2.read(path).format, qcow2.read(path).size) == (format_, len(content))


def test_holes_occupy_nothing(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert (qcow2.read(path).size, qcow2.read(path).occupied) == (1 << 30, 0)


def test_damaged_or_missing(path: Path) -> None:
    path.write_bytes(b"QFI\xfb\0\0")
    with pytest.raises(FileError, match="damaged"):
        qcow2.read(path)
    with pytest.raises(FileError, match="no such file"):
        qcow2.read(path.with_name("nowhere"))
