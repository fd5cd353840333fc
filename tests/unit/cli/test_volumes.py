"""`sdn volume` and `sdn image` without qemu-img and without a lab: what is shown, refused, wished."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from datapath.guest.pool import disks
from sdn import lab
from sdn.cli import target, volumes
from sdn.cli.main import main
from sdn.lab import guests as lab_guests
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts, HostFacts
from tests.unit.cli.sample import guest_facts, machines
from tests.unit.datapath.guest.pool.test_qcow2 import header

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data1 is over nothing, data2 and the own disk of vm2 are over an image."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))
    for name in ("images", "volumes", "labs/overlay"):
        disks.ready(tmp_path / "pool" / name)
    image = tmp_path / "pool" / "images" / "debian.raw"
    image.write_bytes(bytes(1 << 20))
    disks.volume("data1").write_bytes(header(10 << 30))
    disks.volume("data2").write_bytes(header(20 << 30, str(image).encode(), b"raw"))
    disks.own("overlay", "vm2").write_bytes(header(1 << 30, str(image).encode(), b"raw"))
    return tmp_path / "pool"


class Lab:
    """A running one, in memory."""

    def __init__(self, model: Model) -> None:
        self.model = model.with_revision(7)
        self.facts = guest_facts(self.model)

    def change(self, edit: Callable[[Model], Model]) -> Model:
        self.model = edit(self.model).with_revision(self.model.revision + 1)
        self.facts = replace(self.facts, hosts={name: HostFacts(self.model.revision) for name in self.model.chassis})
        return self.model

    def wait(self, model: Model, met: lab_guests.Met, names: Sequence[str]) -> Facts:
        assert all(met(model, self.facts, name) for name in names)
        return self.facts

    def volumes(self, guest: str) -> tuple[str, ...]:
        return self.model.guests[guest].machine.volumes


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(machines())

    @contextmanager
    def working(*_: object) -> Iterator[Lab]:
        yield made

    monkeypatch.setattr(lab, "labs", lambda: ["overlay"])
    monkeypatch.setattr(lab, "is_running", lambda _: True)
    monkeypatch.setattr(lab, "snapshot", lambda _: (made.model, made.facts))
    monkeypatch.setattr(target, "running", lambda _: (made.model, made.facts))
    monkeypatch.setattr(lab_guests, "working", working)
    return made


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


class TestShown:
    def test_list(self, capsys: Capture) -> None:
        assert main(["volume", "list"]) == 0
        found = rows(capsys.readouterr().out)
        assert found["data1"][1:3] == ["10", "GiB"]
        assert found["data1"][-3:] == ["-", "0", "-"]
        assert found["data2"][-3:] == ["debian.raw", "0", "-"]
        assert "overlay/vm2" not in found

    def test_own_disks_too(self, capsys: Capture) -> None:
        assert main(["volume", "list", "--all"]) == 0
        assert "overlay/vm2" in rows(capsys.readouterr().out)

    def test_who_is_to_have_it(self, running: Lab, capsys: Capture) -> None:
        running.change(lambda model: volumes._with_volume(model, "vm1", "data1"))
        assert main(["volume", "list", "-o", "json"]) == 0
        users = {each["name"]: each["users"] for each in json.loads(capsys.readouterr().out)}
        assert users == {"data1": ["guest vm1 of lab overlay"], "data2": []}

    def test_info(self, capsys: Capture) -> None:
        assert main(["volume", "info", "data2"]) == 0
        out = capsys.readouterr().out
        assert "20 GiB" in out
        assert "debian.raw" in out
        assert main(["volume", "info", "overlay/vm2", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["snapshots"] == []

    def test_images(self, capsys: Capture) -> None:
        assert main(["image", "list"]) == 0
        assert "data2, overlay/vm2" in capsys.readouterr().out

    def test_nothing_yet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        monkeypatch.setenv("SDN_POOL", str(tmp_path / "empty"))
        for kind in ("volume", "image"):
            assert main([kind, "list"]) == 0
            assert f"there is no {kind} yet" in capsys.readouterr().out
        assert not (tmp_path / "empty").exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (["volume", "create", "data9"], "how large"),
            (["volume", "create", "data9", "--size", "lots"], "not a size"),
            (["volume", "create", "data9", "--size", "1M", "--linked"], "nothing to copy"),
            (["volume", "create", "data1", "--size", "1M"], "already"),
            (["volume", "create", "a/b", "--size", "1M"], "cannot be the name"),
            (["volume", "create", "data9", "--from", "fedora"], "there is no image"),
            (["volume", "create", "data9", "--from", "data1", "--size", "1G"], "larger than 1 GiB"),
            (["volume", "info", "dat1"], "did you mean data1?"),
            (["volume", "delete", "overlay/vm3"], "did you mean overlay/vm2?"),
            (["volume", "snapshot", "revert", "data1", "s1"], "it has none"),
            (["image", "delete", "fedora"], "there are: debian.raw"),
            (["image", "import", "/nowhere/x.qcow2"], "no such file"),
        ],
    )
    def test_what_is_wrong_with_the_arguments(self, command: list[str], message: str, capsys: Capture) -> None:
        assert main(command) == 2
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        "command", [["delete", "data1"], ["resize", "data1", "20G"], ["clone", "--linked", "data1", "x"]]
    )
    def test_what_a_guest_is_to_have(self, running: Lab, command: list[str], capsys: Capture) -> None:
        """Though nobody has it open: the guest is off."""
        running.change(lambda model: volumes._with_volume(model, "vm1", "data1"))
        assert main(["volume", *command]) == 1
        assert "data1 is in use by guest vm1 of lab overlay" in capsys.readouterr().err
        assert disks.disk("data1").exists()

    def test_an_image_below_others(self, capsys: Capture) -> None:
        assert main(["image", "delete", "debian.raw"]) == 1
        assert "base of data2, overlay/vm2" in capsys.readouterr().err


class TestAtGuests:
    def test_attach_and_detach(self, running: Lab, capsys: Capture) -> None:
        assert main(["volume", "attach", "vm1", "data1"]) == 0
        assert running.volumes("vm1") == ("data1",)
        assert "/dev/disk/by-id/virtio-data1" in capsys.readouterr().out
        assert main(["volume", "attach", "vm1", "data1"]) == 0
        assert "nothing to do" in capsys.readouterr().out
        assert main(["volume", "attach", "vm1", "data2"]) == 0
        assert running.volumes("vm1") == ("data1", "data2")
        assert "`volumes: [data1, data2]` at" in capsys.readouterr().out
        assert main(["volume", "detach", "vm1", "data1"]) == 0
        assert running.volumes("vm1") == ("data2",)
        assert "`volumes: [data2]` at" in capsys.readouterr().out
        assert running.volumes("vm2") == ()

    def test_a_guest_that_is_off_gets_it_when_it_starts(self, running: Lab, capsys: Capture) -> None:
        running.facts = guest_facts(running.model, vm1=GuestFacts("off"))
        assert main(["volume", "attach", "vm1", "data1"]) == 0
        assert "when it starts" in capsys.readouterr().out

    def test_a_volume_is_one_guests(self, running: Lab, capsys: Capture) -> None:
        assert main(["volume", "attach", "vm1", "data1"]) == 0
        assert main(["volume", "attach", "vm2", "data1"]) == 1
        assert "in use by guest vm1" in capsys.readouterr().err
        assert running.volumes("vm2") == ()

    @pytest.mark.parametrize(
        "command",
        [
            ["attach", "vm1", "nothing"],
            ["attach", "web1", "data1"],
            ["detach", "vm1", "data1"],
            ["attach", "vm1", "overlay/vm2"],
        ],
    )
    def test_what_is_not_there(self, running: Lab, command: list[str]) -> None:
        assert main(["volume", *command]) == 2
        assert running.volumes("vm1") == ()

    def test_what_others_are_over_is_not_attached(self, running: Lab, capsys: Capture) -> None:
        disks.volume("layer").write_bytes(header(backing=str(disks.disk("data1")).encode(), backing_format=b"qcow2"))
        assert main(["volume", "attach", "vm1", "data1"]) == 1
        assert "base of layer" in capsys.readouterr().err


def test_deleted(capsys: Capture) -> None:
    assert main(["volume", "delete", "data1", "overlay/vm2"]) == 0
    assert disks.every_volume() == [disks.volume("data2")]
    assert disks.own_disks() == []
