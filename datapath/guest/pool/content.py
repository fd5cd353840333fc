"""Whether a raw file is the image of a disk at all: raw is what everything is that is nothing else.

Enters: a path. Leaves: what is on the disk, in a word, or ''. Never: a guess from its name.

Places and magic numbers are those of libblkid (util-linux, libblkid/src/superblocks and partitions).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SECTOR: Final = 512

_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (510, b"\x55\xaa", "a boot sector"),  # MBR, and the first sector of FAT and NTFS
    (512, b"EFI PART", "a GPT"),
    (4096, b"EFI PART", "a GPT"),  # of 4 KiB sectors
    (1024 + 56, b"\x53\xef", "ext4"),
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x8001, b"CD001", "ISO 9660"),
    (0x8001, b"BEA01", "UDF"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (512, b"LABELONE", "LVM"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (4096 - 10, b"SWAPSPACE2", "swap space"),
)


def of(path: Path) -> str:
    """The first that is found. Raises OSError."""
    with path.open("rb") as file:
        for place, magic, name in _MAGIC:
            file.seek(place)
            if file.read(len(magic)) == magic:
                return name
    return ""
