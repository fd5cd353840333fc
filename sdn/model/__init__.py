"""The nouns of a virtual network, parsed and complete: every id, MAC, address and MTU is known here. PURE.

Enters: values from `sdn.topology` or from rows of `sdn.store`. Leaves: values for `compile`, `pipeline`, `trace`.
Never: a string that might be an address, an unresolved reference, a default still to be filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Final, Literal

from datapath.addr import IPAddress, IPInterface, IPNetwork, Mac
from datapath.spec import ForwardMode, Machine, MacvlanMode

SegmentKind = Literal["vxlan", "nvgre", "geneve", "vlan", "flat", "local"]
TUNNELLED: Final[frozenset[SegmentKind]] = frozenset({"vxlan", "nvgre", "geneve"})

DatapathKind = Literal["ovs", "linux", "vswitch", "external"]
"""`external`: a vtep that somebody else runs; its ports are forwarded to, nothing of it is made or programmed by us."""

ENCAPSULATION_OVERHEAD: Final[dict[SegmentKind, int]] = {
    "vxlan": 20 + 8 + 8 + 14,  # outer IPv4, UDP, VXLAN, inner Ethernet (RFC 7348 section 5)
    "nvgre": 20 + 8 + 14,  # outer IPv4, GRE with key, inner Ethernet (RFC 7637 section 3.2)
    "geneve": 20 + 8 + 8 + 14,  # outer IPv4, UDP, Geneve without options, inner Ethernet (RFC 8926 section 3.4)
    "vlan": 0,  # the tag is not part of the MTU
    "flat": 0,
    "local": 0,
}
"""Bytes that the underlay's MTU loses to the encapsulation."""


REVISION: Final = "revision"


@dataclass(frozen=True, slots=True)
class Source:
    """Where in the topology file an object is written; counts from 1.

    What was never in a file has `file` REVISION, and its `line` is the revision that it came with.
    """

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def place(self) -> str:
        """Within its file, or the pointer of what is in none."""
        return f"line {self.line}" if self.line else self.file

    @classmethod
    def parse(cls, text: str) -> Source:
        file, line, column = text.rsplit(":", 2)
        return cls(file, int(line), int(column))


@dataclass(frozen=True, slots=True)
class Underlay:
    subnet: IPv4Network
    mtu: int


@dataclass(frozen=True, slots=True)
class Physnet:
    """A physical network that VLAN and flat segments run on. `ofport` is its uplink's on every integration bridge.

    `interface` is that of this machine into it ('': it exists in the lab only); addresses that the machine has there
    are a conflict, or move for the time being (`moves_addresses`). `gateway` is a router in it.
    """

    name: str
    mtu: int
    ofport: int
    source: Source
    interface: str = ""
    moves_addresses: bool = False
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Chassis:
    """A host as tunnel endpoint. `physnets` are those it has an uplink into."""

    id: int
    name: str
    vtep: IPv4Interface
    mac: Mac
    """The MAC of its vtep."""
    datapath: DatapathKind
    physnets: tuple[str, ...]
    source: Source
    addresses: tuple[tuple[str, IPv4Interface], ...] = ()
    """Its own in physical networks, by physnet."""
    memory: int = 0
    """Bytes that its guests may have together; 0: as many as the machine has."""
    cpus: int = 0
    """Virtual processors that its guests may have together; 0: no limit."""

    @property
    def ours(self) -> bool:
        """Whether it is built by us, and not somebody else's vtep."""
        return self.datapath != "external"

    @property
    def has_tables(self) -> bool:
        """Whether its switch has OpenFlow tables; what has none is told everything by its HostSpec."""
        return self.datapath in ("ovs", "vswitch")

    @property
    def masks_flow_id(self) -> bool:
        """Whether it tells NVGRE networks apart by their VSID alone, as RFC 7637 has it. The kernel's gretap compares
        the whole key, and of what others run nothing is known."""
        return self.has_tables


@dataclass(frozen=True, slots=True)
class Segment:
    """`id` is the VNI, VSID or VLAN id; 0 for flat and local. `physnet` names the physical network of vlan and flat,
    else ''. A local segment is on no wire: all its ports are on one chassis."""

    kind: SegmentKind
    id: int = 0
    physnet: str = ""

    @property
    def tunnelled(self) -> bool:
        return self.kind in TUNNELLED

    def __str__(self) -> str:
        on = f" on {self.physnet}" if self.physnet else ""
        return f"{self.kind}{f' {self.id}' if self.id else ''}{on}"


@dataclass(frozen=True, slots=True)
class Forward:
    """A gateway of a local network on its chassis: `nat` and `routed` lead into `physnet`, `isolated` nowhere."""

    mode: ForwardMode
    gateway: IPv4Interface
    physnet: str = ""

    def __str__(self) -> str:
        return f"{self.mode}{f' into {self.physnet}' if self.physnet else ''}, gateway {self.gateway.ip}"


@dataclass(frozen=True, slots=True)
class Network:
    """A tenant L2 domain."""

    id: int
    name: str
    segment: Segment
    subnets: tuple[IPNetwork, ...]
    mtu: int
    unknown_unicast: Literal["drop", "flood"]
    source: Source
    forward: Forward | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """What has ports, on a chassis: a network namespace, or a guest where `Model.guests` has one of its name.

    A guest that moves has a second chassis: it `moves_to` that one, or `leaves` it; see `located`.
    """

    id: int
    name: str
    chassis: str
    source: Source
    moves_to: str = ""
    leaves: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """What makes the node of its name a QEMU machine. Guests with an `anti_affinity` in common are on different
    chassis."""

    name: str
    machine: Machine
    anti_affinity: tuple[str, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """Beyond its own addresses a port may send from these; `mac` None means the port's own."""

    subnet: IPNetwork
    mac: Mac | None = None


@dataclass(frozen=True, slots=True)
class Macvlan:
    """An interface on the uplink itself (`tap`: macvtap) instead of a bridge port."""

    mode: MacvlanMode
    tap: bool = False

    def __str__(self) -> str:
        return f"{'macvtap' if self.tap else 'macvlan'} {self.mode}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a port waits for its guest, and the bridge port's number there."""

    chassis: str
    ofport: int


@dataclass(frozen=True, slots=True)
class Port:
    """The attachment of a node's interface to a network. A trunk is several ports on one interface, told apart by tag.

    `tag` is None for access ports and for a trunk's native network. Ports of one interface share `ofport` and `mac`.
    """

    id: int
    name: str
    node: str
    interface: str
    tag: int | None
    network: str
    chassis: str
    ofport: int
    mac: Mac
    addresses: tuple[IPInterface, ...]
    allowed: tuple[AllowedAddress, ...]
    spoof_guard: bool
    source: Source
    macvlan: Macvlan | None = None
    dhcp: bool = False
    arrives: Arrival | None = None
    """While its guest moves; see `located`."""

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return tuple(address.ip for address in self.addresses)

    @property
    def link_local(self) -> IPv6Address:
        return self.mac.link_local()


Expect = Literal["ok", "fail"]


@dataclass(frozen=True, slots=True)
class Test:
    """An assertion of the file: every source against every target, by a probe.

    `probe` is ping (ICMP echo, every address family that both ends have), tcp or udp; `port` is the destination port.
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    probe: Literal["ping", "tcp", "udp"]
    port: int
    expect: Expect
    within: float
    """Seconds until which it is tried again."""
    source: Source


@dataclass(frozen=True)
class Model:
    """A whole lab. Mappings are by name, in the file's order; never changed in place."""

    lab: str
    underlay: Underlay
    physnets: dict[str, Physnet] = field(default_factory=dict)
    chassis: dict[str, Chassis] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    guests: dict[str, Guest] = field(default_factory=dict)
    """Those of the nodes that are machines."""
    ports: dict[str, Port] = field(default_factory=dict)
    tests: dict[str, Test] = field(default_factory=dict)
    revision: int = 0
    """Counts the transactions that wrote it to the store; 0 before the first. Not part of the network."""

    @cached_property
    def ports_of(self) -> dict[str, tuple[Port, ...]]:
        """Ports by network name."""
        found: dict[str, list[Port]] = {name: [] for name in self.networks}
        for port in self.ports.values():
            found[port.network].append(port)
        return {name: tuple(ports) for name, ports in found.items()}

    @cached_property
    def interfaces_of(self) -> dict[str, tuple[tuple[Port, ...], ...]]:
        """By node: of each interface the ports that share it, the untagged one first."""
        found: dict[str, list[Port]] = {}
        for port in self.ports.values():
            if port.node in found:
                found[port.node].append(port)
            else:
                found[port.node] = [port]
        return {node: (tuple(ports),) if len(ports) == 1 else _by_interface(ports) for node, ports in found.items()}

    def with_revision(self, revision: int) -> Model:
        return replace(self, revision=revision)


def _by_interface(ports: list[Port]) -> tuple[tuple[Port, ...], ...]:
    found: dict[str, list[Port]] = {}
    for port in sorted(ports, key=lambda port: port.tag or 0):
        found.setdefault(port.interface, []).append(port)
    names = dict.fromkeys(port.interface for port in ports)
    return tuple(tuple(found[name]) for name in names)
