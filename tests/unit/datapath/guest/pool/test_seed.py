"""Seeds: what cloud-init is told. What cloud-init makes of it is asked in tests/lab/test_seed.py."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace
from email import message_from_bytes
from io import BytesIO
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

import pytest
from pycdlib import PyCdlib

from datapath.addr import Mac
from datapath.guest.pool import seed
from datapath.spec import Guest, Interface, Machine, Seed, Vlan

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 somebody@somewhere"
OURS = Seed("sdn", (KEY,), "")

ETH0 = Interface(
    "web1",
    "eth0",
    "p1",
    64,
    Mac.parse("02:00:00:00:00:01"),
    1450,
    (ip_interface("10.0.0.2/24"), ip_interface("fd00::2/64")),
    (Vlan(20, 1400, (ip_interface("10.2.0.2/24"),)),),
    gateway=IPv4Address("10.0.0.1"),
)
ETH1 = Interface(
    "web1", "eth1", "p2", 65, Mac.parse("02:00:00:00:00:02"), 1500, (ip_interface("10.1.0.2/24"),), dhcp=True
)


def guest(of: Seed = OURS) -> Guest:
    uuid = "11111111-1111-4111-8111-111111111111"
    return Guest("web1", uuid, Machine(1 << 28, image="/a.qcow2", seed=of), (ETH0, ETH1))


def contents(image: bytes) -> dict[str, bytes]:
    """By the names of Rock Ridge."""
    iso, found = PyCdlib(), {}
    iso.open_fp(BytesIO(image))
    for record in iso.list_children(rr_path="/"):
        name = record.rock_ridge.name().decode() if record.is_file() else ""
        if name:
            into = BytesIO()
            iso.get_file_from_iso_fp(into, rr_path=f"/{name}")
            found[name] = into.getvalue()
    iso.close()
    return found


class TestImage:
    def test_its_files_and_its_label(self, tmp_path: Path) -> None:
        path = tmp_path / "seed.iso"
        seed.write(path, guest())
        assert contents(path.read_bytes()) == seed.files(guest())
        assert path.read_bytes()[0x8000 + 40 :][:32].rstrip() == b"CIDATA"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["seed.iso"]

    def test_the_same_bytes_for_the_same_guest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = seed.image(seed.files(guest()))
        with monkeypatch.context() as context:
            context.setattr(time, "time", lambda: 2e9)
            context.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            assert seed.image(seed.files(guest())) == before
        time.tzset()
        assert seed.image(seed.files(replace(guest(), name="web2"))) != before

    def test_an_older_one_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "seed.iso"
        path.write_text("old")
        seed.write(path, guest())
        assert path.stat().st_size > 60_000


class TestUserData:
    def test_ours(self) -> None:
        text = seed.user_data("web1", OURS)
        assert text.startswith("#cloud-config\n")
        config = json.loads(text.removeprefix("#cloud-config\n"))
        assert config["hostname"] == "web1"
        assert [(user["name"], user["ssh_authorized_keys"]) for user in config["users"]] == [("sdn", [KEY])]

    def test_keys_for_the_user_of_the_image(self) -> None:
        config = seed.cloud_config("web1", Seed("", (KEY,), ""))
        assert config["ssh_authorized_keys"] == [KEY]
        assert "users" not in config

    @pytest.mark.parametrize("theirs", ["#!/bin/sh\necho é\n", "#cloud-config\nhostname: x\n", "Content-Type: a/b\n\n"])
    def test_theirs_alone_is_left_as_it_is(self, theirs: str) -> None:
        assert seed.files(guest(Seed("", (), theirs)))["user-data"] == theirs.encode()

    def test_both_are_one_message(self) -> None:
        theirs = "#!/bin/sh\necho é\n"
        message = message_from_bytes(seed.files(guest(replace(OURS, user_data=theirs)))["user-data"])
        first, last = message.get_payload()
        assert first.get_payload(decode=True).decode() == theirs
        assert last.get_content_type() == "text/cloud-config"
        assert json.loads(last.get_payload())["users"][0]["name"] == "sdn"

    def test_a_message_of_theirs_goes_into_it_whole(self) -> None:
        part = "Content-Type: text/x-shellscript\n\n#!/bin/sh\n"
        theirs = f'Content-Type: multipart/mixed; boundary="b"\n\n--b\n{part}\n--b--\n'
        message = message_from_bytes(seed.files(guest(replace(OURS, user_data=theirs)))["user-data"])
        kinds = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
        assert kinds == ["text/x-shellscript", "text/cloud-config"]


def test_meta_data() -> None:
    assert json.loads(seed.files(guest())["meta-data"]) == {"instance-id": guest().uuid, "local-hostname": "web1"}


def test_network_config() -> None:
    assert seed.network_config(guest()) == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "02:00:00:00:00:01"},
                "set-name": "eth0",
                "mtu": 1450,
                "dhcp4": False,
                "addresses": ["10.0.0.2/24", "fd00::2/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}],
            },
            "eth1": {
                "match": {"macaddress": "02:00:00:00:00:02"},
                "set-name": "eth1",
                "mtu": 1500,
                "dhcp4": True,
            },
        },
        "vlans": {"eth0.20": {"id": 20, "link": "eth0", "mtu": 1400, "addresses": ["10.2.0.2/24"]}},
    }
