"""Guests of an image, as a user has them: booted by the firmware from a disk, with a seed and volumes.

The image is made here of Debian's packages (disk_image.py); the guest is asked over its serial console.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import MachineError
from datapath.guest import console
from datapath.guest.pool import disks, qcow2
from sdn.cli.main import main
from tests.lab import disk_image
from tests.lab.conftest import Labs
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually, kill
from tests.lab.serial_line import SerialLine
from tests.unit.datapath.guest.pool.test_seed import KEY, contents

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
ISO_LABEL = 16 * 2048 + 40
"""Where the volume identifier is (ECMA-119 section 8.4)."""

IMAGE = "tiny.qcow2"


@pytest.fixture(scope="module", autouse=True)
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of these tests alone: the processes of labs that are started now have it in their environment."""
    path = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as context:
        context.setenv("SDN_POOL", str(path))
        yield path


@pytest.fixture(scope="module")
def base(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 image in the pool, by `sdn image import`."""
    work = tmp_path_factory.mktemp("image")
    try:
        disk_image.build(work / "disk.raw", work)
    except MachineError as error:
        pytest.skip(str(error))
    run("qemu-img", "convert", "-O", "qcow2", work / "disk.raw", work / IMAGE)
    assert main(["image", "import", str(work / IMAGE)]) == 0
    return pool / "images" / IMAGE


def topology(**guest: Any) -> dict[str, Any]:
    return {
        "chassis": {"hv1": {}},
        "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.60.0.0/24"}},
        "guests": {"g1": {"chassis": "hv1", "network": "web", "memory": "256M", "image": IMAGE, **guest}},
    }


@pytest.fixture(scope="module")
def guest(base: Path, shared_lab: Labs) -> Lab:
    """That has booted its image."""
    made = shared_lab(topology(cloud={"user": "ada", "ssh_keys": [KEY]}, disk="100M"))
    with line(made):
        return made


@contextmanager
def line(lab: Lab) -> Iterator[SerialLine]:
    """At a shell of g1."""
    eventually(lambda: disk_image.READY in console_log(lab), within=120)
    opened = SerialLine(lab.run.path / "guests" / "g1" / console.SOCKET)
    try:
        yield opened
    finally:
        opened.close()


def console_log(lab: Lab) -> str:
    path = lab.run.path / "guests" / "g1" / console.LOG
    return path.read_text(errors="replace") if path.exists() else ""


def boots(lab: Lab) -> int:
    return console_log(lab).count(disk_image.READY)


def pid(lab: Lab) -> int:
    return lab.facts.guests["g1"].pid


def digest(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_what_it_writes_survives_its_death_and_its_image_stays_as_it_is(guest: Lab, base: Path) -> None:
    before, first = digest(base.read_bytes()), boots(guest)
    with line(guest) as shell:
        shell.run("echo kept > /data/file; sync")
    kill(pid(guest))
    eventually(lambda: boots(guest) > first, within=120)
    with line(guest) as shell:
        assert shell.run("cat /data/file") == "kept"
    own = disks.own(guest.name, "g1")
    assert qcow2.read(own).backing == str(base)
    assert qcow2.read(own).size == 100 * MIB
    assert digest(base.read_bytes()) == before
    assert base.stat().st_mode & 0o777 == 0o444


def test_its_disk_is_as_large_as_wished(guest: Lab) -> None:
    with line(guest) as shell:
        assert int(shell.run("cat /sys/block/$(basename $(disk root))/size")) * 512 == 100 * MIB


def test_it_finds_its_seed_by_label(guest: Lab) -> None:
    with line(guest) as shell:
        label = shell.run(f"dd if=$(disk seed) bs=1 skip={ISO_LABEL} count=6 2>/dev/null; echo")
        shell.run("mount -o ro -t iso9660 $(disk seed) /seed")
        listed = shell.run("md5sum /seed/*")
        meta = json.loads(shell.run("cat /seed/meta-data"))
        shell.run("umount /seed")
        shell.run("dd if=/dev/zero of=$(disk seed) bs=512 count=1 conv=fsync", code=1)
    seed = guest.run.path / "guests" / "g1" / "seed.iso"
    assert label == run("blkid", "--probe", "--match-tag", "LABEL", "--output", "value", seed).strip() == "CIDATA"
    expected = contents(seed.read_bytes())
    found = {name.removeprefix("/seed/"): digest for digest, name in map(str.split, listed.splitlines())}
    assert found == {name: digest(data) for name, data in expected.items()}
    assert set(found) == {"user-data", "meta-data", "network-config"}
    assert meta["local-hostname"] == "g1"
    port = guest.model.ports["g1:eth0"]
    assert str(port.mac).encode() in expected["network-config"]
    assert str(port.addresses[0]).encode() in expected["network-config"]
    assert b"ada" in expected["user-data"]


def test_a_volume_is_plugged_while_it_runs(guest: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "create", "data1", "--size", "8M"]) == 0
    before = pid(guest)
    assert main(["volume", "attach", "g1", "data1", "--lab", guest.name]) == 0
    with line(guest) as shell:
        device = shell.run("disk data1")
        assert device.startswith("/dev/vd")
        assert int(shell.run(f"cat /sys/block/{device.removeprefix('/dev/')}/size")) * 512 == 8 * MIB
        shell.run(f"echo written by a guest | dd of={device} conv=fsync")
    in_use_by_the_guest(guest, capsys)
    assert main(["volume", "detach", "g1", "data1", "--lab", guest.name]) == 0
    with line(guest) as shell:
        assert shell.run("disk data1; true") == ""
    assert pid(guest) == before
    run("qemu-img", "convert", "-O", "raw", disks.disk("data1"), disks.disk("data1").with_suffix(".raw"))
    assert disks.disk("data1").with_suffix(".raw").read_bytes().startswith(b"written by a guest\n")
    assert main(["volume", "delete", "data1"]) == 0


def in_use_by_the_guest(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["volume", "list"]) == 0
    assert f"guest g1 of lab {lab.name}" in capsys.readouterr().out
    for command in (["delete", "data1"], ["snapshot", "create", "data1", "s1"], ["resize", "data1", "16M"]):
        assert main(["volume", *command]) == 1
        assert f"data1 is in use by guest g1 of lab {lab.name}" in capsys.readouterr().err


def test_what_the_file_says_of_volumes_is_done(guest: Lab) -> None:
    assert main(["volume", "create", "data2", "--size", "8M"]) == 0
    wish = topology(cloud={"user": "ada", "ssh_keys": [KEY]}, disk="100M")
    guest.apply(topology(cloud={"user": "ada", "ssh_keys": [KEY]}, disk="100M", volumes=["data2"]))
    with line(guest) as shell:
        assert shell.run('while [ -z "$(disk data2)" ]; do sleep 0.1; done; disk data2').startswith("/dev/vd")
    guest.apply(wish)
    with line(guest) as shell:
        assert shell.run("disk data2; true") == ""


def test_another_image_needs_another_disk(guest: Lab, pool: Path, tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "raw", pool / "images" / IMAGE, tmp_path / "other.raw")
    before, first = pid(guest), boots(guest)
    guest.apply(topology(image=str(tmp_path / "other.raw")))
    assert pid(guest) == before
    kill(before)
    eventually(lambda: "not over" in guest.facts.guests["g1"].error, within=30)
    assert f"a layer over {pool / 'images' / IMAGE}" in guest.facts.guests["g1"].error
    assert main(["volume", "delete", f"{guest.name}/g1"]) == 0
    assert main(["guest", "start", "g1", "--lab", guest.name]) == 0
    eventually(lambda: boots(guest) > first, within=120)
    assert qcow2.read(disks.own(guest.name, "g1")).backing == str(tmp_path / "other.raw")


def test_its_disk_goes_with_the_lab_and_volumes_stay(lab: Labs, base: Path, pool: Path) -> None:
    assert main(["volume", "create", "data3", "--from", IMAGE]) == 0
    made = lab(topology(volumes=["data3"]))
    assert os.listdir(pool / "labs" / made.name) == ["g1.qcow2"]
    assert main(["volume", "delete", "data3"]) == 1
    made.down()
    assert not (pool / "labs" / made.name).exists()
    assert disks.disk("data3").exists()
    assert main(["volume", "delete", "data3"]) == 0
    assert base.exists()
