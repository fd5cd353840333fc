"""The devices that a HostSpec asks of the kernel, as pairs of ends. PURE.

Enters: a HostSpec and the type of its datapath. Leaves: Pair, Bridge and End values. Never: an index, an observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_interface
from typing import Final, Literal

from datapath.addr import IPInterface, Mac
from datapath.spec import (
    LAB_UNDERLAY,
    UNDERLAY_BRIDGE,
    UNDERLAY_DEVICE,
    HostSpec,
    Interface,
    Node,
    Uplink,
    Vlan,
    alias,
    device_name,
    namespace,
)

IFNAMSIZ: Final = 16
"""Octets of a device's name, with a zero at the end."""

LOOPBACK: Final = "lo"
_LOOPBACK_ADDRESSES: Final = (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))

MACVLANS: Final = ("macvlan", "macvtap")
"""Kinds of device on another one, with a MAC of its own; the second has a file in /dev too."""

TAP: Final = "tun"
"""The kernel's word for both TUN and TAP devices."""

DatapathType = Literal["system", "netdev", "linux"]


@dataclass(frozen=True, slots=True)
class End:
    """A device as it shall be. None, () and an MTU of 0 mean that it is not our business, `up` False that it is left as
    it is."""

    namespace: str
    device: str
    alias: str
    mtu: int
    up: bool = True
    mac: Mac | None = None
    arp: bool = True
    master: str = ""
    addresses: tuple[IPInterface, ...] | None = None
    vlans: tuple[Vlan, ...] = ()
    offload: bool = True
    neighbours: tuple[tuple[IPv4Address, Mac], ...] | None = None
    link_local: bool = False
    """Whether the IPv6 address that the kernel gives it itself when it is set up is put back where it was lost."""
    leads: bool = False
    gateway: IPv4Address | None = None
    """The way out by it, where that `leads` is our business."""
    kinds: tuple[str, ...] = ("veth",)
    """Of device that it may be; one of another kind that has its name is somebody else's."""
    is_loopback: bool = False
    """The kernel gives it its addresses when it is set up; others may add some."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A veth: `near` on the chassis, `far` in a node or in the lab's namespace."""

    near: End
    far: End


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Linux bridge in the lab's namespace."""

    namespace: str
    device: str
    alias: str


def node_pairs(spec: HostSpec, node: Node, datapath: DatapathType) -> list[Pair]:
    """One per interface. The chassis' kernel sees the node's frames and must not answer its ARP, hence `arp` off.

    What is a port of the kernel's bridge it leaves to that, which answers for others only where `arp` is on at the port
    that asks (br_arp_nd_proxy.c).
    """
    plugged = [interface for interface in node.interfaces if interface.macvlan is None]
    return [_interface_pair(spec, node, interface, datapath) for interface in plugged]


def _interface_pair(spec: HostSpec, node: Node, interface: Interface, datapath: DatapathType) -> Pair:
    return Pair(_port_end(spec, interface, datapath), node_end(spec, node, interface, datapath))


def _port_end(spec: HostSpec, interface: Interface, datapath: DatapathType) -> End:
    """The bridge port of an interface. A switch with flow tables drops what comes before it has flows. A bridge
    forwards at once: who guards the port sets it up."""
    mark = alias(spec.lab, f"{interface.node}:{interface.name}")
    kernel = datapath == "linux"
    return End(spec.namespace, interface.bridge_port, mark, interface.mtu, up=not kernel, arp=kernel)


def taps(spec: HostSpec, datapath: DatapathType) -> list[End]:
    """One per interface of each guest, as a node's bridge port: the chassis' kernel must be silent there too. They stay
    when the guest's process ends."""
    ends = [_port_end(spec, interface, datapath) for guest in spec.guests for interface in guest.interfaces]
    return [replace(end, kinds=(TAP,)) for end in ends]


def node_end(spec: HostSpec, node: Node, interface: Interface, datapath: DatapathType) -> End:
    """The interface itself, in the node."""
    return End(
        node.namespace,
        interface.name,
        alias(spec.lab, f"{node.name}:{interface.name}"),
        interface.mtu,
        up=interface.ready,
        mac=interface.mac,
        addresses=interface.addresses,
        link_local=True,
        vlans=interface.vlans,
        offload=datapath != "netdev",
        leads=True,
        gateway=interface.gateway,
        kinds=("veth",) if interface.macvlan is None else MACVLANS,
    )


def loopback(spec: HostSpec, node: Node) -> End:
    """It has the mark of its namespace."""
    mark = alias(spec.lab, node.name)
    return End(node.namespace, LOOPBACK, mark, 0, addresses=_LOOPBACK_ADDRESSES, kinds=("",), is_loopback=True)


def vlan_end(parent: End, vlan: Vlan) -> End:
    """The device of a tagged network: `eth0.20`, with the MAC and the ARP of its parent, and up when that is."""
    return End(
        parent.namespace,
        vlan_name(parent.device, vlan.tag),
        f"{parent.alias}.{vlan.tag}",
        vlan.mtu,
        up=parent.up,
        mac=parent.mac,
        arp=parent.arp,
        addresses=vlan.addresses,
        link_local=parent.link_local,
        offload=parent.offload,
        kinds=("vlan", "veth"),
    )


def vlan_name(parent: str, tag: int) -> str:
    """`eth0.20`, where that is short enough for the kernel."""
    friendly = f"{parent}.{tag}"
    return friendly if len(friendly) < IFNAMSIZ else device_name("v", parent, str(tag))


def tagger(parent: str, tag: int) -> str:
    """Name of the device behind `eth0.20`, at which its frames get their tag where the kernel cannot."""
    return device_name("tag-", parent, str(tag))


def tagging_pair(parent: End, vlan: Vlan) -> Pair:
    """`eth0.20` as a veth within the node. Its other end waits until there is a program for what comes in there."""
    far = vlan_end(parent, vlan)
    near = End(parent.namespace, tagger(parent.device, vlan.tag), far.alias, vlan.mtu, up=False, arp=False)
    return Pair(near, far)


def node_devices(node: Node) -> set[str]:
    """Names of all devices of ours that a node may have."""
    found = {interface.name for interface in node.interfaces}
    for interface in node.interfaces:
        found |= {f"{interface.name}.{vlan.tag}" for vlan in interface.vlans}
        found |= {tagger(interface.name, vlan.tag) for vlan in interface.vlans}
    return found


def chassis_pairs(spec: HostSpec, datapath: DatapathType) -> list[Pair]:
    """The underlay device and one per uplink. Their other ends are ports of Linux bridges in the lab's namespace.

    Those other ends compute checksums that a kernel beyond them, say with a vxlan device of its own, left undone.
    """
    kernel = datapath != "netdev"
    mark = alias(spec.lab, f"{spec.chassis}:{LAB_UNDERLAY}")
    underlay = spec.underlay
    near = End(
        spec.namespace,
        UNDERLAY_DEVICE,
        mark,
        underlay.mtu,
        arp=kernel,
        mac=underlay.mac if kernel else None,
        addresses=(underlay.vtep,) if kernel else None,
        neighbours=underlay.neighbours if kernel else None,
    )
    pairs = [Pair(near, _lab_end(spec, LAB_UNDERLAY, LAB_UNDERLAY, underlay.mtu, kernel))]
    for uplink in spec.uplinks:
        mark = alias(spec.lab, f"{spec.chassis}:{uplink.physnet}")
        near = End(spec.namespace, uplink.bridge_port, mark, uplink.mtu, arp=False)
        pairs.append(Pair(near, _lab_end(spec, uplink.physnet, uplink.lab_bridge, uplink.mtu, kernel)))
    return [*pairs, *macvlan_pairs(spec)]


def macvlan_pairs(spec: HostSpec) -> list[Pair]:
    """One per uplink that macvlan devices of nodes are on: beside the bridge's, for a device cannot serve both."""
    pairs = []
    for uplink in spec.uplinks:
        above = [i.macvlan for i in spec.interfaces if i.macvlan is not None and i.macvlan.physnet == uplink.physnet]
        if above:
            tags = sorted({macvlan.vlan_id for macvlan in above} - {0})
            mark = alias(spec.lab, f"{spec.chassis}:{uplink.physnet}:macvlan")
            name = macvlan_lower(uplink.physnet)
            vlans = tuple(Vlan(tag, uplink.mtu, ()) for tag in tags)
            near = End(spec.namespace, name, mark, uplink.mtu, arp=False, vlans=vlans)
            far = _lab_end(spec, f"{uplink.physnet}/macvlan", uplink.lab_bridge, uplink.mtu, kernel=True)
            pairs.append(Pair(near, far))
    return pairs


def macvlan_lower(physnet: str, vlan_id: int = 0) -> str:
    """The device of a chassis that macvlan devices are on."""
    name = device_name("mv-", physnet)
    return vlan_name(name, vlan_id) if vlan_id else name


def macvlan_devices(spec: HostSpec) -> set[str]:
    """Names of all devices that a chassis may have for them."""
    found = set()
    for pair in macvlan_pairs(spec):
        found |= {pair.near.device}
        found |= {vlan_name(pair.near.device, vlan.tag) for vlan in pair.near.vlans}
        found |= {tagger(pair.near.device, vlan.tag) for vlan in pair.near.vlans}
    return found


def _lab_end(spec: HostSpec, wire: str, bridge: str, mtu: int, kernel: bool) -> End:
    mark = alias(spec.lab, f"{spec.chassis}:{wire}")
    device = device_name("w", wire, spec.chassis)
    return End(namespace(spec.lab), device, mark, mtu, arp=False, master=bridge, offload=kernel)


def machine_end(lab: str, uplink: Uplink) -> End:
    """In the lab's namespace, the way from a physical network to the interface of the machine that it has."""
    device = device_name("m", uplink.physnet)
    mark = alias(lab, f"{uplink.physnet}:{uplink.interface}")
    return End(namespace(lab), device, mark, uplink.mtu, arp=False, master=uplink.lab_bridge)


def machine_devices(lab: str, specs: Iterable[HostSpec]) -> set[str]:
    """Names of those in the lab's namespace that lead to interfaces of the machine."""
    return {machine_end(lab, uplink).device for spec in specs for uplink in spec.uplinks if uplink.interface}


def underlay_end(spec: HostSpec) -> End:
    """The device of the underlay bridge, which the userspace switch makes and which holds the vtep address.

    Its MTU is the switch's to set, and never changes: see `datapath.ovs.rows.VTEP_MTU`.
    """
    mark = alias(spec.lab, f"{spec.chassis}:vtep")
    return End(spec.namespace, UNDERLAY_BRIDGE, mark, 0, addresses=(spec.underlay.vtep,), kinds=(TAP,))


def bridges(lab: str, specs: Iterable[HostSpec]) -> Iterator[Bridge]:
    """The wires of the lab: the underlay, and one per physical network."""
    home = namespace(lab)
    wires = dict.fromkeys((LAB_UNDERLAY, *(uplink.lab_bridge for spec in specs for uplink in spec.uplinks)))
    for wire in wires:
        yield Bridge(home, wire, alias(lab, wire))
