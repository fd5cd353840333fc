"""What a libvirt domain has while it runs, read from its XML, and how that differs from a Guest. PURE.

Enters: XML as libvirt gives it, the taps that its QEMU holds, a Guest. Leaves: what it has plugged, what to plug and
unplug, and in words what cannot be changed while it runs. Never: memory of what it was launched with: the XML has it,
also for the next agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple
from xml.etree.ElementTree import Element, fromstring

from datapath.guest.libvirt.domain import MARK_NAMESPACE, disk_name
from datapath.guest.qemu.command import ROOT, SEED
from datapath.spec import Guest, Interface, Machine
from datapath.words import FIXED, with_the_next_start

NOTHING = "<domain/>"
"""Of a domain that is not there any more."""


class Nic(NamedTuple):
    mac: str
    device: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """`mark` are the attributes of our element in its metadata; empty: it is not ours. `volumes` are disks that can
    come and go, by path; `disks` the names of all. `severed` are of `nics`: their taps were removed, and they lead
    nowhere, whatever has those names now."""

    accelerator: str
    mark: Mapping[str, str]
    nics: Mapping[Nic, Element]
    volumes: Mapping[str, Element]
    disks: frozenset[str]
    severed: frozenset[Nic] = frozenset()

    @property
    def plugged(self) -> frozenset[Nic]:
        return frozenset(self.nics) - self.severed


@dataclass(frozen=True, slots=True)
class Difference:
    unplug: tuple[Element, ...]
    plug: tuple[Interface, ...]
    awaited: frozenset[str]
    """Names of interfaces that are plugged when they are ready."""


def read(xml: str, taps: Collection[str] | None = None) -> Hardware:
    """`taps`: names of those that its QEMU holds; None: it is not asked."""
    root = fromstring(xml)  # noqa: S314  what libvirtd answers
    mark = root.find(f"metadata/{{{MARK_NAMESPACE}}}guest")
    nics = {_nic(each): each for each in root.iterfind("devices/interface")}
    return Hardware(
        accelerator="kvm" if root.get("type") == "kvm" else "tcg",
        mark={} if mark is None else dict(mark.attrib),
        nics=nics,
        volumes={
            _attribute(each, "source", "file"): each
            for each in root.iterfind("devices/disk")
            if each.findtext("serial") not in (ROOT, SEED)
        },
        disks=frozenset(name(each) for each in root.iterfind("devices/disk")),
        severed=frozenset() if taps is None else frozenset(nic for nic in nics if nic.device not in taps),
    )


def _nic(element: Element) -> Nic:
    mtu = int(_attribute(element, "mtu", "size") or 0)
    return Nic(_attribute(element, "mac", "address"), _attribute(element, "target", "dev"), mtu)


def _attribute(element: Element, child: str, name: str) -> str:
    found = element.find(child)
    return "" if found is None else found.get(name, "")


def nic_of(interface: Interface) -> Nic:
    return Nic(str(interface.mac), interface.bridge_port, interface.mtu)


def name(element: Element) -> str:
    """What libvirt calls a device while it runs."""
    return _attribute(element, "target", "dev")


def names(hardware: Hardware) -> set[str]:
    return {name(each) for each in (*hardware.nics.values(), *hardware.volumes.values())}


def free_place(hardware: Hardware) -> int:
    """Of a further disk: 0 is vda."""
    return next(index for index in count() if disk_name(index) not in hardware.disks)


def difference(hardware: Hardware, guest: Guest, ready: Sequence[Interface]) -> Difference:
    """Of the interfaces. One whose MAC or MTU is another now, or whose tap, stays until it can be plugged
    anew."""
    plugged = hardware.plugged
    wanted = {nic_of(interface): interface for interface in guest.interfaces}
    absent = [interface for nic, interface in wanted.items() if nic not in plugged]
    names = {interface.name for interface in ready}
    waiting = [interface for interface in absent if interface.name not in names]
    stay = {interface.bridge_port for interface in waiting}
    kept = {nic for nic in hardware.nics if nic.device in stay or (nic in wanted and nic in plugged)}
    return Difference(
        unplug=tuple(each for nic, each in hardware.nics.items() if nic not in kept),
        plug=tuple(interface for interface in absent if interface.name in names),
        awaited=frozenset(interface.name for interface in waiting),
    )


def as_it_is(hardware: Hardware, guest: Guest) -> Guest:
    """`guest` with the interfaces, the memory and the CPUs that it has now."""
    plugged = tuple(interface for interface in guest.interfaces if nic_of(interface) in hardware.plugged)
    memory = int(hardware.mark.get("memory", guest.machine.memory))
    cpus = int(hardware.mark.get("cpus", guest.machine.cpus))
    return replace(guest, interfaces=plugged, machine=replace(guest.machine, memory=memory, cpus=cpus))


# ── what comes with the next start ───────────────────────────────────────────────────────────────────────────────────


def fixed(machine: Machine) -> dict[str, str]:
    """What cannot be changed while it runs, as attributes of the mark."""
    return {field: _short(getattr(machine, field)) for field in FIXED}


def _short(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest() if value else ""


def later(hardware: Hardware, machine: Machine) -> tuple[str, ...]:
    """In words what of `machine` is not so yet."""
    now = fixed(machine)
    return with_the_next_start(field for field in FIXED if hardware.mark.get(field, "") != now[field])
