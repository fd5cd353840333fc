"""What a lab's guests want of this machine for themselves: volumes of its pool, PCI devices. Looked at before anything
is touched.

Enters: a Model, the pool, /sys. Leaves: nothing, or a MachineError with all that is missing, each with its line of the
file. Never: a disk or a device opened or changed.

Guests that shall be off are left out: what they want may come before they start. So are those of chassis that are not
ours, which have another machine's pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from datapath.errors import MachineError, SdnError
from datapath.spec import Driver
from sdn.model import Guest, Model

_DEVICES: Final = Path("/sys/bus/pci/devices")
_DRIVER: Final = "vfio-pci"
"""By which the kernel lets a process have a device. QEMU wants it bound already, libvirt does that itself."""


class Missing(NamedTuple):
    feature: str
    message: str
    remedy: str


def check(model: Model) -> None:
    """Raises MachineError."""
    starting = [guest for guest in model.guests.values() if guest.machine.power != "off" and _is_ours(model, guest)]
    found = [(guest, missing) for guest in starting for missing in _missing(model.lab, guest)]
    if found:
        features = dict.fromkeys(missing.feature for _, missing in found)
        told = [f"{guest.source}: guest {guest.name}: {missing.message}" for guest, missing in found]
        remedies = dict.fromkeys(missing.remedy for _, missing in found if missing.remedy)
        raise MachineError(", ".join(features), "\n  ".join(told), remedy="; ".join(remedies))


def _is_ours(model: Model, guest: Guest) -> bool:
    return model.chassis[model.nodes[guest.name].chassis].ours


def _missing(lab: str, guest: Guest) -> Iterator[Missing]:
    for volume in guest.machine.volumes:
        yield from _of_volume(lab, volume)
    for device in guest.machine.devices:
        yield from _of_device(device, guest.machine.driver)


def _of_volume(lab: str, name: str) -> Iterator[Missing]:
    """One that a guest of the same lab has may be on its way from it to another."""
    from datapath.guest.pool import storage, use

    try:
        path = storage.volume_path(name)
        users = use.users(path) if use.is_locked(path) else ()
    except SdnError as error:
        yield Missing("volumes", error.message, error.remedy)
        return
    except OSError as error:
        yield Missing("volumes", f"volume {name} cannot be read: {error}", "")
        return
    others = [user for user in users if not user.endswith(f" of lab {lab}")]
    if others:
        yield Missing("volumes", f"volume {name} is in use by {', '.join(others)}", f"sdn volume info {name}")


def _of_device(address: str, driver: Driver) -> Iterator[Missing]:
    device = _DEVICES / address
    if not device.exists():
        yield Missing("PCI devices", f"this machine has no PCI device {address}", "lspci -D shows those that it has")
    elif not (device / "iommu_group").exists():
        what = f"PCI device {address} cannot be given to a guest: this machine has no IOMMU, or it is off"
        yield Missing("IOMMU", what, "intel_iommu=on or amd_iommu=on on the kernel's command line, and in the firmware")
    elif driver == "qemu" and (bound := _driver(device)) != _DRIVER:
        what = f"PCI device {address} is {bound}'s" if bound else f"PCI device {address} has no driver"
        yield Missing(_DRIVER, f"{what}, not {_DRIVER}'s", f"driverctl set-override {address} {_DRIVER}")


def _driver(device: Path) -> str:
    link = device / "driver"
    return link.resolve().name if link.exists() else ""
