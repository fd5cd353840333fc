"""What the built-in guest is told, and what its archive is made of; its shell scripts are at least shell."""

from __future__ import annotations

import shutil
import stat
import subprocess
from ipaddress import ip_interface
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.guest import builtin, initramfs, packages
from datapath.guest.initramfs import Entry
from datapath.guest.kernel import Kernel
from datapath.spec import Guest, Interface, Machine, Vlan

INSIDE = Path(builtin.__file__).parent / "inside"


def interface(name: str, **more: object) -> Interface:
    mac = Mac.parse("52:54:00:00:00:01")
    fixed: dict[str, object] = {"addresses": (ip_interface("10.50.0.1/24"), ip_interface("fd00:50::1/64")), **more}
    return Interface("web1", name, f"p-{name}", 64, mac, 1450, **fixed)  # type: ignore[arg-type]


def told(*interfaces: Interface) -> list[str]:
    return builtin.configuration(Guest("web1", "", Machine(1 << 27), interfaces)).decode().splitlines()


def test_a_guest_is_told_its_name_and_its_interfaces() -> None:
    gateway = ip_interface("10.50.0.254/24").ip
    vlan = Vlan(20, 1400, (ip_interface("10.51.0.1/24"),))
    assert told(interface("eth0", gateway=gateway, vlans=(vlan,)), interface("eth1", addresses=())) == [
        "hostname web1",
        "interface eth0 52:54:00:00:00:01 1450 static 10.50.0.254 10.50.0.1/24 fd00:50::1/64",
        "vlan eth0 20 1400 10.51.0.1/24",
        "interface eth1 52:54:00:00:00:01 1450 static -",
    ]


def test_one_that_asks_for_its_addresses_is_told_none() -> None:
    assert told(interface("eth0", dhcp=True))[1] == "interface eth0 52:54:00:00:00:01 1450 dhcp -"


@pytest.mark.parametrize("script", [path for path in INSIDE.iterdir() if path.read_bytes().startswith(b"#!/bin/sh")])
def test_scripts_are_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert script.name in builtin._SCRIPTS


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")
def test_the_relay_is_perl() -> None:
    subprocess.run(["perl", "-c", str(INSIDE / "sdn-relay")], check=True, capture_output=True)


def test_every_file_inside_goes_into_the_archive() -> None:
    assert {path.name for path in INSIDE.iterdir()} == {*builtin._SCRIPTS, *builtin._FILES}


class World:
    """A kernel and packages of nothing."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.home = path / "cache", path
        self.kernel = self.of("6.1")
        self.built = 0
        root = self.cache / "packages"
        busybox = root / "bin" / "busybox"
        busybox.parent.mkdir(parents=True)
        busybox.write_text("#!/bin/sh\nprintf 'bin/busybox\\nbin/sh\\nsbin/poweroff\\n'\n")
        busybox.chmod(0o755)
        perl = root / "usr/lib/x86_64-linux-gnu/perl-base"
        for file in [*builtin._PROGRAMS, *(str(perl.relative_to(root) / each) for each in builtin._PERL)]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(file)
        monkeypatch.setattr(packages, "fetch", lambda wanted, cache: root)
        monkeypatch.setattr(packages, "linked", lambda root, program: {"lib/libc.so.6": root / "usr/bin/perl"})
        monkeypatch.setattr(builtin.kernel, "newest", lambda _: self.kernel)
        monkeypatch.setattr(initramfs, "modules", self._modules)

    def of(self, release: str) -> Kernel:
        """A kernel whose image is nothing that can be unpacked."""
        found = Kernel(release, self.home / release)
        found.image.parent.mkdir(parents=True)
        found.image.write_bytes(b"an image")
        return found

    def _modules(self, _: Kernel, names: tuple[str, ...]) -> list[Entry]:
        self.built += 1
        return [initramfs.file(f"modules/{name}.ko", b"") for name in names]

    def files(self) -> builtin.BootFiles:
        return builtin.files(self.cache, self.cache)

    def entries(self) -> dict[str, Entry]:
        return {entry.path: entry for entry in builtin._entries(self.kernel, self.cache / "packages")}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_archive_is_made_once(world: World) -> None:
    first = world.files()
    made = world.built
    assert first.kernel == world.kernel.image
    assert first.initrd.read_bytes().startswith(b"070701")
    assert world.files() == first
    assert world.built == made


def test_another_kernel_gets_another_and_old_ones_go(world: World) -> None:
    seen = set()
    for number in range(6):
        world.kernel = world.of(f"6.{number}.0")
        seen.add(world.files().initrd)
    assert len(seen) == 6
    left = set(world.cache.glob("initrd-*"))
    assert left < seen
    assert world.files().initrd in left


def test_a_kernel_is_unpacked_once_where_it_can_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.files().kernel == world.kernel.image
    monkeypatch.setattr(builtin.vmlinux, "of", lambda image: image + b", unpacked")
    unpacked = world.files().kernel
    assert unpacked.read_bytes() == b"an image, unpacked"
    monkeypatch.setattr(builtin.vmlinux, "of", lambda _: pytest.fail("again"))
    assert world.files().kernel == unpacked


def test_each_directory_comes_before_what_is_in_it(world: World) -> None:
    names = list(world.entries())
    for number, name in enumerate(names):
        assert all(str(parent) in names[:number] for parent in Path(name).parents if parent != Path())
    assert all(stat.S_ISDIR(world.entries()[name].mode) for name in builtin._DIRECTORIES)


def test_our_own_commands_are_not_those_of_busybox(world: World) -> None:
    found = world.entries()
    assert found["bin/sh"].data == b"/bin/busybox"
    assert found["sbin/poweroff"].data == b"/sbin/shutdown"
    assert found["etc/acpi/PWRF/00000080"].data == b"/sbin/shutdown"
    assert found["sbin/sdn-net"].mode == stat.S_IFREG | 0o755
    assert found["modules/network"].data == b"virtio_pci\nvirtio_net\nqemu_fw_cfg\n"
