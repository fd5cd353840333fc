"""Volumes and devices that are not there are told before anything is touched, with the lines that want them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.guest.pool import disks, use
from datapath.spec import Machine
from sdn.lab import belongings, look_at_machine
from sdn.model import Model
from tests.unit.cli.sample import machines
from tests.unit.datapath.guest.pool.test_qcow2 import header


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has one volume, and a device for each state of one."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(belongings, "_DEVICES", tmp_path / "devices")
    disks.ready(tmp_path / "pool" / "volumes")
    disks.volume("data1").write_bytes(header(1 << 30))
    for address, driver in (("0000:01:00.0", "vfio-pci"), ("0000:02:00.0", "e1000e"), ("0000:03:00.0", "")):
        device = tmp_path / "devices" / address
        (device / "iommu_group").mkdir(parents=True)
        if driver:
            (tmp_path / driver).mkdir()
            (device / "driver").symlink_to(tmp_path / driver)
    (tmp_path / "devices" / "0000:04:00.0").mkdir()


def having(**machine: object) -> Model:
    model = machines()
    guest = model.guests["vm1"]
    return replace(
        model,
        guests={"vm1": replace(guest, machine=replace(Machine(memory=1 << 20), **machine))},  # type: ignore[arg-type]
    )


def test_all_that_is_there() -> None:
    belongings.check(having(volumes=("data1",), devices=("0000:01:00.0",)))


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(MachineError) as caught:
        look_at_machine(having(volumes=("nope", "data1"), devices=("0000:ff:1f.7",)))
    lines = caught.value.message.splitlines()
    assert lines[0] == "overlay.yaml:81:3: guest vm1: there is no volume nope"
    assert lines[1].strip() == "overlay.yaml:81:3: guest vm1: this machine has no PCI device 0000:ff:1f.7"
    assert "sdn volume create nope" in caught.value.remedy
    assert "lspci -D" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_guest_that_shall_be_off_may_wait_for_it() -> None:
    belongings.check(having(volumes=("nope",), power="off"))


def test_somebody_elses_chassis_has_another_pool() -> None:
    model = having(volumes=("nope",))
    hv1 = replace(model.chassis["hv1"], datapath="external")
    belongings.check(replace(model, chassis=model.chassis | {"hv1": hv1}))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0000:02:00.0", "is e1000e's, not vfio-pci's"),
        ("0000:03:00.0", "has no driver, not vfio-pci's"),
        ("0000:04:00.0", "no IOMMU"),
    ],
)
def test_devices_that_cannot_be_had(address: str, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        belongings.check(having(devices=(address,)))


def test_libvirt_binds_devices_itself() -> None:
    belongings.check(having(devices=("0000:02:00.0",), driver="libvirt"))


def test_a_volume_of_another_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "is_locked", lambda _: True)
    monkeypatch.setattr(use, "users", lambda _: ("guest vm2 of lab overlay",))
    belongings.check(having(volumes=("data1",)))
    monkeypatch.setattr(use, "users", lambda _: ("guest vm2 of lab other",))
    with pytest.raises(MachineError, match="data1 is in use by guest vm2 of lab other"):
        belongings.check(having(volumes=("data1",)))
