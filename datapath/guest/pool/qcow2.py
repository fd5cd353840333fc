"""What a disk image says of itself in its first bytes: read here, in 0.05 ms, where `qemu-img info` costs 8.

Enters: a path. Leaves: an `Image`. Never: a guess beyond the magic numbers; a byte written.

The header is in QEMU's docs/interop/qcow2.txt: numbers are big-endian, extensions follow the header.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from datapath.errors import FileError

SUFFIX: Final = ".qcow2"
_MAGIC: Final = b"QFI\xfb"
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_HEADER_2: Final = 72
"""Bytes of the header in version 2, which ends before the feature bits."""

_EXTENSION: Final = struct.Struct(">II")
_BACKING_FORMAT: Final = 0xE2792ACA
_DATA_ELSEWHERE: Final = 1 << 2
"""Incompatible feature: the data is in another file, which the header names."""

_OTHERS: Final = {
    b"KDMV": "vmdk",
    b"COWD": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
    b"QED\0": "qed",
    b"WithoutFreeSpace": "parallels",
    b"WithouFreSpacExt": "parallels",
}
_VDI: Final = b"\x7f\x10\xda\xbe"
"""Of VirtualBox, after 64 bytes of text."""

_READ: Final = 4096


@dataclass(frozen=True, slots=True)
class Image:
    """`size` in bytes is the guest's view of it, `occupied` the host's. `backing` is the file that it is a
    copy-on-write layer over, as its header has it; '' is none. `format` by the names of qemu-img."""

    path: Path
    format: str
    size: int
    occupied: int
    backing: str = ""
    backing_format: str = ""
    snapshots: int = 0
    data_elsewhere: bool = False
    encrypted: bool = False


def read(path: Path) -> Image:
    """Raises FileError where it cannot be read or is cut off."""
    try:
        with path.open("rb") as file:
            start = file.read(_READ)
            occupied = os.fstat(file.fileno()).st_blocks * 512
            if start.startswith(_MAGIC):
                return _qcow2(path, file, start, occupied)
            return Image(path, _other(start), file.seek(0, os.SEEK_END), occupied)
    except OSError as error:
        raise FileError(f"cannot read the image {path}: {(error.strerror or str(error)).lower()}") from error
    except (struct.error, UnicodeDecodeError) as error:
        raise FileError(f"{path} begins like a qcow2 image, but its header is damaged") from error


def _other(start: bytes) -> str:
    if start[64:68] == _VDI:
        return "vdi"
    return next((name for magic, name in _OTHERS.items() if start.startswith(magic)), "raw")


def _qcow2(path: Path, file: BinaryIO, start: bytes, occupied: int) -> Image:
    _, version, at, length, _, size, encryption, _, _, _, _, snapshots, _, features, *_, header = _HEADER.unpack_from(
        start
    )
    file.seek(at)
    backing = file.read(length).decode() if at else ""
    end_of_header = header if version >= 3 else _HEADER_2
    return Image(
        path,
        "qcow2",
        size,
        occupied,
        backing,
        _backing_format(start[: at or None], end_of_header),
        snapshots,
        data_elsewhere=version >= 3 and bool(features & _DATA_ELSEWHERE),
        encrypted=encryption != 0,
    )


def _backing_format(start: bytes, position: int) -> str:
    """Extensions are padded to eight bytes; type 0 ends them."""
    while position + _EXTENSION.size <= len(start):
        kind, length = _EXTENSION.unpack_from(start, position)
        position += _EXTENSION.size
        if kind == _BACKING_FORMAT:
            return start[position : position + length].decode()
        if kind == 0:
            break
        position += -(-length // 8) * 8
    return ""
