"""The scalars of guests in the topology file: sizes, volumes, devices, users.

Enters: plain values of the file, inside pydantic. Leaves: numbers and checked names. Never: a half-checked string.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from sdn.topology.values import expect_text, shown, written

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_BYTES = re.compile(r"([1-9][0-9]{0,14})([KMGT]?)(?:iB)?")


def parse_bytes(value: Any) -> int:
    """`256M`, `2G`, or a number of bytes; whole mebibytes."""
    text = (
        str(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else expect_text(value, "a size such as 256M")
    )
    found = _BYTES.fullmatch(text)
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if not size or size >= 1 << 50:
        raise ValueError(f"{shown(value)} is not a size; expected one such as 256M or 2G")
    if size % _UNITS["M"]:
        raise ValueError(f"{shown(value)} is no whole number of MiB; expected one such as 256M")
    return size


_VOLUME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,19}")
"""As long as the serial number of a virtio disk, by which a guest knows its volumes."""
_OTHER_DISKS: Final = frozenset({"root", "seed", "state"})
"""What a guest's disks of other kinds are called."""


def parse_volume(value: Any) -> str:
    text = expect_text(value, "the name of a volume")
    if not _VOLUME.fullmatch(text):
        raise ValueError(f"{shown(text)} cannot be a volume; expected at most 20 letters, digits and _ . -")
    if text in _OTHER_DISKS:
        raise ValueError(f"{shown(text)} is what a guest calls a disk of another kind; expected another name")
    return text


_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def parse_user(value: Any) -> str:
    """As useradd(8) allows it."""
    text = expect_text(value, "the name of a user")
    if not _USER.fullmatch(text):
        raise ValueError(f"{shown(text)} cannot be a user; expected at most 32 of a-z, 0-9, _ and -, first a letter")
    return text


_PCI: Final = re.compile(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


def parse_pci(value: Any) -> str:
    """With its domain."""
    text = expect_text(value, "a PCI address such as 0000:03:10.2").lower()
    if not _PCI.fullmatch(text):
        raise ValueError(f"{shown(text)} is no PCI address; expected one such as 0000:03:10.2 (lspci -D shows them)")
    return text if text.count(":") == 2 else f"0000:{text}"


_TEXT_MOST: Final = 8192
MOST_USER_DATA: Final = 16 << 10
"""Bytes, as EC2 allows; NoCloud itself has no limit, but the store has the model."""


def parse_text(value: Any) -> str:
    return _text(value, _TEXT_MOST)


def parse_user_data(value: Any) -> str:
    return _text(value, MOST_USER_DATA)


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not understood here; expected a word or a path")
    if not value.strip() or len(value.encode(errors="replace")) > most or "\0" in value:
        raise ValueError(f"{shown(value)} is no text; expected a word or a path")
    return value


Bytes = Annotated[
    int,
    PlainValidator(parse_bytes),
    WithJsonSchema({"type": ["string", "integer"], "pattern": "^[1-9][0-9]*[KMGT]?(iB)?$", "minimum": 1}),
]
VolumeName = Annotated[str, PlainValidator(parse_volume), written(pattern=f"^{_VOLUME.pattern}$")]
UserName = Annotated[str, PlainValidator(parse_user), written(pattern=f"^{_USER.pattern}$")]
PciAddress = Annotated[str, PlainValidator(parse_pci), written(pattern=f"^{_PCI.pattern}$")]
Text = Annotated[str, PlainValidator(parse_text), written(minLength=1)]
UserData = Annotated[str, PlainValidator(parse_user_data), written(minLength=1)]
