"""Snapshots by the tags that QEMU keeps, with a monitor that only pretends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from datapath.errors import FileError, RefusedError
from datapath.guest.qemu import monitor
from datapath.guest.qemu.qmp import Qmp

HARDWARE = "cpus=1 memory=128MiB eth0=0/02:00:00:00:00:01"


def block(node: str, *tags: str, ro: bool = False, drv: str = "qcow2") -> dict[str, Any]:
    found = [
        {"name": tag, "id": "1", "date-sec": 100 - number, "date-nsec": 0, "vm-state-size": 7}
        for number, tag in enumerate(tags)
    ]
    return {"node-name": node, "drv": drv, "ro": ro, "image": {"snapshots": found} if found else {}}


class Pretender:
    """Answers as a guest with one interface; remembers jobs."""

    def __init__(self, *blocks: dict[str, Any]) -> None:
        self.jobs: list[tuple[str, Mapping[str, Any]]] = []
        self._answers: dict[str, Any] = {
            "query-named-block-nodes": list(blocks),
            "query-cpus-fast": [{}],
            "query-memory-size-summary": {"base-memory": 128 << 20},
            "query-jobs": [],
            "job-dismiss": {},
        }

    async def execute(self, command: str, **arguments: Any) -> Any:
        if command == "qom-list":
            return [{"name": "nicport0"}, {"name": "nic-eth0"}]
        if command == "qom-get":
            return {"mac": "02:00:00:00:00:01", "parent_bus": "/machine/peripheral/nicport0/nicport0"}[
                arguments["property"]
            ]
        return self._answers[command]

    async def issue(self, command: str, arguments: Mapping[str, Any]) -> Any:
        self.jobs.append((command, {key: value for key, value in arguments.items() if key != "job-id"}))
        self._concluded.set_result({})

    def expecting(self, accept: object) -> Pretender:
        self._concluded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return self

    def __enter__(self) -> asyncio.Future[Any]:
        return self._concluded

    def __exit__(self, *_: object) -> None: ...


def pretend(*blocks: dict[str, Any]) -> tuple[Pretender, Qmp]:
    made = Pretender(*blocks)
    return made, cast(Qmp, made)


async def test_they_are_listed_oldest_first() -> None:
    _, qmp = pretend(block("state", f"new {HARDWARE}", f"old {HARDWARE}"))
    assert [(each.name, each.taken, each.hardware) for each in await monitor._snapshots(qmp)] == [
        ("old", 99.0, HARDWARE),
        ("new", 100.0, HARDWARE),
    ]


async def test_one_is_of_every_disk_that_is_written() -> None:
    tag = f"s1 {HARDWARE}"
    blocks = [block("state", tag), block("disk0"), block("disk3", ro=True), block("disk0-file", drv="file")]
    pretender, qmp = pretend(*blocks)
    await monitor._load(qmp, "s1")
    assert pretender.jobs == [("snapshot-load", {"tag": tag, "vmstate": "state", "devices": ["state", "disk0"]})]
    await monitor._delete(qmp, "s1")
    assert pretender.jobs[1] == ("snapshot-delete", {"tag": tag, "devices": ["state"]})


async def test_without_a_disk_for_it_memory_is_on_the_own_disk() -> None:
    tag = f"s1 {HARDWARE}"
    pretender, qmp = pretend(block("disk0", tag), block("disk1", tag))
    await monitor._load(qmp, "s1")
    assert pretender.jobs[0][1]["vmstate"] == "disk0"


@pytest.mark.parametrize(
    ("name", "said"),
    [("s1", "with other hardware: cpus=2"), ("s2", r"no snapshot 's2' \(there are: s1\)")],
)
async def test_a_guest_with_other_hardware_is_not_brought_back(name: str, said: str) -> None:
    pretender, qmp = pretend(block("state", "s1 cpus=2 memory=64MiB"))
    with pytest.raises(RefusedError, match=said):
        await monitor._load(qmp, name)
    assert not pretender.jobs


async def test_a_name_is_taken_once() -> None:
    _, qmp = pretend(block("state", "s1 cpus=2 memory=64MiB"))
    with pytest.raises(RefusedError, match="there is a snapshot 's1' already"):
        await monitor._save(qmp, "s1")


@pytest.mark.parametrize("name", ["", "with space", "-x", "a" * 64])
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(FileError, match="no name for a snapshot"):
        monitor.snapshot_save(Path("/nowhere"), name)


def test_much_hardware_fits_into_a_tag_as_a_digest() -> None:
    long = " ".join(f"eth{number}=0/02:00:00:00:00:01" for number in range(12))
    tag = monitor._fitting("s1", long)
    assert tag.startswith("s1 ")
    assert len(tag) < 60
    assert tag != monitor._fitting("s1", long + "2")


class Balloon:
    """A guest whose driver answers when it is asked to; the device may have libvirt's name for it."""

    def __init__(self, *devices: dict[str, str]) -> None:
        self.periods: list[tuple[str, int]] = []
        self._devices = devices

    async def execute(self, command: str, **arguments: Any) -> Any:
        if command == "qom-list":
            return list(self._devices)
        if command == "query-balloon":
            return {"actual": 128 << 20}
        stats = {"stat-total-memory": 100 << 20, "stat-swap-in": (1 << 64) - 1}
        return {"last-update": len(self.periods), "stats": stats}

    async def issue(self, _: str, arguments: Mapping[str, Any]) -> Any:
        self.periods.append((arguments["path"], arguments["value"]))


@pytest.mark.parametrize("name", ["balloon", "balloon0"])
async def test_the_balloon_is_asked_by_whatever_name_it_has(name: str) -> None:
    rng = {"name": "rng0", "type": "child<virtio-rng-pci>"}
    balloon = Balloon(rng, {"name": name, "type": "child<virtio-balloon-pci>"})
    assert await monitor._statistics(cast(Qmp, balloon)) == {"actual": 128 << 20, "total": 100 << 20}
    assert balloon.periods == [(f"/machine/peripheral/{name}", 1), (f"/machine/peripheral/{name}", 0)]


async def test_a_guest_without_a_balloon_says_so() -> None:
    with pytest.raises(RefusedError, match="has no balloon"):
        await monitor._statistics(cast(Qmp, Balloon()))
