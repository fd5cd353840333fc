"""How an entry is laid out, and modules in the order in which they load."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.guest.initramfs import archive, file, modules
from datapath.guest.kernel import Kernel

DEPENDENCIES = """\
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio.ko kernel/drivers/virtio_ring.ko
kernel/fs/fuse/fuse.ko:
kernel/drivers/virtio.ko: kernel/drivers/virtio_ring.ko
kernel/drivers/virtio_ring.ko:
kernel/drivers/virtio-rng.ko.xz: kernel/drivers/virtio.ko kernel/drivers/virtio_ring.ko
kernel/drivers/odd.ko.zst:
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    made = Kernel("6.1.0-test", tmp_path)
    for line in DEPENDENCIES.splitlines():
        path = made.modules / line.partition(":")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.name.encode()
        path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    (made.modules / "modules.dep").write_text(DEPENDENCIES)
    (made.modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return made


def test_each_module_after_what_it_needs(kernel: Kernel) -> None:
    loaded = [entry.path for entry in modules(kernel, ["virtiofs", "virtio_rng", "ext4", "virtio"])]
    assert loaded == [f"modules/{name}.ko" for name in ("virtio_ring", "virtio", "fuse", "virtiofs", "virtio_rng")]


def test_compressed_modules_are_unpacked(kernel: Kernel) -> None:
    assert modules(kernel, ["virtio_rng"])[-1].data == b"virtio-rng.ko.xz"


@pytest.mark.parametrize("name", ["missing", "odd"])
def test_what_cannot_be_had_is_named(kernel: Kernel, name: str) -> None:
    with pytest.raises(MachineError, match=name):
        modules(kernel, [name])


def test_layout_of_an_entry() -> None:
    data = archive([file("a", b"xyz", 0o755)])
    assert data.startswith(b"070701" + b"00000001" + b"000081ED")
    assert data[110:120] == b"a\0xyz\0" + b"0707"
    assert len(data) % 4 == 0
    assert b"TRAILER!!!\0" in data
