"""A guest's notes are read as they were written."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, ip_interface, ip_network
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.guest.qemu import saved
from datapath.guest.qemu.command import Ports
from datapath.guest.qemu.saved import Saved
from datapath.spec import Accelerator, Attachment, Guest, Interface, Kernel, Machine, Macvlan, Seed, Sender, Vlan

MAC = Mac.parse("02:00:00:00:00:01")
FULL = Guest(
    "web",
    "6a3c1e5e-0b1d-4c8e-9e0f-5f6d7c8b9a01",
    Machine(
        memory=128 << 20,
        kernel=Kernel("/k", "", "quiet"),
        volumes=("a", "b"),
        seed=Seed("me", ("ssh-ed25519 A",), ""),
        devices=("0000:03:10.2",),
        power="paused",
    ),
    (
        Interface(
            "web",
            "eth0",
            "tap0",
            64,
            MAC,
            1450,
            (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64")),
            vlans=(Vlan(7, 1400, (ip_interface("10.7.0.1/24"),)),),
            ready=True,
            gateway=IPv4Address("10.0.0.254"),
            attachments=(
                Attachment("web", None, (MAC,), (Sender(MAC, ip_network("10.0.0.1/32")),)),
                Attachment("db", 7, (), None),
            ),
            macvlan=Macvlan("bridge", True, "physnet1", 0),
        ),
    ),
    moves_to="hv2",
)


def notes(guest: Guest) -> Saved:
    return Saved(guest, "hv1", Accelerator("tcg", "no /dev/kvm"), 1_700_000_000, Ports({"eth0": 3}, {"a": 0}, 8, 4))


@pytest.mark.parametrize("guest", [FULL, Guest("g", "u", Machine(memory=1), ())])
def test_what_is_written_is_read(tmp_path: Path, guest: Guest) -> None:
    notes(guest).write(tmp_path)
    assert saved.read(tmp_path) == notes(guest)
    assert [each.name for each in tmp_path.iterdir()] == [saved.FILE]
    assert (tmp_path / saved.FILE).stat().st_mode & 0o777 == 0o600


def test_what_another_version_wrote_is_nothing(tmp_path: Path) -> None:
    assert saved.read(tmp_path) is None
    notes(FULL).write(tmp_path)
    file = tmp_path / saved.FILE
    content = json.loads(file.read_text())
    for broken in ({**content, "colour": "red"}, {**content, "guest": {"name": "web"}}, [], 3):
        file.write_text(json.dumps(broken))
        assert saved.read(tmp_path) is None
    file.write_text(file.read_text()[:-1])
    assert saved.read(tmp_path) is None
