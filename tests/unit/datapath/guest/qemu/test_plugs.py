"""Disks that are plugged, into a QEMU that only pretends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.qemu import plugs
from datapath.guest.qemu.command import Disk, Ports
from datapath.guest.qemu.qmp import Qmp

LOCKED = 'QEMU refused blockdev-add: Failed to get "write" lock'
PORTS = Ports({}, {"root": 0}, 1, 3)
DATA = Disk("data1", Path("/pool/volumes/data1.qcow2"), "qcow2")


class Pretender:
    """Refuses what it is told to, in these words; remembers what it was asked for."""

    def __init__(self, **refusals: str) -> None:
        self.asked: list[str] = []
        self._refusals = {name.replace("_", "-", 1): words for name, words in refusals.items()}

    async def issue(self, command: str, _: Mapping[str, Any]) -> None:
        self.asked.append(command)
        if words := self._refusals.get(command.replace("_", "-")):
            raise RefusedError(words)

    async def execute(self, command: str, **arguments: Any) -> None:
        await self.issue(command, arguments)


async def plug(qmp: Pretender) -> Ports:
    return await plugs.plug_disk(cast("Qmp", qmp), PORTS, DATA)


async def test_a_disk_gets_a_free_port() -> None:
    qmp = Pretender()
    assert (await plug(qmp)).disks == {"root": 0, "data1": 1}
    assert qmp.asked == ["blockdev-add", "device_add"]


@pytest.mark.parametrize(
    ("words", "kind"), [(LOCKED, TransientError), ("QEMU refused blockdev-add: not a qcow2 file", RefusedError)]
)
async def test_a_volume_that_another_guest_still_has_is_worth_another_attempt(words: str, kind: type[SdnError]) -> None:
    qmp = Pretender(blockdev_add=words)
    with pytest.raises(kind) as caught:
        await plug(qmp)
    assert caught.value.message == words
    assert qmp.asked == ["blockdev-add"]


async def test_a_disk_is_not_left_half_plugged() -> None:
    qmp = Pretender(device_add=LOCKED)
    with pytest.raises(TransientError):
        await plug(qmp)
    assert qmp.asked == ["blockdev-add", "device_add", "blockdev-del"]
