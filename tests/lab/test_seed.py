"""What the real cloud-init makes of our seeds: Debian's package, unpacked and asked by its own code.

It reads the files, joins the parts, checks them against its schema, and writes what the three kinds of distribution
would configure. That a guest's kernel sees the ISO is in test_guest_images.py.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import MachineError
from datapath.guest import packages
from datapath.guest.pool import seed
from datapath.spec import Seed
from tests.unit.datapath.guest.pool.test_seed import KEY, OURS, contents, guest

pytestmark = pytest.mark.lab

CACHE = Path("/var/cache/sdn/tests")
PYTHON = "/usr/bin/python3"
READER = Path(__file__).with_name("cloud_init_reader.py")
NEEDED = """attr certifi chardet charset-normalizer configobj idna jinja2 json-pointer jsonpatch jsonschema markupsafe
netifaces oauthlib pyrsistent requests serial six urllib3 yaml"""


@pytest.fixture(scope="module")
def library() -> Path:
    """Of Debian's Python."""
    try:
        root = packages.fetch(["cloud-init", *(f"python3-{name}" for name in NEEDED.split())], CACHE)
    except MachineError as error:
        pytest.skip(str(error))
    found = root / "usr/lib/python3/dist-packages"
    said = subprocess.run(
        [PYTHON, "-c", "import cloudinit.stages"], env=_environment(found), capture_output=True, text=True
    )
    if said.returncode:
        pytest.skip(f"cloud-init cannot be imported by {PYTHON}: {said.stderr.strip().splitlines()[-1]}")
    return found


@pytest.fixture
def read(library: Path, tmp_path: Path) -> Any:
    """`read(Seed)`: what cloud-init makes of the image that we write for it."""

    def reading(of: Seed) -> dict[str, Any]:
        (tmp_path / "seed").mkdir()
        for name, data in contents(seed.image(seed.files(guest(of)))).items():
            (tmp_path / "seed" / name).write_bytes(data)
        command = [PYTHON, str(READER), str(tmp_path)]
        done = subprocess.run(command, env=_environment(library), capture_output=True, text=True, timeout=60)
        assert not done.returncode, done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    return reading


def _environment(library: Path) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(library)}


def test_it_knows_who_it_is(read: Any) -> None:
    made = read(OURS)
    assert made["source"]["found"]
    assert made["source"]["instance-id"] == guest().uuid
    assert "web1" in made["source"]["hostname"]
    assert made["source"]["network"] == seed.network_config(guest())


def test_our_configuration_is_what_its_schema_wants(read: Any) -> None:
    made = read(OURS)
    assert made["schema"] == []
    assert made["parts"] == ["text/cloud-config"]
    assert made["config"] == seed.cloud_config("web1", OURS)


def test_addresses(read: Any) -> None:
    interfaces = read(OURS)["interfaces"]
    eth0, eth1, tagged = (interfaces[name] for name in ("eth0", "eth1", "eth0.20"))
    assert (eth0["mac_address"], eth0["mtu"]) == ("02:00:00:00:00:01", 1450)
    assert [(each["address"], each["prefix"]) for each in eth0["subnets"]] == [("10.0.0.2", 24), ("fd00::2", 64)]
    (route,) = eth0["subnets"][0]["routes"]
    assert (route["network"], route["prefix"], route["gateway"]) == ("0.0.0.0", 0, "10.0.0.1")
    assert [each["type"] for each in eth1["subnets"]] == ["dhcp4"]
    assert (tagged["vlan_id"], tagged["vlan-raw-device"], tagged["mtu"]) == (20, "eth0", 1400)
    assert tagged["subnets"][0]["address"] == "10.2.0.2"


def test_every_kind_of_distribution_gets_them(read: Any) -> None:
    rendered = read(OURS)["rendered"]
    for text in rendered.values():
        assert all(
            word in text for word in ("10.0.0.2/24", "fd00::2/64", "10.0.0.1", "02:00:00:00:00:01", "10.2.0.2/24")
        )
    assert "iface eth1 inet dhcp" in rendered["eni"]
    assert "Gateway=10.0.0.1" in rendered["networkd"]
    assert "set-name: eth0" in rendered["netplan"]


def test_a_configuration_of_the_users_is_joined_with_ours(read: Any) -> None:
    theirs = "#cloud-config\nhostname: other\npackages: [tcpdump]\nusers: [default, {name: bob}]\n"
    made = read(replace(OURS, user_data=theirs))
    config = made["config"]
    assert made["schema"] == []
    assert (config["hostname"], config["packages"]) == ("other", ["tcpdump"])
    assert [each if isinstance(each, str) else each["name"] for each in config["users"]] == ["default", "bob", "sdn"]
    assert config["updates"]["network"]["when"] == ["boot-new-instance", "boot"]


def test_a_script_of_the_users_runs_beside_ours(read: Any) -> None:
    made = read(replace(OURS, user_data="#!/bin/sh\necho é > /tmp/x\n"))
    assert made["parts"] == ["text/x-shellscript", "text/cloud-config"]
    assert made["config"] == seed.cloud_config("web1", OURS)


def test_a_message_of_the_users_is_taken_apart(read: Any) -> None:
    parts = "".join(f"--b\nContent-Type: {kind}\n\n{text}\n" for kind, text in (("text/x-shellscript", "#!/bin/sh"),))
    theirs = f'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n{parts}--b--\n'
    assert read(replace(OURS, user_data=theirs))["parts"] == ["text/x-shellscript", "text/cloud-config"]


def test_theirs_alone_is_all(read: Any) -> None:
    made = read(Seed("", (), "#cloud-config\nruncmd: [[touch, /tmp/x]]\n"))
    assert made["config"] == {"runcmd": [["touch", "/tmp/x"]]}


def test_keys_of_the_images_own_user(read: Any) -> None:
    made = read(Seed("", (KEY,), ""))
    assert made["schema"] == []
    assert made["config"]["ssh_authorized_keys"] == [KEY]
