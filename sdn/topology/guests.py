"""Guests of the file: the machine of each, with every path and size in it.

Enters: a Draft. Leaves: guests of the model. Never: a file read but keys and user-data, which go into the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datapath.pool import images
from datapath.spec import Kernel, Machine, Power, Seed
from sdn import model
from sdn.topology import confinement, schema
from sdn.topology.draft import Draft, Member
from sdn.topology.machine_values import MOST_USER_DATA

if TYPE_CHECKING:
    from collections.abc import Sequence


def guests(draft: Draft) -> dict[str, model.Guest]:
    found = {name: _guest(draft, member) for name, member in draft.guests.items()}
    _check_volumes(draft)
    _check_devices(draft)
    return found


def _guest(draft: Draft, member: Member[schema.Guest]) -> model.Guest:
    spec = member.spec
    machine = Machine(
        memory=spec.bytes,
        cpus=spec.cpus,
        image=_file(draft, member, ("image",), spec.image) if spec.image else "",
        disk=spec.disk or 0,
        kernel=_kernel(draft, member, spec.kernel) if spec.kernel else None,
        volumes=tuple(spec.volumes),
        seed=_seed(draft, member, spec.cloud) if spec.cloud else None,
        devices=tuple(spec.devices),
        power=_power(draft, member),
        restart=spec.restart,
        driver=spec.driver,
        migration=spec.migration,
    )
    return model.Guest(member.name, machine, tuple(spec.anti_affinity), member.source)


def _power(draft: Draft, member: Member[schema.Guest]) -> Power:
    """Where the file does not say, as it was left."""
    before = draft.previous.guests.get(member.name) if draft.previous else None
    return member.spec.power or (before.machine.power if before else "on")


def _kernel(draft: Draft, member: Member[schema.Guest], kernel: schema.Kernel) -> Kernel:
    initrd = _file(draft, member, ("kernel", "initrd"), kernel.initrd) if kernel.initrd else ""
    return Kernel(_file(draft, member, ("kernel", "image"), kernel.image), initrd, kernel.append or "")


def _file(draft: Draft, member: Member[schema.Guest], field: tuple[str, ...], text: str) -> str:
    """The absolute path of a file: as the topology file sees it, or for a mere name an image of the pool."""
    places = [_path(draft, text), *([] if "/" in text else [images() / text])]
    open_to = [place for place in places if draft.may_open(_resolved(place))]
    found = next(filter(_is_there, open_to), None)
    if found is not None:
        return str(found.resolve())
    if not open_to:  # nor is it said whether there is one
        message = f"{text} is not in the pool; expected an image that is (sdn image list)"
    else:
        message = f"there is no file {' or '.join(map(str, open_to))}; expected the path of one that is there"
    draft.problems.add_once((*member.path, *field), message)
    return ""


def _path(draft: Draft, text: str) -> Path:
    try:
        return draft.home / Path(text).expanduser()
    except RuntimeError:  # ~ of somebody who has no home
        return draft.home / text


def _resolved(path: Path) -> Path:
    """Without links, where they can be followed."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a zero byte
        return path


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_block_device()
    except OSError:  # its name is too long, or a directory on the way is not ours to look into
        return False


def _seed(draft: Draft, member: Member[schema.Guest], cloud: schema.Cloud) -> Seed:
    return Seed(
        cloud.user, tuple(_keys(draft, member, cloud.ssh_keys)), _user_data(draft, member, cloud.user_data or "")
    )


def _user_data(draft: Draft, member: Member[schema.Guest], written: str) -> str:
    """What begins with # (a script, a configuration) and what has several lines is itself; else it is a path."""
    is_itself = "\n" in written or written.startswith("#") or not written
    return written if is_itself else _text(draft, member, "user_data", written)


def _keys(draft: Draft, member: Member[schema.Guest], written: Sequence[str]) -> list[str]:
    """A key has a kind and its data; a word alone is a file of keys."""
    found: list[str] = []
    for text in written:
        lines = [text] if " " in text.strip() else _text(draft, member, "ssh_keys", text).splitlines()
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def _text(draft: Draft, member: Member[schema.Guest], field: str, text: str) -> str:
    path = _path(draft, text)
    try:
        if not draft.may_open(_resolved(path)):
            raise ValueError("it is not in the pool; expected its text itself")
        return _content(path)
    except OSError as error:
        why = f"{(error.strerror or str(error)).lower()}; expected a file beside the topology, or its whole path"
    except UnicodeDecodeError:
        why = "it is not text; expected UTF-8"
    except ValueError as error:
        why = str(error)
    draft.problems.add_once((*member.path, "cloud", field), f"{path} cannot be read: {why}")
    return ""


def _content(path: Path) -> str:
    """Raises OSError and ValueError. A device or a pipe might never end."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file; expected one with text")
    with path.open("rb") as file:
        content = file.read(MOST_USER_DATA + 1)
    if len(content) > MOST_USER_DATA:
        raise ValueError(f"it is too large; expected {MOST_USER_DATA} bytes at most")
    return content.decode()


def _check_volumes(draft: Draft) -> None:
    """A volume is one guest's: two that write to a disk without knowing of each other destroy what is on it."""
    owners: dict[str, str] = {}
    for name, member in draft.guests.items():
        for index, volume in enumerate(member.spec.volumes):
            owner = owners.setdefault(volume, name)
            if owner != name or member.spec.volumes.index(volume) != index:
                whose = f"that of guest '{owner}' too" if owner != name else "there twice"
                draft.problems.add_once(
                    (*member.path, "volumes", index), f"volume '{volume}' is {whose}; expected another"
                )


def _check_devices(draft: Draft) -> None:
    """A device of the machine is in one guest at most; those of a range would share theirs."""
    owners: dict[str, str] = {}
    known = confinement.devices(draft.previous)
    for name, member in draft.guests.items():
        for index, device in enumerate(member.spec.devices):
            if draft.confined and device not in known:
                draft.problems.add_once((*member.path, "devices", index), confinement.why_device(device))
            owner = owners.setdefault(device, name)
            if owner != name or member.spec.devices.index(device) != index:
                whose = f"that of guest '{owner}' too" if owner != name else "there twice"
                draft.problems.add_once(
                    (*member.path, "devices", index), f"device {device} is {whose}; expected another"
                )
