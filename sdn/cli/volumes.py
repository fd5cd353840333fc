"""`sdn volume …`: disks of the pool, and which guest has which.

Enters: names and sizes. Leaves: disks in the pool, a wish in a running lab, tables. Never: a volume changed that a
guest of a running lab has, also where that guest is off just now.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from datapath.errors import FileError, RefusedError, SdnError
from datapath.guest.pool import disks, qcow2, storage
from datapath.guest.pool import snapshots as kept
from datapath.guest.pool import volumes as pool
from datapath.guest.pool.snapshots import Snapshot
from datapath.guest.pool.volumes import Volume
from sdn import lab
from sdn.cli import output, target
from sdn.cli.images import copying
from sdn.cli.output import SOFT, STRONG, Cell
from sdn.model import Guest, Model
from sdn.model.facts import Facts, GuestFacts, HostFacts

_PHASES = {"guests": "guests"}


# ── volumes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def list_volumes(every: bool, as_json: bool) -> None:
    wishes = _wishes()
    found = [(volume, _users(volume, wishes)) for volume in pool.every(own_disks=every)]
    if as_json:
        output.as_json([asdict(volume) | {"users": users} for volume, users in found])
    elif not found:
        output.say("there is no volume yet")
        output.say(output.paint("next: sdn volume create data1 --size 10G", SOFT))
    else:
        columns = ("name", "size", "on disk", "base", "snapshots", "used by")
        output.table(columns, [_row(*each) for each in found], right=("size", "on disk", "snapshots"))


def _row(volume: Volume, users: list[str]) -> output.Row:
    size, occupied = output.size(volume.size), output.size(volume.occupied)
    used = ", ".join([*users, *(f"base of {name}" for name in volume.layers)])
    return Cell(volume.name, STRONG), size, occupied, volume.base or "-", volume.snapshots, used or "-"


def info(name: str, as_json: bool) -> None:
    volume, snapshots = pool.look(name), pool.snapshots(name)
    users, guests = _users(volume, _wishes()), kept.guests(volume.path)
    if as_json:
        said = [asdict(each) | {"guest": guests.get(each.tag)} for each in snapshots]
        output.as_json(asdict(volume) | {"users": users, "snapshots": said})
        return
    rows = {
        "name": volume.name,
        "file": str(volume.path),
        "size": output.size(volume.size),
        "on disk": output.size(volume.occupied),
        "base": volume.base or "none",
        "base of": ", ".join(volume.layers) or "none",
        "used by": ", ".join(users) or "nobody",
        "snapshots": ", ".join(_said(each, guests.get(each.tag)) for each in snapshots) or "none",
    }
    width = max(map(len, rows))
    for word, text in rows.items():
        output.say(f"{output.paint(word.ljust(width), SOFT)}  {text}")


def create(name: str, size: str | None, source: str | None, linked: bool | None) -> None:
    """Raises FileError."""
    if source is None and size is None:
        raise FileError("how large is it to be?", remedy=f"sdn volume create {name} --size 10G, or --from IMAGE")
    if source is None and linked is not None:
        raise FileError("there is nothing to copy or to be a layer over", remedy="--from IMAGE|VOLUME")
    wanted = _bytes(size) if size else 0
    if source is None:
        pool.create(name, wanted)
    else:
        _create_from(name, source, wanted, linked)
    output.say(f"volume {name} is there ({output.size(pool.look(name).size)})")
    output.say(output.paint(f"next: sdn volume attach GUEST {name}", SOFT))


def clone(source: str, name: str, linked: bool) -> None:
    _create_from(name, str(pool.look(source).name), 0, linked)
    output.say(f"volume {name} is a {'layer over' if linked else 'copy of'} {source}")


def _create_from(name: str, source: str, size: int, linked: bool | None) -> None:
    """An image is never written, so a layer over it is safe; a volume is, so it is copied unless asked otherwise."""
    path = _source(source)
    is_disk = path in (*disks.every_volume(), *disks.own_disks())
    as_layer = not is_disk if linked is None else linked
    if 0 < size < qcow2.read(path).size:
        raise FileError(f"{source} is larger than {output.size(size)}", remedy="leave --size out, or give a larger one")
    if as_layer:
        if is_disk:
            _must_be_free(source)
        pool.layer(name, path, size)
        if is_disk:
            output.note(f"nobody may write {source} from now on, as long as {name} is a layer over it")
        return
    with copying() as progress:
        pool.copy(name, path, size, progress)


def _source(text: str) -> Path:
    """A volume, LAB/GUEST, or an image."""
    try:
        return disks.disk(text)
    except FileError:
        return storage.find_image(text, Path.cwd())


def resize(name: str, size: str, shrink: bool) -> None:
    _must_be_free(name)
    before = pool.look(name).size
    pool.resize(name, wanted := _bytes(size), shrink)
    output.say(f"{name} has {output.size(wanted)} now, it had {output.size(before)}")
    if wanted < before:
        output.note("what was behind its new end is lost; a file system in it that is larger is damaged")
    elif wanted > before:
        output.say(output.paint("its file system does not know yet: resize2fs or xfs_growfs in the guest", SOFT))


def delete(names: list[str]) -> None:
    for name in names:
        _must_be_free(name)
        pool.delete(name)
        output.say(f"{name} is gone")


# ── their snapshots ───────────────────────────────────────────────────────────────────────────────────────────────────


def list_snapshots(name: str, as_json: bool) -> None:
    found = pool.snapshots(name)
    guests = kept.guests(disks.disk(name))
    if as_json:
        output.as_json([asdict(each) | {"guest": guests.get(each.tag)} for each in found])
    elif not found:
        output.say(f"{name} has no snapshot")
    else:
        ages = [f"{output.since(time.time() - each.taken)} ago" for each in found]
        rows = [(Cell(_said(each, guests.get(each.tag)), STRONG), age) for each, age in zip(found, ages, strict=True)]
        output.table(("snapshot", "taken"), rows)


def _said(snapshot: Snapshot, guest: str | None) -> str:
    """Its name, and of whom it is a part: LAB/GUEST, None where nobody keeps the rest of it (any more)."""
    if guest is None:
        return f"{snapshot.name} (of a guest that has it no more)" if snapshot.is_of_running else snapshot.name
    lab_name, _, guest_name = guest.partition("/")
    memory = ", with its memory" if snapshot.is_of_running else ""
    return f"{snapshot.name} (of guest {guest_name} of lab {lab_name}{memory})"


def take_snapshot(name: str, snapshot: str) -> None:
    pool.take_snapshot(name, snapshot)
    output.say(f"{name} is kept as {snapshot}")


def revert(name: str, snapshot: str) -> None:
    pool.revert(name, snapshot)
    output.say(f"{name} is as it was at {snapshot}; what was written since is lost")


def delete_snapshot(name: str, snapshot: str) -> None:
    path = disks.disk(name)
    found, guests = kept.called(path, snapshot), kept.guests(path)
    pool.delete_snapshot(name, found.tag)
    output.say(f"snapshot {found.name} of {name} is gone")
    if guest := guests.get(found.tag):
        lab_name, _, guest_name = guest.partition("/")
        output.note(f"guest {guest_name} of lab {lab_name} cannot be reverted to {found.name} with this disk any more")


# ── at guests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def attach(wanted: str | None, guest: str, name: str, timeout: float) -> None:
    """A guest that runs gets it while it does."""
    storage.volume_path(name)
    model, _ = target.running(wanted)
    target.guest(model, guest)
    if name in model.guests[guest].machine.volumes:
        output.say(f"{guest} has {name} already: nothing to do")
        return
    _must_be_free(name)
    seen = _wish(model, guest, partial(_with_volume, guest=guest, name=name), timeout)
    if seen.phase in ("running", "paused"):
        output.say(f"{guest} has {name}: /dev/disk/by-id/virtio-{name} in it")
    else:
        output.say(f"{guest} will have {name} when it starts")
    _say_of_the_file(model.guests[guest], [*model.guests[guest].machine.volumes, name])


def detach(wanted: str | None, guest: str, name: str, timeout: float) -> None:
    model, _ = target.running(wanted)
    has = target.guest(model, guest).machine.volumes
    if name not in has:
        remedy = f"it has: {', '.join(has)}" if has else "it has none"
        raise FileError(f"{guest} has no volume {name}", remedy=remedy)
    _wish(model, guest, partial(_without_volume, guest=guest, name=name), timeout)
    output.say(f"{guest} has {name} no more")
    _say_of_the_file(model.guests[guest], [each for each in has if each != name])


def _say_of_the_file(guest: Guest, volumes: Sequence[str]) -> None:
    """With all that the guest has now: what is typed over there must not take the others from it."""
    written = f"volumes: [{', '.join(volumes)}]"
    output.say(output.paint(f"the file has the last word: `{written}` at {guest.source} keeps it so", SOFT))


def _wish(model: Model, guest: str, edit: partial[Model], timeout: float) -> GuestFacts:
    """Raises CheckError where it does not become so in time."""
    from sdn.lab.guests import working

    with output.progress(_PHASES) as report, working(model.lab, [guest], timeout, report) as work:
        return work.wait(work.change(edit), _is_done, [guest]).guests.get(guest, GuestFacts())


def _is_done(model: Model, facts: Facts, guest: str) -> bool:
    return facts.hosts.get(model.nodes[guest].chassis, HostFacts()).revision >= model.revision


def _with_volume(model: Model, guest: str, name: str) -> Model:
    has = model.guests[guest].machine.volumes
    return _having(model, guest, has if name in has else (*has, name))


def _without_volume(model: Model, guest: str, name: str) -> Model:
    return _having(model, guest, tuple(each for each in model.guests[guest].machine.volumes if each != name))


def _having(model: Model, guest: str, volumes: tuple[str, ...]) -> Model:
    before = model.guests[guest]
    fresh = replace(before, machine=replace(before.machine, volumes=volumes))
    return replace(model, guests=model.guests | {guest: fresh})


def _wishes() -> dict[str, list[str]]:
    """By volume the guests of running labs that are to have it, in words."""
    found: dict[str, list[str]] = {}
    for name in filter(lab.is_running, lab.labs()):
        for guest in _guests(name):
            for volume in guest.machine.volumes:
                found.setdefault(volume, []).append(f"guest {guest.name} of lab {name}")
    return found


def _guests(name: str) -> list[Guest]:
    try:
        model, _ = lab.snapshot(name)
    except SdnError:  # it has just gone
        return []
    return list(model.guests.values()) if model else []


def _users(volume: Volume, wishes: dict[str, list[str]]) -> list[str]:
    return list(dict.fromkeys([*wishes.get(volume.name, ()), *volume.users]))


def _must_be_free(name: str) -> None:
    """Raises RefusedError where a guest is to have it, though it may be off."""
    users = _users(pool.look(name), _wishes())
    if users:
        remedy = f"sdn volume detach GUEST {name}" if "/" not in name else "switch it off: sdn guest stop"
        raise RefusedError(f"{name} is in use by {', '.join(users)}", remedy=remedy)


def _bytes(text: str) -> int:
    from sdn.topology.machine_values import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise FileError(str(error)) from error
