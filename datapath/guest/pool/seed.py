"""What cloud-init finds in a guest: an ISO image labelled CIDATA, its data source NoCloud.

    user-data        who may log in, and the user's own file (cloudinit.readthedocs.io/en/22.4.2/topics/format.html)
    meta-data        who the guest is
    network-config   the addresses of its interfaces, by MAC (…/topics/network-config-format-v2.html)

Enters: a Guest of a HostSpec. Leaves: a file, the same bytes for the same guest. Never: a moment, a random number.

What we write is JSON, which is YAML that needs no quoting to be thought about.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import time
from email import message_from_string
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from datapath.spec import Guest, Interface, Seed

LABEL: Final = "CIDATA"
_SHELL: Final = "/bin/bash"
_MERGE: Final = "list(append)+dict(no_replace,recurse_list,recurse_dict)+str()"
"""How cloud-init joins our part to the user's, which is before ours: lists are joined, and what is set stays."""

_DEFAULT_ROUTE: Final = "0.0.0.0/0"
"""Older cloud-init does not know `default`."""

_EPOCH: Final = 315532800.0
"""1980-01-01: the time of all files."""


def write(path: Path, guest: Guest) -> None:
    """Complete or not at all; 3 ms. `guest.machine.seed` is given."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(image(files(guest)))
    fresh.rename(path)


def files(guest: Guest) -> dict[str, bytes]:
    """By name."""
    seed = guest.machine.seed
    assert seed is not None
    texts = {
        "user-data": user_data(guest.name, seed),
        "meta-data": _json({"instance-id": guest.uuid, "local-hostname": guest.name}),
        "network-config": _json(network_config(guest)),
    }
    return {name: text.encode() for name, text in texts.items()}


# ── user-data ────────────────────────────────────────────────────────────────────────────────────────────────────────


def user_data(hostname: str, seed: Seed) -> str:
    """Ours, or the user's file as it is, or both as one MIME message."""
    ours = "#cloud-config\n" + _json(cloud_config(hostname, seed))
    if not seed.user_data:
        return ours
    if not seed.user and not seed.ssh_keys:
        return seed.user_data
    return _joined(seed.user_data, ours)


def cloud_config(hostname: str, seed: Seed) -> dict[str, Any]:
    """Where a user is named it is the only one that is made; else the keys are those of the image's own user. The
    addresses are applied at each start, for they follow the topology file."""
    config: dict[str, Any] = {"hostname": hostname, "manage_etc_hosts": "localhost"}
    if seed.user:
        config["users"] = [_user(seed)]
    elif seed.ssh_keys:
        config["ssh_authorized_keys"] = list(seed.ssh_keys)
    config["updates"] = {"network": {"when": ["boot-new-instance", "boot"]}}
    return config


def _user(seed: Seed) -> dict[str, Any]:
    user: dict[str, Any] = {"name": seed.user, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": _SHELL, "lock_passwd": True}
    return user | ({"ssh_authorized_keys": list(seed.ssh_keys)} if seed.ssh_keys else {})


def _joined(theirs: str, ours: str) -> str:
    """cloud-init finds out by the first line what their part is, but for a MIME message, which goes in as it is."""
    last = MIMEText(ours.removeprefix("#cloud-config\n"), "cloud-config")
    last["Merge-Type"] = _MERGE
    digest = hashlib.blake2b((theirs + ours).encode(), digest_size=16).hexdigest()
    whole = MIMEMultipart("mixed", f"sdn-{digest}", [_part(theirs), last])
    return whole.as_string()


def _part(theirs: str) -> Message:
    first = theirs.lstrip().lower()
    if first.startswith(("content-type:", "mime-version:")):
        return message_from_string(theirs)
    return MIMEText(theirs, "plain", "utf-8")


# ── network-config ───────────────────────────────────────────────────────────────────────────────────────────────────


def network_config(guest: Guest) -> dict[str, Any]:
    """Version 2. An interface has the name that the topology file gives it, whatever the guest would call it."""
    config: dict[str, Any] = {"version": 2, "ethernets": {each.name: _ethernet(each) for each in guest.interfaces}}
    vlans = {f"{each.name}.{vlan.tag}": (each, vlan) for each in guest.interfaces for vlan in each.vlans}
    if vlans:
        config["vlans"] = {
            name: {"id": vlan.tag, "link": each.name, "mtu": vlan.mtu} | _addresses(vlan.addresses)
            for name, (each, vlan) in vlans.items()
        }
    return config


def _ethernet(interface: Interface) -> dict[str, Any]:
    config: dict[str, Any] = {
        "match": {"macaddress": str(interface.mac)},
        "set-name": interface.name,
        "mtu": interface.mtu,
        "dhcp4": interface.dhcp,
    }
    if not interface.dhcp:
        config |= _addresses(interface.addresses)
    if interface.gateway is not None and not interface.dhcp:
        config["routes"] = [{"to": _DEFAULT_ROUTE, "via": str(interface.gateway)}]
    return config


def _addresses(addresses: tuple[Any, ...]) -> dict[str, Any]:
    return {"addresses": [str(address) for address in addresses]} if addresses else {}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


# ── the image ────────────────────────────────────────────────────────────────────────────────────────────────────────


def image(content: dict[str, bytes]) -> bytes:
    """An ISO 9660 image with the long names of Rock Ridge and Joliet, as cloud-localds makes it."""
    from pycdlib.pycdlib import PyCdlib

    _stop_clock()
    iso, made = PyCdlib(), io.BytesIO()
    iso.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for number, (name, data) in enumerate(content.items(), 1):
        iso.add_fp(
            io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}", file_mode=0o100400
        )
    iso.write_fp(made)
    iso.close()
    return made.getvalue()


@functools.cache
def _stop_clock() -> None:
    """pycdlib has no argument for the times that it writes; nobody else here uses it."""
    from pycdlib import dates, headervd, pycdlib, utils

    clock = SimpleNamespace(**vars(time) | {"time": lambda: _EPOCH, "localtime": time.gmtime})
    for module in (dates, headervd, pycdlib, utils):
        vars(module)["time"] = clock
