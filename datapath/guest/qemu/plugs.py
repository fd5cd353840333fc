"""Devices that are plugged into a guest while it runs, and unplugged.

Enters: interfaces with their taps, disks; a connection to QEMU. Leaves: the guest with them, known by what QEMU shows
on its PCI buses. Never: a device half plugged stays; a memory of what was plugged, for QEMU has it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.instance import Place
from datapath.guest.qemu import command
from datapath.guest.qemu.command import Disk, Ports
from datapath.guest.qemu.qmp import Qmp, passing
from datapath.linux import taps
from datapath.spec import Accelerator, Interface

DEVICES: Final = "/machine/peripheral"

LETS_GO: Final = 4.0
"""Seconds that a guest has to let go of a device before it is asked again: one that boots forgets that it was asked."""
ASKED: Final = 3
"""Times."""


async def seen(qmp: Qmp) -> Ports:
    """What is in the root ports. Before the firmware has numbered the buses query-pci does not know, the object model
    does."""
    every = [each["name"] for each in await qmp.execute("qom-list", path=DEVICES)]
    found: dict[str, dict[str, int]] = {}
    for kind in ("nic", "disk"):
        devices = [name for name in every if name.startswith(f"{kind}-")]
        found[kind] = {device.removeprefix(f"{kind}-"): await _port(qmp, kind, device) for device in devices}
    counts = {kind: sum(name.startswith(f"{kind}port") for name in every) for kind in found}
    return Ports(found["nic"], found["disk"], counts["nic"], counts["disk"])


async def _port(qmp: Qmp, kind: str, device: str) -> int:
    """A port has the name of the bus that it makes: /machine/peripheral/nicport3/nicport3."""
    bus = await qmp.execute("qom-get", path=f"{DEVICES}/{device}", property="parent_bus")
    return int(bus.rpartition(f"/{kind}port")[2])


async def mac(qmp: Qmp, interface: str) -> str:
    found: str = await qmp.execute("qom-get", path=f"{DEVICES}/{command.nic_id(interface)}", property="mac")
    return found


async def plug_nic(
    qmp: Qmp, ports: Ports, interface: Interface, descriptors: Sequence[int], cpus: int, vhost: bool
) -> Ports:
    """`descriptors` are the queues of its tap, which QEMU then has copies of. 12 ms, and 60 until the guest has it."""
    port = command.free_port(ports.nics, ports.nic_count)
    if port is None:
        raise _no_room(interface.name, len(ports.nics), "interfaces")
    identity = command.netdev_id(interface.name)
    names = [f"{identity}.{number}" for number in range(len(descriptors))]
    for name, descriptor in zip(names, descriptors, strict=True):
        await qmp.hand_over(name, descriptor)
    await qmp.issue("netdev_add", command.netdev(interface, names, vhost))
    try:
        await qmp.issue("device_add", command.nic(interface, port, cpus))
    except SdnError:
        await qmp.execute("netdev_del", id=identity)
        raise
    return replace(ports, nics={**ports.nics, interface.name: port})


async def unplug_nic(qmp: Qmp, ports: Ports, name: str, reset: bool) -> Ports:
    """`reset`: the CPUs have not run, and nobody is there to let go."""
    await _unplug(qmp, command.nic_id(name), reset)
    await qmp.execute("netdev_del", id=command.netdev_id(name))
    return replace(ports, nics={key: port for key, port in ports.nics.items() if key != name})


async def plug_disk(qmp: Qmp, ports: Ports, disk: Disk) -> Ports:
    """Raises TransientError where another guest has it, which may be about to let go of it."""
    port = command.free_port(ports.disks, ports.disk_count)
    if port is None:
        raise _no_room(disk.name, len(ports.disks), "disks")
    with passing():
        await _add_disk(qmp, disk, port)
    return replace(ports, disks={**ports.disks, disk.name: port})


async def _add_disk(qmp: Qmp, disk: Disk, port: int) -> None:
    await qmp.issue("blockdev-add", command.blockdev(disk, command.node(port)))
    try:
        await qmp.issue("device_add", command.disk(disk, port))
    except SdnError:
        await qmp.execute("blockdev-del", node_name=command.node(port))
        raise


async def unplug_disk(qmp: Qmp, ports: Ports, name: str, reset: bool) -> Ports:
    await _unplug(qmp, command.disk_id(name), reset)
    await qmp.execute("blockdev-del", node_name=command.node(ports.disks[name]))
    return replace(ports, disks={key: port for key, port in ports.disks.items() if key != name})


def _no_room(name: str, have: int, what: str) -> RefusedError:
    return RefusedError(
        f"{name} cannot be plugged: the guest has {have} {what}, and no free slot",
        remedy="restart the guest: it gets spare slots at its start",
    )


async def _unplug(qmp: Qmp, device: str, reset: bool) -> None:
    """Returns when the guest has let go of the device."""
    mine = {"DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"}
    with qmp.expecting(lambda event, data: event in mine and data.get("device") == device) as gone:
        for _ in range(ASKED):
            with suppress(TimeoutError):
                await _ask_to_let_go(qmp, device, reset)
                async with asyncio.timeout(LETS_GO):
                    event = await asyncio.shield(gone)
                break
        else:
            raise TransientError(f"the guest does not let go of {device}: it may not have booted so far yet")
    if event["event"] != "DEVICE_DELETED":
        raise TransientError(f"the guest refuses to let go of {device}")


async def _ask_to_let_go(qmp: Qmp, device: str, reset: bool) -> None:
    try:
        await qmp.execute("device_del", id=device)
    except RefusedError as error:
        if error.about != "DeviceNotFound" and "in the process of unplug" not in error.message:
            raise
    if reset:
        await qmp.execute("system_reset")  # a reset of the PCI host takes out what was asked for


def open_tap(place: Place, interface: Interface, cpus: int) -> list[int]:
    """A descriptor for each queue. Blocks for 0.3 ms."""
    return taps.open_queues(place.namespace, interface.bridge_port, command.queues(cpus), place.vnet_hdr)


def has_vhost(accelerator: Accelerator) -> bool:
    """Whether the kernel moves the guest's frames itself: only for a guest whose CPUs are the machine's."""
    if accelerator.name != "kvm":
        return False
    try:
        with open("/dev/vhost-net", "rb+", buffering=0):
            return True
    except OSError:
        return False


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
