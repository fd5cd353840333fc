"""A Guest as a libvirt domain: its XML (libvirt.org/formatdomain.html). PURE.

Enters: a Guest of a HostSpec, where its files are, and for each interface what it is plugged into. Leaves: XML that
libvirt 9.0 validates. Never: a file is read or made; a device name is chosen, they are those of the HostSpec.

The hardware is that of `datapath.guest.qemu.command`: q35, virtio, a slot for each device that may come later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from datapath.guest.qemu import command
from datapath.guest.qemu.command import AGENT, CONSOLE_LOG, MONITOR, SERIAL, STATE, Disk, Outfit
from datapath.spec import Guest, Interface, Kernel

MARK_NAMESPACE: Final = "urn:sdn:guest"
"""Of the element in <metadata> by which a domain is known to be ours."""

_QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_AGENT_NAME: Final = "org.qemu.guest_agent.0"
AGENT_DEVICE: Final = "sdn-agent"
AGENT_PORT: Final = "sdn-agent-port"

_SPARE_SLOTS: Final = 12
"""PCIe has no hot-plug into the root bus, only into root ports, which must be there from the start."""

_TRANSLATIONS: Final = 32
"""MiB for translated code, as with QEMU's own driver; else a quarter of the host's memory."""

_PROFILE_MAX: Final = 39  # LIBVIRT_IFLA_VF_PORT_PROFILE_MAX less the terminating zero
_UNTAGGED: Final = 0
"""How Open vSwitch names frames without a tag in `trunks` (ovs-vswitchd.conf.db(5))."""


_NOTHING: Final = Outfit()


@dataclass(frozen=True, slots=True)
class Files:
    """What is on the host for a guest. `settings` is the file with those of the outfit (as text in the XML libvirt 9.0
    gives them to QEMU unescaped).

    `directory` has its sockets and its console's log, when it is we who run it; None leaves both to libvirt.
    """

    outfit: Outfit = _NOTHING
    settings: PurePath | None = None
    directory: PurePath | None = None

    @property
    def paths(self) -> tuple[PurePath, ...]:
        """Of all that it reads."""
        kernel = self.outfit.kernel
        boot = [PurePath(path) for path in (kernel.image, kernel.initrd) if path] if kernel else []
        return (*(disk.path for disk in self.outfit.disks), *boot, *([self.settings] if self.settings else []))


@dataclass(frozen=True, slots=True)
class TapPlug:
    """A tap that is there and stays, and is a port already. Without `offloads` the guest computes its own checksums."""

    device: str
    queues: int
    offloads: bool


@dataclass(frozen=True, slots=True)
class BridgePlug:
    """A bridge into which libvirt plugs a tap of its own making. `port` identifies it to Open vSwitch; '' is a bridge
    of the kernel. `vlans` are the only ones that pass; () is all."""

    bridge: str
    port: str = ""
    vlans: tuple[int, ...] = ()


Plug = TapPlug | BridgePlug


def port_identity(lab: str, interface: Interface) -> str:
    """libvirt takes only a UUID as `interfaceid`."""
    return str(uuid5(NAMESPACE_URL, f"sdn:{lab}:{interface.node}:{interface.name}"))


def trunk(interface: Interface, untagged: bool) -> tuple[int, ...]:
    """The VLANs of an interface with tags: Open vSwitch drops others where it switches by itself. Our flows do not ask
    for a port's VLANs (only the action NORMAL does), and know the tags anyway."""
    tags = tuple(vlan.tag for vlan in interface.vlans)
    return ((_UNTAGGED, *tags) if untagged else tags) if tags else ()


def domain(
    guest: Guest,
    name: str,
    mark: Mapping[str, str],
    accelerator: str,
    files: Files,
    plugs: Sequence[Plug],
) -> str:
    """The XML of a domain called `name`; `mark` are the attributes of our element in its metadata. `plugs` are those of
    `guest.interfaces`."""
    root = Element("domain", {"type": "kvm" if accelerator == "kvm" else "qemu", "xmlns:qemu": _QEMU_NAMESPACE})
    _identity(root, guest, name, mark)
    _processor(root, guest, accelerator)
    _boot(root, files.outfit.kernel, files.settings)
    devices = SubElement(root, "devices")
    _controllers(devices, guest)
    devices.extend(disk(each, index) for index, each in enumerate(files.outfit.disks))
    devices.extend(interface(each, plug) for each, plug in zip(guest.interfaces, plugs, strict=True))
    devices.extend(_host_device(address) for address in guest.machine.devices)
    _lines(root, devices, files)
    _rest(devices)
    return text(root)


def text(element: Element) -> str:
    indent(element)
    return tostring(element, encoding="unicode") + "\n"


def _identity(root: Element, guest: Guest, name: str, mark: Mapping[str, str]) -> None:
    SubElement(root, "name").text = name
    SubElement(root, "uuid").text = guest.uuid
    metadata = SubElement(root, "metadata")
    SubElement(metadata, "sdn:guest", {"xmlns:sdn": MARK_NAMESPACE, **mark})


def _processor(root: Element, guest: Guest, accelerator: str) -> None:
    SubElement(root, "memory", unit="b").text = str(guest.machine.memory)
    SubElement(root, "vcpu").text = str(guest.machine.cpus)
    SubElement(root, "cpu", mode="host-passthrough" if accelerator == "kvm" else "maximum")
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if accelerator != "kvm":
        SubElement(SubElement(features, "tcg"), "tb-cache", unit="MiB").text = str(_TRANSLATIONS)
    SubElement(root, "clock", offset="utc")
    SubElement(root, "on_crash").text = "destroy"  # it is our restart policy that starts it again


def _boot(root: Element, kernel: Kernel | None, settings: PurePath | None) -> None:
    boots = SubElement(root, "os")
    SubElement(boots, "type", arch="x86_64", machine="q35").text = "hvm"
    if kernel is None:
        SubElement(boots, "boot", dev="hd")
    else:
        SubElement(boots, "kernel").text = kernel.image
        if kernel.initrd:
            SubElement(boots, "initrd").text = kernel.initrd
        SubElement(boots, "cmdline").text = kernel.append
    if settings is not None:
        firmware = SubElement(root, "sysinfo", type="fwcfg")
        SubElement(firmware, "entry", name="opt/org.sdn/net", file=str(settings))


# ── devices ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _controllers(devices: Element, guest: Guest) -> None:
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "controller", type="virtio-serial", index="0")
    for index in range(1, _SPARE_SLOTS + 4 + len(guest.interfaces) + len(guest.machine.volumes)):
        SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")


def disk_name(index: int) -> str:
    return f"vd{chr(ord('a') + index)}"


def disk(of: Disk, index: int) -> Element:
    element = Element("disk", type="file", device="disk")
    SubElement(element, "driver", name="qemu", type=of.format, discard="unmap")
    SubElement(element, "source", file=str(of.path))
    SubElement(element, "target", dev=disk_name(index), bus="virtio")
    SubElement(element, "serial").text = command.disk(of, 0)["serial"]
    if of.read_only:
        SubElement(element, "readonly")
    return element


def interface(of: Interface, plug: Plug) -> Element:
    element = Element("interface", type="ethernet" if isinstance(plug, TapPlug) else "bridge")
    SubElement(element, "mac", address=str(of.mac))
    if isinstance(plug, TapPlug):
        SubElement(element, "target", dev=plug.device, managed="no")
    else:
        _bridge(element, of, plug)
    SubElement(element, "model", type="virtio")
    if isinstance(plug, TapPlug):
        _offloads(element, plug)
    SubElement(element, "mtu", size=str(of.mtu))
    SubElement(element, "rom", enabled="no")
    return element


def _bridge(element: Element, of: Interface, plug: BridgePlug) -> None:
    SubElement(element, "source", bridge=plug.bridge)
    if plug.port:
        port = SubElement(element, "virtualport", type="openvswitch")
        named = f"{of.node}:{of.name}"[:_PROFILE_MAX]
        SubElement(port, "parameters", interfaceid=plug.port, profileid=named)
    if plug.vlans:
        vlan = SubElement(element, "vlan", trunk="yes")
        for tag in plug.vlans:
            SubElement(vlan, "tag", id=str(tag))


def _offloads(element: Element, plug: TapPlug) -> None:
    """libvirt opens the tap of a virtio device with the virtio header always. Without offloads that header says
    nothing, and no frame lacks its checksum: what the userspace datapath needs."""
    driver = SubElement(element, "driver", queues=str(plug.queues)) if plug.queues > 1 else None
    if not plug.offloads:
        driver = SubElement(element, "driver") if driver is None else driver
        off = dict.fromkeys(("csum", "tso4", "tso6", "ecn", "ufo"), "off")
        SubElement(driver, "host", {**off, "gso": "off"})
        SubElement(driver, "guest", off)


def _host_device(address: str) -> Element:
    """`address` is as lspci -D shows it: 0000:03:10.2."""
    bus_domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    element = Element("hostdev", mode="subsystem", type="pci", managed="yes")
    source = SubElement(element, "source")
    parts = {"domain": bus_domain, "bus": bus, "slot": slot, "function": function}
    SubElement(source, "address", {name: f"0x{value}" for name, value in parts.items()})
    return element


def _lines(root: Element, devices: Element, files: Files) -> None:
    """The serial console, and the guest agent's port."""
    if files.directory is None:
        SubElement(devices, "serial", type="pty")
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "target", type="virtio", name=_AGENT_NAME)
        return
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=str(files.directory / SERIAL))
    SubElement(serial, "log", file=str(files.directory / CONSOLE_LOG), append="on")
    arguments = SubElement(root, "qemu:commandline")
    for argument in _own_arguments(files.directory, files.outfit):
        SubElement(arguments, "qemu:arg", value=argument)


def _own_arguments(directory: PurePath, outfit: Outfit) -> Iterator[str]:
    """libvirt takes the one place at the socket of a guest agent that it knows of. `sdn exec` wants it."""
    for identity, socket in ((AGENT_DEVICE, AGENT), ("sdn-monitor", MONITOR)):
        yield from ("-chardev", f"socket,id={identity},path={directory / socket},server=on,wait=off")
    # in JSON as libvirt's own devices: QEMU makes those in the other syntax before them, when their bus is not there
    port = {"driver": "virtserialport", "bus": "virtio-serial0.0", "chardev": AGENT_DEVICE, "name": _AGENT_NAME}
    yield from ("-device", json.dumps({"id": AGENT_PORT, **port}))
    yield from ("-mon", "chardev=sdn-monitor,mode=control")
    yield from ("-global", "virtio-net-device.ctrl_vlan=off")  # see `command.nic`; libvirt has no word for it
    if outfit.state is not None:
        yield from ("-blockdev", json.dumps(command.blockdev(Disk(STATE, outfit.state, "qcow2"), STATE)))


def _rest(devices: Element) -> None:
    SubElement(devices, "memballoon", model="virtio")
    random = SubElement(devices, "rng", model="virtio")
    SubElement(random, "backend", model="random").text = "/dev/urandom"
    SubElement(devices, "panic", model="isa")
