"""QEMU's command line, and the devices that are plugged later by the same words. PURE.

Enters: a Guest, what was made for it on the host (Outfit), the open descriptors of its taps, an accelerator. Leaves:
arguments of qemu-system-x86_64 (7.2 and newer), and of the QMP commands that plug a device. Never: a file.

A device has the same PCI place on both ends of a migration and whatever was plugged before: interfaces and disks are
each behind a root port of their own, which PCIe wants for hot-plug, and all root ports are there from the start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePath
from typing import Any, Final

from datapath.spec import Guest, Interface, Kernel

QMP, MONITOR, SERIAL, AGENT = "qmp.sock", "monitor.sock", "serial.sock", "agent.sock"
"""QMP of the agent, QMP of the CLI, the serial console, the port of the guest agent. Each takes one client."""
SOCKETS: Final = (QMP, MONITOR, SERIAL, AGENT)
CONSOLE_LOG, QEMU_LOG = "console.log", "qemu.log"
PID: Final = "pid"
"""File that QEMU takes away when it ends by itself, and leaves when it is killed."""

MEMORY: Final = "memory-backend-memfd"
"""What a guest's memory is, and what the kernel calls that file."""

Options = dict[str, Any]

ROOT: Final = "root"
SEED: Final = "seed"
STATE: Final = "state"
"""Names of disks: the own one, the seed of cloud-init, and the one that no device shows: snapshots of memory go there
where there is no own disk."""

NIC_PORTS, DISK_PORTS = 8, 4
_SPARE: Final = 3
"""At least so many ports, and so many more than are taken at the start. Each costs 10 ms of a boot under TCG."""
_NIC_SLOT, _DISK_SLOT, _HOST_SLOT = 0x10, 0x14, 0x18
"""Of the root bus; eight root ports are functions of one slot."""
_FUNCTIONS: Final = 8

_TRANSLATIONS: Final = 32
"""MiB for translated code under TCG, which otherwise takes a quarter of the memory of the host, up to 1 GiB."""
_SERIAL_MAX: Final = 20  # VIRTIO_BLK_ID_BYTES

_DISK_BOOTS: Final = 1
"""Its place in the order of booting; a kernel that QEMU starts itself has 0."""

AGENT_DEVICE: Final = "agent"
_AGENT_PORT: Final = "org.qemu.guest_agent.0"


MOST_QUEUES: Final = 8
"""What QEMU's virtio-net gains nothing beyond; the kernel's limit is 256 (MAX_TAP_QUEUES)."""


@dataclass(frozen=True, slots=True)
class Disk:
    """`format` is qcow2 or raw. The guest finds it by its serial number: `name`, of which 20 bytes fit."""

    name: str
    path: PurePath
    format: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Outfit:
    """What is on the host for a guest. `settings` is what the built-in guest reads from fw_cfg opt/org.sdn/net."""

    disks: tuple[Disk, ...] = ()
    state: PurePath | None = None
    kernel: Kernel | None = None
    settings: bytes = b""


@dataclass(frozen=True, slots=True)
class Ports:
    """In which root port an interface or a disk is, by name, and how many ports there are."""

    nics: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, int] = field(default_factory=dict)
    nic_count: int = NIC_PORTS
    disk_count: int = DISK_PORTS


@dataclass(frozen=True, slots=True)
class Arrival:
    """A guest that comes by migration: its ports are as at its source. `memory` is a file to map as its memory, such
    as the source's own; '' is memory of its own."""

    ports: Ports
    memory: str = ""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files that QEMU inherits: listening sockets by name, queues of taps by interface."""

    sockets: Mapping[str, int]
    taps: Mapping[str, Sequence[int]]


def ports(guest: Guest, disks: Sequence[Disk]) -> Ports:
    """Of a start: in order, and some to spare. The seed is behind all others, so that it takes nobody's name."""
    nics = {interface.name: number for number, interface in enumerate(guest.interfaces)}
    disk_count = max(DISK_PORTS, len(disks) + _SPARE)
    places = {disk.name: number for number, disk in enumerate(disk for disk in disks if disk.name != SEED)}
    places |= {disk.name: disk_count - 1 for disk in disks if disk.name == SEED}
    return Ports(nics, places, max(NIC_PORTS, len(nics) + _SPARE), disk_count)


def queues(cpus: int) -> int:
    """How many a guest's interface has: one for each CPU."""
    return max(1, min(cpus, MOST_QUEUES))


def free_port(taken: Mapping[str, int], among: int) -> int | None:
    return next((number for number in range(among) if number not in taken.values()), None)


def arguments(
    guest: Guest,
    directory: PurePath,
    outfit: Outfit,
    places: Ports,
    descriptors: Descriptors,
    accelerator: str,
    *,
    vhost: bool = False,
    incoming: Arrival | None = None,
) -> list[str]:
    """Without the program's name. The CPUs stand still until `cont`, also after a migration."""
    return [
        *_machine(guest, directory, accelerator, incoming.memory if incoming else ""),
        *_boot(outfit, directory),
        *_lines(directory, descriptors.sockets),
        *_ports(places, guest),
        *_always(),
        *_nics(guest, places, descriptors.taps, vhost),
        *_disks(outfit, places),
        *_host_devices(guest),
        *(("-incoming", "defer") if incoming else ()),
    ]


def _machine(guest: Guest, directory: PurePath, accelerator: str, memory: str) -> Iterator[str]:
    size = guest.machine.memory
    kvm = accelerator == "kvm"
    yield from ("-nodefaults", "-no-user-config", "-display", "none", "-S")
    yield from ("-name", f"guest={_escaped(guest.name)},debug-threads=on", "-uuid", guest.uuid)
    yield from ("-machine", "q35,memory-backend=ram,usb=off,sata=off,smbus=off,vmport=off,dump-guest-core=off")
    yield from ("-accel", "kvm" if kvm else f"tcg,tb-size={_TRANSLATIONS}", "-cpu", "host" if kvm else "max")
    yield from ("-smp", str(guest.machine.cpus), "-m", f"size={size // 1024}k")
    yield from ("-object", _keyval(_memory(size, memory)))
    yield from ("-rtc", "base=utc", "-boot", "strict=on,menu=off")
    # Switched off by its guest it stays, so that also an agent that was away sees that it did not die; nor does one
    # whose kernel has panicked go anywhere before somebody has seen it.
    yield from ("-action", "shutdown=pause,reboot=reset,panic=pause")
    # It needs no child, no other user and no scheduler; what it would open later comes as a descriptor.
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
    yield from ("-pidfile", str(directory / PID))


def _memory(size: int, file: str) -> Options:
    """Shared, so that another QEMU can map it: memory then needs no copy when it migrates on one host."""
    if file:
        return {"qom-type": "memory-backend-file", "id": "ram", "size": size, "mem-path": file, "share": True}
    return {"qom-type": MEMORY, "id": "ram", "size": size, "share": True}


def _boot(outfit: Outfit, directory: PurePath) -> Iterator[str]:
    if outfit.kernel is not None:
        yield from ("-kernel", outfit.kernel.image)
        yield from ("-initrd", outfit.kernel.initrd) if outfit.kernel.initrd else ()
        yield from ("-append", outfit.kernel.append) if outfit.kernel.append else ()
    if outfit.settings:
        yield from ("-fw_cfg", f"name=opt/org.sdn/net,file={_escaped(str(directory / 'net'))}")


def _lines(directory: PurePath, sockets: Mapping[str, int]) -> Iterator[str]:
    """Sockets come listening, so that whoever connects waits for QEMU and not for the socket's name."""
    log = f",logfile={_escaped(str(directory / CONSOLE_LOG))},logappend=on"
    for name, descriptor in sockets.items():
        chardev = f"socket,id={name.removesuffix('.sock')},fd={descriptor},server=on,wait=off"
        yield from ("-chardev", chardev + (log if name == SERIAL else ""))
    yield from ("-mon", "chardev=qmp,mode=control", "-mon", "chardev=monitor,mode=control")
    yield from ("-serial", "chardev:serial")


def _ports(places: Ports, guest: Guest) -> Iterator[str]:
    kinds = (
        ("nicport", _NIC_SLOT, places.nic_count),
        ("diskport", _DISK_SLOT, places.disk_count),
        ("hostport", _HOST_SLOT, len(guest.machine.devices)),
    )
    numbers = count(1)
    for kind, slot, many in kinds:
        for port in range(many):
            number = next(numbers)
            yield from ("-device", _keyval(_root_port(f"{kind}{port}", slot, port, number)))


def _root_port(identity: str, slot: int, port: int, number: int) -> Options:
    """Nothing behind it has I/O ports: 4 KiB for each would be too much for 64 KiB."""
    place = f"{slot + port // _FUNCTIONS:#x}.{port % _FUNCTIONS:#x}"
    first = {"multifunction": True} if port % _FUNCTIONS == 0 else {}
    identity_and_place = {"driver": "pcie-root-port", "id": identity, "bus": "pcie.0", "addr": place, **first}
    return {**identity_and_place, "chassis": number, "slot": number, "io-reserve": 0}


def _always() -> Iterator[str]:
    """What every guest has."""
    yield from ("-device", "virtio-serial-pci,id=lines,bus=pcie.0,addr=0x2")
    yield from ("-device", f"virtserialport,id={AGENT_DEVICE},bus=lines.0,nr=1,chardev=agent,name={_AGENT_PORT}")
    yield from ("-object", "rng-random,id=entropy,filename=/dev/urandom")
    yield from ("-device", "virtio-rng-pci,id=rng,rng=entropy,bus=pcie.0,addr=0x3")
    yield from (
        "-device",
        "virtio-balloon-pci,id=balloon,bus=pcie.0,addr=0x4,deflate-on-oom=on,free-page-reporting=off",
    )
    yield from ("-device", "pvpanic-pci,id=panic,bus=pcie.0,addr=0x5")


def _nics(guest: Guest, places: Ports, taps: Mapping[str, Sequence[int]], vhost: bool) -> Iterator[str]:
    for interface in guest.interfaces:
        descriptors = [str(each) for each in taps[interface.name]]
        yield from ("-netdev", _keyval(netdev(interface, descriptors, vhost)))
        yield from ("-device", _keyval(nic(interface, places.nics[interface.name], guest.machine.cpus)))


def _disks(outfit: Outfit, places: Ports) -> Iterator[str]:
    if outfit.state is not None:
        yield from ("-blockdev", json.dumps(blockdev(Disk(STATE, outfit.state, "qcow2"), STATE)))
    for each in outfit.disks:
        port = places.disks[each.name]
        yield from ("-blockdev", json.dumps(blockdev(each, node(port))))
        yield from ("-device", _keyval(disk(each, port)))


def _host_devices(guest: Guest) -> Iterator[str]:
    for port, address in enumerate(guest.machine.devices):
        yield from ("-device", f"vfio-pci,id=host{port},host={address},bus=hostport{port},addr=0x0")


# ── what can be plugged ──────────────────────────────────────────────────────────────────────────────────────────────


def nic_id(interface: str) -> str:
    return f"nic-{interface}"


def netdev_id(interface: str) -> str:
    return f"net-{interface}"


def disk_id(name: str) -> str:
    return f"disk-{name}"


def node(port: int) -> str:
    """Of the block layer, where names have 31 characters."""
    return f"disk{port}"


def netdev(interface: Interface, descriptors: Sequence[str], vhost: bool) -> Options:
    """`descriptors` are numbers, or names that getfd gave them."""
    made: Options = {"type": "tap", "id": netdev_id(interface.name), "fds": ":".join(descriptors)}
    return {**made, "vhost": True} if vhost else made


def nic(interface: Interface, port: int, cpus: int) -> Options:
    """Each queue has a vector for each direction, and there is one for the configuration and one for control.

    Without a filter of VLANs: QEMU 7.2 forgets which ones the guest listens to when it loads its state, after a move or
    a revert, and drops all of them. The switch gives only those that are its own.
    """
    many = queues(cpus)
    several: Options = {"mq": True, "vectors": 2 * many + 2} if many > 1 else {}
    return {
        "driver": "virtio-net-pci",
        "id": nic_id(interface.name),
        "netdev": netdev_id(interface.name),
        "bus": f"nicport{port}",
        "addr": "0x0",
        "mac": str(interface.mac),
        "host_mtu": interface.mtu,
        "romfile": "",
        "ctrl_vlan": False,
        **several,
    }


def disk(each: Disk, port: int) -> Options:
    boots: Options = {"bootindex": _DISK_BOOTS} if each.name == ROOT else {}
    return {
        "driver": "virtio-blk-pci",
        "id": disk_id(each.name),
        "drive": node(port),
        "bus": f"diskport{port}",
        "addr": "0x0",
        "serial": each.name[:_SERIAL_MAX],
        "write-cache": "on",
        **boots,
    }


def blockdev(each: Disk, name: str) -> Options:
    file = {"driver": "file", "node-name": f"{name}-file", "filename": str(each.path)}
    common = {"read-only": each.read_only, "discard": "unmap"}
    return {"driver": each.format, "node-name": name, **common, "file": {**file, **common}}


def _keyval(options: Options) -> str:
    """`driver` and its like come first and without a key, as QEMU's own documentation writes them."""
    words = {True: "on", False: "off"}
    (_, first), *others = options.items()
    texts = [f"{key}={_escaped(str(words[value] if isinstance(value, bool) else value))}" for key, value in others]
    return ",".join([str(first), *texts])


def _escaped(text: str) -> str:
    return text.replace(",", ",,")
