"""HostSpec: what one chassis must have. The compiler makes it from the model; the agent makes it true. PURE.

Enters: nothing. Leaves: frozen values. Never: a name that the kernel would refuse (device names are made here, once).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Final, Literal, NamedTuple

from datapath.addr import IPAddress, IPInterface, IPNetwork, Mac

TunnelKind = Literal["vxlan", "nvgre", "geneve"]

SwitchKind = Literal["ovs", "linux"]
"""What forwards on a chassis. Open vSwitch gets its flows from the controller; the kernel's own bridges have no tables
to program, so everything that they need to know is in the HostSpec (`networks`, `Interface.attachments`)."""

ForwardMode = Literal["nat", "routed", "isolated"]
Power = Literal["on", "off", "paused"]
Restart = Literal["never", "on-failure", "always"]
Driver = Literal["qemu", "libvirt"]
GuestPhase = Literal["off", "starting", "running", "paused", "moving", "failed"]
MigrationMode = Literal["auto", "pre-copy", "stop-and-copy", "post-copy"]
MacvlanMode = Literal["bridge", "private", "vepa", "passthru"]

INTEGRATION_BRIDGE: Final = "br-int"
UNDERLAY_BRIDGE: Final = "br-underlay"
UNDERLAY_DEVICE: Final = "underlay0"
LAB_UNDERLAY: Final = "underlay"
"""The Linux bridge in the lab's own namespace that joins the underlay devices of all emulated chassis."""

TUNNEL_OFPORT: Final[dict[TunnelKind, int]] = {"vxlan": 1, "nvgre": 2, "geneve": 3}
"""OpenFlow port numbers of the flow-based tunnel ports on every integration bridge."""

FIRST_UPLINK_OFPORT: Final = 16
FIRST_PORT_OFPORT: Final = 64
LAST_OFPORT: Final = 0xFEFF
"""Above it Open vSwitch assigns no port (OFPP_MAX of OpenFlow 1.0 is 0xff00)."""

MARK: Final = "sdn"
"""`external_ids:sdn=<lab>` in OVSDB; `sdn:<lab>:<name>` as link alias in the kernel."""

_DEVICE_NAME_MAX: Final = 15  # IFNAMSIZ less the terminating zero


def device_name(prefix: str, *parts: str) -> str:
    """A stable kernel device name of at most 15 characters: the parts as they are if they fit, else a hash of them."""
    friendly = prefix + "-".join(parts)
    if len(friendly) <= _DEVICE_NAME_MAX and prefix.endswith("-"):
        return friendly
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
    return (prefix + digest)[:_DEVICE_NAME_MAX]


def namespace(lab: str, name: str = "") -> str:
    """The network namespace of a chassis or node of a lab; without `name` the lab's own (underlay, physnets)."""
    return f"{MARK}-{lab}-{name}" if name else f"{MARK}-{lab}"


def alias(lab: str, name: str) -> str:
    """The link alias that marks a device as ours."""
    return f"{MARK}:{lab}:{name}"


@dataclass(frozen=True, slots=True)
class Vlan:
    """A tagged network inside a node's trunk interface: becomes the node's device `eth0.<tag>`."""

    tag: int
    mtu: int
    addresses: tuple[IPInterface, ...]


class Sender(NamedTuple):
    """A MAC with a range of addresses that a port may send from."""

    mac: Mac
    subnet: IPNetwork


@dataclass(frozen=True, slots=True)
class Attachment:
    """One network on an interface, for a switch without flow tables. `tag` None: its untagged frames.

    `macs` are reached through it. It may send from `senders` only; None: from anything; (): from `macs`, any address.
    """

    network: str
    tag: int | None
    macs: tuple[Mac, ...]
    senders: tuple[Sender, ...] | None


@dataclass(frozen=True, slots=True)
class Macvlan:
    """An interface that is a device on the uplink itself (`tap`: macvtap), beside the bridge. `vlan_id` 0: untagged."""

    mode: MacvlanMode
    tap: bool
    physnet: str
    vlan_id: int


@dataclass(frozen=True, slots=True)
class Interface:
    """A node's interface and the bridge port that it is plugged into (a veth pair).

    `ready` says that the flows of its ports are confirmed on this chassis: only then is it set up. `gateway` is the
    node's way out of its subnet.
    """

    node: str
    name: str
    bridge_port: str
    ofport: int
    mac: Mac
    mtu: int
    addresses: tuple[IPInterface, ...]
    vlans: tuple[Vlan, ...] = ()
    ready: bool = False
    gateway: IPv4Address | None = None
    attachments: tuple[Attachment, ...] = ()
    macvlan: Macvlan | None = None
    dhcp: bool = False
    """A guest asks for its addresses by DHCP instead of being told `addresses`."""
    idle: bool = False
    """Its guest moves, and is on the other chassis: what is for it goes there. `ofport` 0: whichever it has."""
    tap: int = 0
    """Identity of a guest's tap, as the agent finds it, so that one that was made anew is known for another, also in
    another namespace; 0: none yet, or it is not known."""


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace with interfaces."""

    name: str
    namespace: str
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Booted directly by QEMU, without a boot loader. Absolute paths on the host; `initrd` '' is none."""

    image: str
    initrd: str
    append: str


@dataclass(frozen=True, slots=True)
class Seed:
    """What cloud-init finds in the guest (NoCloud): a user with ssh keys, the addresses of its interfaces, and
    `user_data`, the content of a file of the user's, whole; '' where only ours is given."""

    user: str
    ssh_keys: tuple[str, ...]
    user_data: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware of a guest and how it is treated. `memory` and `disk` are bytes.

    Without `image` and `kernel` it is the built-in guest. `image` (absolute path, qcow2 or raw) is never written: the
    guest's own disk is a copy-on-write volume over it, `disk` bytes large (0: as the image). `volumes` are named
    volumes of the pool that it has besides.
    """

    memory: int
    cpus: int = 1
    image: str = ""
    disk: int = 0
    kernel: Kernel | None = None
    volumes: tuple[str, ...] = ()
    seed: Seed | None = None
    devices: tuple[str, ...] = ()
    """PCI addresses of host devices that it gets for itself, such as 0000:03:10.2 (SR-IOV): it cannot migrate."""
    power: Power = "on"
    restart: Restart = "on-failure"
    driver: Driver = "qemu"
    migration: MigrationMode = "auto"

    @property
    def builtin(self) -> bool:
        """Whether it is the guest that we make ourselves, and know the inside of."""
        return not self.image and self.kernel is None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs a guest's code, and why that. `name` is QEMU's: kvm or tcg."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Guest:
    """A QEMU machine on a chassis; `uuid` is the same wherever it goes.

    While it moves two chassis have it: on the one where it was it `moves_to` the other, on that it `comes_from` there.
    """

    name: str
    uuid: str
    machine: Machine
    interfaces: tuple[Interface, ...]
    moves_to: str = ""
    comes_from: str = ""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The one flow-based bridge port of an encapsulation."""

    kind: TunnelKind
    bridge_port: str
    ofport: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """The chassis' device into a physical network, a port of the integration bridge.

    In a lab it is one end of a veth whose other end is on the physical network's Linux bridge `lab_bridge`
    in the lab's own namespace. That bridge also has the machine's `interface`, where the file gives it one; what
    addresses the machine has there then are a conflict, or move for the time being (`moves_addresses`).
    `address` and `gateway` are the chassis' own in the untagged physical network.
    """

    physnet: str
    bridge_port: str
    ofport: int
    mtu: int
    lab_bridge: str
    interface: str = ""
    moves_addresses: bool = False
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Underlay:
    """How the chassis reaches the other vteps."""

    vtep: IPv4Interface
    mac: Mac
    mtu: int
    neighbours: tuple[tuple[IPv4Address, Mac], ...]
    """The other vteps, so that no first packet waits for ARP."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A port of a network on another chassis: its MAC, and the addresses that ARP and ND are answered for."""

    mac: Mac
    vtep: IPv4Address
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The chassis' own address in a network. What it forwards leaves by the uplink into `physnet`; '' if isolated."""

    address: IPv4Interface
    mode: ForwardMode
    physnet: str


@dataclass(frozen=True, slots=True)
class Bridged:
    """A network that the chassis has, for a switch without flow tables.

    It is carried by a tunnel (`tunnel`, `tunnel_id`: VNI or VSID), or by the uplink into `physnet` (`vlan_id` 0:
    untagged), or stays on this chassis. `vteps` get a copy of each broadcast.
    """

    network: str
    mtu: int
    tunnel: TunnelKind | None = None
    tunnel_id: int = 0
    physnet: str = ""
    vlan_id: int = 0
    floods_unknown: bool = False
    vteps: tuple[IPv4Address, ...] = ()
    peers: tuple[Peer, ...] = ()
    gateway: Gateway | None = None


@dataclass(frozen=True, slots=True)
class HostSpec:
    """Everything that one chassis must have."""

    lab: str
    chassis: str
    namespace: str
    datapath_id: int
    underlay: Underlay
    tunnels: tuple[Tunnel, ...]
    uplinks: tuple[Uplink, ...]
    nodes: tuple[Node, ...]
    flow_limits: tuple[tuple[int, int], ...] = ()
    """Id of a table and the most flows it may have: one more, and the one that expires first goes. By id."""
    switch: SwitchKind = "ovs"
    networks: tuple[Bridged, ...] = ()
    """Those of a switch without flow tables, by name."""
    guests: tuple[Guest, ...] = ()

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """Those of nodes and of guests."""
        of_nodes = tuple(interface for node in self.nodes for interface in node.interfaces)
        return of_nodes + tuple(interface for guest in self.guests for interface in guest.interfaces)
