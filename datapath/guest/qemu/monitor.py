"""What one does with a guest without changing what is wished of it: reset, snapshots with memory, statistics.

Enters: the path of a guest's monitor.sock, which is not the agent's. Leaves: done, or what was asked for. Never: a
guest brought back to a moment when it had other hardware; QEMU would load that halfway.

A snapshot is in the guest's own disk and in all its volumes at the same moment, its memory in the own disk. QEMU knows
it by a tag; ours is the name that the user gave and the hardware of that moment, so that nothing else has to be kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from datapath.errors import FileError, RefusedError, TransientError
from datapath.guest.qemu import plugs
from datapath.guest.qemu.command import STATE, node
from datapath.guest.qemu.qmp import Qmp

_GREETS: Final = 10.0
"""Seconds after which somebody else has this monitor, or QEMU is busy with a snapshot."""
_JOB: Final = 600.0
"""Seconds that memory and disks may take to be written or read."""
_FIRST_PAUSE: Final = 0.05
_FRESH: Final = 10.0
"""Seconds in which the guest's balloon driver answers; it is asked once a second."""
_TAG_MAX: Final = 255  # QEMUSnapshotInfo.name less the terminating zero
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OURS: Final = re.compile(r"disk\d+")
_BALLOON: Final = "child<virtio-balloon"
"""How QEMU's word for a balloon's kind begins. Its name is libvirt's where that has made it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`taken` is in seconds since the epoch, `size` what its memory takes on the disk, in bytes."""

    name: str
    taken: float
    size: int
    hardware: str
    tag: str


def reset(path: Path) -> None:
    """As the button does: nothing is written first."""
    _run(path, lambda qmp: qmp.execute("system_reset"))


def press(path: Path, *keys: str) -> None:
    """At once, on its keyboard, by QEMU's names: ctrl, alt, delete."""
    pressed = [{"type": "qcode", "data": key} for key in keys]
    _run(path, lambda qmp: qmp.issue("send-key", {"keys": pressed}))


def announce(path: Path) -> None:
    """Reverse ARPs (RFC 903) from all its interfaces: switches learn where it is."""
    rounds = {"initial": 50, "max": 550, "rounds": 5, "step": 100}
    _run(path, lambda qmp: qmp.issue("announce-self", rounds))


def snapshot_save(path: Path, name: str) -> Snapshot:
    """The guest stands still meanwhile: 128 MiB take half a second. Raises RefusedError where the name is taken."""
    if not _NAME.fullmatch(name):
        raise FileError(f"'{name}' is no name for a snapshot (expected letters, digits, '.', '_', '-'; at most 63)")
    return _run(path, lambda qmp: _save(qmp, name))


def snapshot_load(path: Path, name: str) -> None:
    """The guest is as it was at the snapshot, and runs if it ran just now. Raises RefusedError."""
    _run(path, lambda qmp: _load(qmp, name))


def snapshot_delete(path: Path, name: str) -> None:
    _run(path, lambda qmp: _delete(qmp, name))


def snapshots(path: Path) -> tuple[Snapshot, ...]:
    """Oldest first."""
    return _run(path, _snapshots)


def balloon_statistics(path: Path) -> dict[str, int]:
    """What the guest says of its memory, in bytes: `total`, `free`, `available`, `disk-caches`, `swap-in` …, and
    `actual`: what it has of what it was given. Raises TransientError where it does not answer."""
    return _run(path, _statistics)


def _run(path: Path, errand: Callable[[Qmp], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(_on(path, errand))


async def _on(path: Path, errand: Callable[[Qmp], Awaitable[T]]) -> T:
    async with _connected(path) as qmp:
        return await errand(qmp)


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[Qmp]:
    try:
        async with asyncio.timeout(_GREETS):
            qmp = await Qmp.connect(path, lambda _: None)
    except TimeoutError:
        raise TransientError("the guest's monitor is busy with another command") from None
    try:
        yield qmp
    finally:
        await qmp.close()


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _save(qmp: Qmp, name: str) -> Snapshot:
    if any(each.name == name for each in await _snapshots(qmp)):
        raise RefusedError(f"there is a snapshot '{name}' already", remedy="delete it first, or choose another name")
    nodes = await _nodes(qmp)
    tag = await _tag(qmp, name)
    await _job(qmp, "snapshot-save", {"tag": tag, "vmstate": _memory(nodes), "devices": list(nodes)})
    return await _called(qmp, name)


async def _load(qmp: Qmp, name: str) -> None:
    found = await _called(qmp, name)
    hardware = await _hardware(qmp)
    if _fitting(name, hardware) != found.tag:
        raise RefusedError(
            f"snapshot '{name}' was taken with other hardware: {found.hardware}; now it is {hardware}",
            remedy="give the guest the hardware of that time, then revert",
        )
    nodes = await _nodes(qmp)
    await _job(qmp, "snapshot-load", {"tag": found.tag, "vmstate": _memory(nodes), "devices": list(nodes)})


async def _delete(qmp: Qmp, name: str) -> None:
    """Also from disks that were not plugged when it was taken: those do not have it."""
    found = await _called(qmp, name)
    having = [each for each, tags in (await _nodes(qmp)).items() if found.tag in tags]
    await _job(qmp, "snapshot-delete", {"tag": found.tag, "devices": having})


async def _called(qmp: Qmp, name: str) -> Snapshot:
    every = {each.name: each for each in await _snapshots(qmp)}
    if name not in every:
        others = ", ".join(every) or "none"
        raise RefusedError(f"there is no snapshot '{name}' (there are: {others})")
    return every[name]


async def _snapshots(qmp: Qmp) -> tuple[Snapshot, ...]:
    nodes = await _nodes(qmp)
    return tuple(sorted(nodes[_memory(nodes)].values(), key=lambda each: each.taken))


async def _nodes(qmp: Qmp) -> dict[str, dict[str, Snapshot]]:
    """The disks that it writes, with their snapshots by tag."""
    every = await qmp.execute("query-named-block-nodes", flat=True)
    return {
        each["node-name"]: {found["name"]: _snapshot(found) for found in each["image"].get("snapshots", ())}
        for each in every
        if each["drv"] == "qcow2" and not each["ro"] and _is_disk(each["node-name"])
    }


def _is_disk(name: str) -> bool:
    return name == STATE or _OURS.fullmatch(name) is not None


def _memory(nodes: Mapping[str, object]) -> str:
    """The disk in which memory is kept."""
    own = STATE if STATE in nodes else node(0)
    if own not in nodes:
        raise RefusedError("the guest has no disk of its own that could keep its memory")
    return own


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    name, _, hardware = found["name"].partition(" ")
    taken = found["date-sec"] + found["date-nsec"] / 1e9
    return Snapshot(name, taken, found["vm-state-size"], hardware, found["name"])


async def _tag(qmp: Qmp, name: str) -> str:
    return _fitting(name, await _hardware(qmp))


def _fitting(name: str, hardware: str) -> str:
    """Where much is plugged, a digest of it stands for it."""
    tag = f"{name} {hardware}"
    if len(tag.encode()) <= _TAG_MAX:
        return tag
    return f"{name} {hashlib.blake2b(hardware.encode(), digest_size=16).hexdigest()}"


async def _hardware(qmp: Qmp) -> str:
    """`cpus=1 memory=128MiB eth0=0/02:00:00:00:00:01 data=1`: what QEMU needs to find again in its saved state."""
    cpus = len(await qmp.execute("query-cpus-fast"))
    memory = (await qmp.execute("query-memory-size-summary"))["base-memory"] >> 20
    plugged = await plugs.seen(qmp)
    nics = [f"{name}={port}/{await plugs.mac(qmp, name)}" for name, port in sorted(plugged.nics.items())]
    disks = [f"{name}={port}" for name, port in sorted(plugged.disks.items())]
    return " ".join([f"cpus={cpus}", f"memory={memory}MiB", *nics, *disks])


async def _job(qmp: Qmp, name: str, arguments: Mapping[str, Any]) -> None:
    """Returns when it has been done; raises RefusedError with QEMU's words."""
    identity = f"{name}-{uuid4()}"

    def concludes(event: str, data: Mapping[str, Any]) -> bool:
        return event == "JOB_STATUS_CHANGE" and data["id"] == identity and data["status"] == "concluded"

    with qmp.expecting(concludes) as concluded:
        await qmp.issue(name, {"job-id": identity, **arguments})
        async with asyncio.timeout(_JOB):
            await concluded
    errors = _errors(await qmp.execute("query-jobs"), identity)
    await qmp.execute("job-dismiss", id=identity)
    if errors:
        raise RefusedError(f"QEMU refused {name}: {errors[0]}")


def _errors(jobs: Sequence[Mapping[str, Any]], identity: str) -> list[str]:
    return [job["error"] for job in jobs if job["id"] == identity and "error" in job]


# ── statistics ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _statistics(qmp: Qmp) -> dict[str, int]:
    """QEMU asks the guest for them only as long as somebody wants to know."""
    place = await _balloon(qmp)
    before = (await _said(qmp, place))["last-update"]
    await _ask_every(qmp, place, 1)
    try:
        found = await _newer(qmp, place, before)
    finally:
        await _ask_every(qmp, place, 0)
    actual = (await qmp.execute("query-balloon"))["actual"]
    said = {name.removeprefix("stat-").removesuffix("-memory"): value for name, value in found["stats"].items()}
    return {"actual": actual} | {name: value for name, value in said.items() if 0 <= value < 1 << 63}


async def _balloon(qmp: Qmp) -> str:
    devices = await qmp.execute("qom-list", path=plugs.DEVICES)
    found = [each["name"] for each in devices if each["type"].startswith(_BALLOON)]
    if not found:
        raise RefusedError("the guest has no balloon")
    return f"{plugs.DEVICES}/{found[0]}"


async def _newer(qmp: Qmp, place: str, before: int) -> Mapping[str, Any]:
    """No event tells that there are new ones: it is asked again, after a while that grows."""
    pause = _FIRST_PAUSE
    try:
        async with asyncio.timeout(_FRESH):
            while (found := await _said(qmp, place))["last-update"] <= before:
                await asyncio.sleep(pause)
                pause *= 1.5
            return found
    except TimeoutError:
        raise TransientError("the guest's balloon driver does not answer") from None


async def _said(qmp: Qmp, place: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = await qmp.execute("qom-get", path=place, property="guest-stats")
    return found


async def _ask_every(qmp: Qmp, place: str, seconds: int) -> None:
    arguments = {"path": place, "property": "guest-stats-polling-interval", "value": seconds}
    await qmp.issue("qom-set", arguments)
