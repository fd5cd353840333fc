"""Images, volumes and own disks with qemu-img; what QEMU has open nobody changes, what is a base nobody writes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from datapath.errors import FileError, MachineError, RefusedError
from datapath.guest.pool import disks, images, qcow2, storage, use, volumes
from datapath.spec import Guest, Machine
from tests.lab.labs import run

pytestmark = pytest.mark.lab

MIB = 1 << 20


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Raw, 64 MiB, of which 3 MiB are there."""
    path = tmp_path / "base.raw"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        for place in (0, 20, 63):
            file.seek(place * MIB)
            file.write(bytes([place + 1]) * MIB)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def guest(image: Path | None = None, disk: int = 0, name: str = "web1") -> Guest:
    return Guest(name, "", Machine(128 * MIB, image=str(image or ""), disk=disk), ())


def write(path: Path, offset: int, byte: int, length: int = MIB) -> None:
    run("qemu-io", "-f", "qcow2", "-c", f"write -P {byte} {offset} {length}", path)


def holds(path: Path, offset: int, byte: int, length: int = MIB) -> bool:
    command = ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {byte} {offset} {length}", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def quiet(_done: int, _total: int) -> None:
    pass


@contextmanager
def opened(path: Path, directory: Path) -> Iterator[None]:
    """By a QEMU that runs in the directory of a guest, as its arguments say."""
    directory.mkdir(parents=True)
    node = {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": str(path)}}
    command = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-nographic", "-blockdev", json.dumps(node)]
    command += ["-chardev", f"null,id=console,logfile={directory}/console.log", "-qmp", "stdio"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"QMP" in process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


class TestOwnDisk:
    @pytest.mark.parametrize("format_", ["raw", "qcow2"])
    def test_a_layer_over_an_image_that_stays_as_it_is(self, base: Path, tmp_path: Path, format_: str) -> None:
        if format_ == "qcow2":
            run("qemu-img", "convert", "-O", "qcow2", base, tmp_path / "base.qcow2")
            base = tmp_path / "base.qcow2"
        before = digest(base)
        path = storage.own_disk("demo", guest(base))
        assert (qcow2.read(path).backing, qcow2.read(path).backing_format) == (str(base), format_)
        assert holds(path, 20 * MIB, 21)
        write(path, 20 * MIB, 99)
        assert holds(path, 20 * MIB, 99)
        assert not holds(path, 20 * MIB, 21)
        assert holds(path, 0, 1)
        assert digest(base) == before
        assert storage.own_disk("demo", guest(base)) == path
        assert holds(path, 20 * MIB, 99), "it is kept when the guest is started again"
        run("qemu-img", "check", path)

    def test_it_grows_and_never_shrinks(self, base: Path) -> None:
        path = storage.own_disk("demo", guest(base))
        assert qcow2.read(path).size == 64 * MIB
        write(path, 0, 7)
        run("qemu-img", "snapshot", "-c", "s1", path)
        for wanted, size in ((100 * MIB, 100 * MIB), (80 * MIB, 100 * MIB), (0, 100 * MIB)):
            storage.own_disk("demo", guest(base, wanted))
            assert qcow2.read(path).size == size
        assert holds(path, 0, 7)
        assert holds(path, 90 * MIB, 0)

    def test_it_is_made_as_large_as_wanted(self, base: Path) -> None:
        assert qcow2.read(storage.own_disk("demo", guest(base, 100 * MIB))).size == 100 * MIB
        assert qcow2.read(storage.own_disk("demo", guest(base, MIB, "web2"))).size == 64 * MIB
        assert qcow2.read(storage.own_disk("demo", guest(None, 3 * MIB, "web3"))).size == 3 * MIB

    def test_another_image_is_refused(self, base: Path, tmp_path: Path) -> None:
        path = storage.own_disk("demo", guest(base))
        write(path, 0, 7)
        other = tmp_path / "other.raw"
        other.write_bytes(bytes(MIB))
        for wrong in (other, None):
            with pytest.raises(RefusedError, match="not over") as caught:
                storage.own_disk("demo", guest(wrong))
            assert "sdn volume delete demo/web1" in caught.value.remedy
        assert holds(path, 0, 7)
        volumes.delete("demo/web1")
        assert qcow2.read(storage.own_disk("demo", guest(other))).backing == str(other)

    def test_an_image_that_was_built_anew_is_refused(self, base: Path) -> None:
        storage.own_disk("demo", guest(base))
        os.utime(base, ns=(0, 12345))
        with pytest.raises(RefusedError, match="has changed since"):
            storage.own_disk("demo", guest(base))

    def test_one_without_an_image_has_room_for_snapshots(self) -> None:
        path = storage.own_disk("demo", guest())
        assert (qcow2.read(path).size, qcow2.read(path).backing) == (storage.EMPTY_SIZE, "")
        run("qemu-img", "check", path)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_the_second_of_its_kind_needs_no_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        storage.own_disk("demo", guest())
        monkeypatch.setenv("PATH", "/nowhere")
        began = time.perf_counter()
        path = storage.own_disk("demo", guest(name="web2"))
        assert time.perf_counter() - began < 0.05
        assert qcow2.read(path).size == storage.EMPTY_SIZE

    def test_one_that_is_in_use_does_not_grow(self, tmp_path: Path) -> None:
        path = storage.own_disk("demo", guest(disk=MIB))
        with opened(path, tmp_path / "demo" / "guests" / "web1"):
            assert storage.own_disk("demo", guest(disk=2 * MIB)) == path
            assert qcow2.read(path).size == MIB

    def test_they_go(self, pool: Path) -> None:
        for name in ("web1", "web2"):
            storage.own_disk("demo", guest(name=name))
        storage.remove_own_disk("demo", "web1")
        storage.remove_own_disk("demo", "web1")
        assert os.listdir(pool / "labs" / "demo") == ["web2.qcow2"]
        storage.remove_own_disks("demo")
        storage.remove_own_disks("demo")
        assert not (pool / "labs" / "demo").exists()

    def test_without_qemu_img_it_says_what_to_install(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(MachineError, match="qemu-img") as caught:
            storage.own_disk("demo", guest(base))
        assert "qemu-utils" in caught.value.remedy


class TestVolumes:
    def test_an_empty_one(self) -> None:
        volumes.create("data1", 10 * MIB)
        found = volumes.look("data1")
        assert (found.size, found.base, found.snapshots, found.layers, found.users) == (10 * MIB, "", 0, (), ())
        assert storage.volume_path("data1") == found.path
        with pytest.raises(FileError, match="already"):
            volumes.create("data1", MIB)

    def test_a_copy_is_independent(self, base: Path) -> None:
        volumes.copy("data1", base, 0, quiet)
        volumes.copy("data2", disks.disk("data1"), 80 * MIB, quiet)
        write(disks.disk("data1"), 0, 7)
        assert holds(disks.disk("data2"), 0, 1)
        assert [each.base for each in volumes.every()] == ["", ""]
        assert volumes.look("data2").size == 80 * MIB

    def test_nobody_writes_what_others_are_layers_over(self, base: Path) -> None:
        volumes.copy("data1", base, 0, quiet)
        before = digest(disks.disk("data1"))
        volumes.layer("data2", disks.disk("data1"), 100 * MIB)
        write(disks.disk("data2"), 0, 7)
        assert volumes.look("data1").layers == ("data2",)
        assert volumes.look("data2").base == "data1"
        for forbidden in (
            lambda: storage.volume_path("data1"),
            lambda: volumes.resize("data1", 200 * MIB, shrink=False),
            lambda: volumes.take_snapshot("data1", "s1"),
            lambda: volumes.delete("data1"),
        ):
            with pytest.raises(RefusedError, match="base of data2"):
                forbidden()
        assert digest(disks.disk("data1")) == before
        volumes.delete("data2")
        volumes.delete("data1")

    def test_no_layer_over_what_goes_with_its_lab(self) -> None:
        storage.own_disk("demo", guest())
        with pytest.raises(RefusedError, match="goes with its lab"):
            volumes.layer("data1", disks.disk("demo/web1"), 0)
        volumes.copy("data1", disks.disk("demo/web1"), 0, quiet)

    def test_sizes(self) -> None:
        volumes.create("data1", 10 * MIB)
        volumes.resize("data1", 20 * MIB, shrink=False)
        with pytest.raises(RefusedError, match="would be lost"):
            volumes.resize("data1", 5 * MIB, shrink=False)
        volumes.resize("data1", 5 * MIB, shrink=True)
        assert volumes.look("data1").size == 5 * MIB
        volumes.take_snapshot("data1", "s1")
        with pytest.raises(RefusedError, match="has snapshots"):
            volumes.resize("data1", MIB, shrink=True)

    def test_snapshots(self) -> None:
        volumes.create("data1", 10 * MIB)
        path = disks.disk("data1")
        write(path, 0, 1)
        volumes.take_snapshot("data1", "one")
        write(path, 0, 2)
        volumes.take_snapshot("data1", "two")
        assert [each.name for each in volumes.snapshots("data1")] == ["one", "two"]
        assert abs(volumes.snapshots("data1")[0].taken - time.time()) < 60
        volumes.revert("data1", "one")
        assert holds(path, 0, 1)
        volumes.revert("data1", "two")
        assert holds(path, 0, 2)
        volumes.delete_snapshot("data1", "one")
        assert volumes.look("data1").snapshots == 1
        for wrong in ("one", "1"):  # qemu-img takes numbers for names
            with pytest.raises(FileError, match="no snapshot"):
                volumes.revert("data1", wrong)
        for name in ("two", "1st", "../x"):
            with pytest.raises(FileError):
                volumes.take_snapshot("data1", name)

    def test_what_a_guest_has_open_is_left_alone_and_it_says_which(self, tmp_path: Path) -> None:
        volumes.create("data1", 10 * MIB)
        volumes.take_snapshot("data1", "s1")
        path = disks.disk("data1")
        assert not use.is_locked(path)
        with opened(path, tmp_path / "demo" / "guests" / "web1"):
            before = digest(path)
            assert volumes.look("data1").users == ("guest web1 of lab demo",)
            assert [each.name for each in volumes.snapshots("data1")] == ["s1"]
            for forbidden in (
                lambda: volumes.resize("data1", 20 * MIB, shrink=False),
                lambda: volumes.take_snapshot("data1", "s2"),
                lambda: volumes.revert("data1", "s1"),
                lambda: volumes.delete_snapshot("data1", "s1"),
                lambda: volumes.delete("data1"),
                lambda: volumes.copy("data2", path, 0, quiet),
                lambda: volumes.layer("data2", path, 0),
            ):
                with pytest.raises(RefusedError, match="in use by guest web1 of lab demo"):
                    forbidden()
            assert digest(path) == before
        assert os.listdir(path.parent) == ["data1.qcow2"]
        assert not use.is_locked(path)

    def test_no_pool_no_volumes(self) -> None:
        assert volumes.every(own_disks=True) == []
        assert images.every() == []


class TestImages:
    def test_the_same_bytes_with_the_same_holes(self, base: Path) -> None:
        said: list[tuple[int, int]] = []
        path = images.bring(base, "a.raw", False, lambda *at: said.append(at), vouched=True)
        assert digest(path) == digest(base)
        assert path.stat().st_mode & 0o777 == 0o444
        assert path.stat().st_blocks <= base.stat().st_blocks
        assert said[-1] == (64 * MIB, 64 * MIB)

    def test_nothing_is_overwritten_or_deleted_that_is_needed(self, base: Path) -> None:
        path = images.bring(base, "a.raw", False, quiet, vouched=True)
        with pytest.raises(FileError, match="already"):
            images.bring(base, "a.raw", False, quiet, vouched=True)
        own = storage.own_disk("demo", guest(path))
        assert images.every()[0].layers == ("demo/web1",)
        with pytest.raises(RefusedError, match="base of demo/web1"):
            images.delete("a.raw")
        write(own, 0, 7)
        assert digest(path) == digest(base)
        storage.remove_own_disks("demo")
        images.delete("a.raw")
        assert images.every() == []

    def test_another_format_is_converted(self, base: Path, tmp_path: Path) -> None:
        run("qemu-img", "convert", "-O", "vmdk", base, tmp_path / "a.vmdk")
        with pytest.raises(FileError, match="vmdk"):
            images.bring(tmp_path / "a.vmdk", "a.qcow2", False, quiet)
        path = images.bring(tmp_path / "a.vmdk", "a.qcow2", True, quiet)
        assert qcow2.read(path).format == "qcow2"
        assert holds(path, 63 * MIB, 64)

    def test_a_layer_is_imported_only_as_a_whole(self, base: Path, tmp_path: Path) -> None:
        layer = tmp_path / "layer.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", layer)
        with pytest.raises(FileError, match="layer over"):
            images.bring(layer, "a.qcow2", False, quiet)
        path = images.bring(layer, "a.qcow2", True, quiet)
        assert qcow2.read(path).backing == ""
        assert holds(path, 20 * MIB, 21)

    def test_one_that_was_interrupted_leaves_nothing(self, base: Path, pool: Path) -> None:
        def interrupt(_done: int, _total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            images.bring(base, "a.raw", False, interrupt, vouched=True)
        assert os.listdir(pool / "images") == []

    def test_no_room(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=MIB))
        with pytest.raises(MachineError, match="MiB left"):
            images.bring(base, "a.raw", False, quiet, vouched=True)


def test_headers_agree_with_qemu_img(base: Path, tmp_path: Path) -> None:
    for number, options in enumerate(
        (["-f", "qcow2", "a", "3G"], ["-f", "qcow2", "-o", "compat=0.10", "-b", str(base), "-F", "raw", "a"])
    ):
        path = tmp_path / f"{number}.qcow2"
        run("qemu-img", "create", "-q", *(str(path) if word == "a" else word for word in options))
        said = json.loads(run("qemu-img", "info", "--output=json", path))
        found = qcow2.read(path)
        assert (found.format, found.size) == (said["format"], said["virtual-size"])
        assert found.occupied == said["actual-size"]
        assert found.backing == said.get("backing-filename", "")
        assert found.backing_format == said.get("backing-filename-format", "")
