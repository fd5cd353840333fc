"""The rows that a HostSpec asks of an Open_vSwitch database. PURE.

Enters: a HostSpec, the type of its datapath, the directory of the chassis. Leaves: BridgeRow and PortRow values.
Never: a uuid, a connection.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Final, NamedTuple

from datapath.drift import instead
from datapath.linux.wiring import DatapathType
from datapath.spec import (
    INTEGRATION_BRIDGE,
    MARK,
    UNDERLAY_BRIDGE,
    UNDERLAY_DEVICE,
    HostSpec,
    Interface,
    Tunnel,
    TunnelKind,
)

Pairs = tuple[tuple[str, str], ...]
"""An OVSDB map, sorted: comparable and hashable."""

INTERFACE_TYPE: Final[dict[TunnelKind, str]] = {"vxlan": "vxlan", "nvgre": "gre", "geneve": "geneve"}

PORT_MARK: Final = "sdn-port"
"""`external_ids` key of a node's interface: `<node>:<interface>`."""

INDEX_MARK: Final = "sdn-ifindex"
"""`external_ids` key: the device that the port was made for. One made anew under the old name is another device, and
the switch, which holds the old one open, must let go of that first."""

SWITCH_OPTIONS: Final[Pairs] = (("n-handler-threads", "1"), ("n-revalidator-threads", "1"), ("vlan-limit", "1"))
"""Every chassis of a lab is on one machine: one thread of a kind each, or twenty chassis start sixty of them.

One VLAN tag is looked at, which is Open vSwitch's default: what has two tags shows the inner one as its EtherType.
"""

CONTROLLER_BACKOFF_MS: Final = 1000
"""The least that Open vSwitch allows."""

INACTIVITY_PROBE_MS: Final = 5000

VTEP_MTU: Final = 576
"""Of the underlay bridge's own device, whatever the underlay's is: with each change vswitchd takes the vtep out of
`tnl_port_map` for a moment (OVS 3.1, tnl_port_map_run()), and a tunnel's flow that it checks just then drops packets.
Tunnels do not go by this device. What the chassis' kernel itself sends there fits every underlay (RFC 791: 576).
"""


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """A bridge; `controller` is the target, '' for none; `flow_limits` are those of a HostSpec."""

    datapath_type: str
    fail_mode: str
    protocols: frozenset[str]
    other_config: Pairs
    controller: str
    external_ids: Pairs
    flow_limits: tuple[tuple[int, int], ...] = ()


class PortRow(NamedTuple):
    """A port with its one interface of the same name."""

    bridge: str
    type: str
    ofport_request: int | None
    options: Pairs
    external_ids: Pairs
    mtu_request: int | None = None
    """None: the switch sets it."""


Row = BridgeRow | PortRow


def changes(found: Row, wanted: Row) -> Iterator[str]:
    """The columns that differ, in words; of a map the keys that do."""
    names = wanted._fields if isinstance(wanted, PortRow) else [field.name for field in fields(wanted)]
    for name in names:
        old, new = getattr(found, name), getattr(wanted, name)
        if isinstance(new, tuple):
            before, after = dict(old), dict(new)
            keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
            yield from (instead(f"{name}:{key}", before.get(key), after.get(key)) for key in keys)
        elif old != new:
            yield instead(name, _listed(old), _listed(new))


def _listed(value: object) -> object:
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else value


def controller_target(directory: PurePath) -> str:
    """The only unix socket that Open vSwitch connects a bridge to: <rundir>/<bridge>.controller."""
    return f"unix:{directory}/{INTEGRATION_BRIDGE}.controller"


def bridges(spec: HostSpec, datapath: DatapathType, directory: PurePath) -> dict[str, BridgeRow]:
    """The integration bridge; with the userspace datapath also the one that carries the underlay device."""
    mark = ((MARK, spec.lab),)
    kind = "netdev" if datapath == "netdev" else "system"
    options = (("datapath-id", f"{spec.datapath_id:016x}"), ("disable-in-band", "true"))
    versions = frozenset({"OpenFlow13", "OpenFlow14"})
    target = controller_target(directory)
    found = {INTEGRATION_BRIDGE: BridgeRow(kind, "secure", versions, options, target, mark, spec.flow_limits)}
    if datapath == "netdev":
        hwaddr = (("hwaddr", str(spec.underlay.mac)),)
        found[UNDERLAY_BRIDGE] = BridgeRow(kind, "standalone", frozenset(), hwaddr, "", mark)
    return found


def ports(
    spec: HostSpec, datapath: DatapathType, indexes: Mapping[str, int], without: Container[str] = ()
) -> dict[str, PortRow]:
    """Ports by name, without those of the nodes in `without`; `indexes` are those of the devices that there are."""
    mark = ((MARK, spec.lab),)

    def marks(device: str) -> Pairs:
        return (*mark, (INDEX_MARK, str(indexes.get(device, 0))))

    found = local_ports(spec.lab, [INTEGRATION_BRIDGE])
    if datapath == "netdev":
        found |= local_ports(spec.lab, [UNDERLAY_BRIDGE])
        found[UNDERLAY_DEVICE] = PortRow(UNDERLAY_BRIDGE, "", None, (), marks(UNDERLAY_DEVICE))
    for tunnel in spec.tunnels:
        found[tunnel.bridge_port] = _tunnel(spec, tunnel, mark, datapath)
    for uplink in spec.uplinks:
        found[uplink.bridge_port] = PortRow(INTEGRATION_BRIDGE, "", uplink.ofport, (), marks(uplink.bridge_port))
    for node in spec.nodes:
        if node.name not in without:
            for interface in node.interfaces:
                found[interface.bridge_port] = _interface(interface, marks(interface.bridge_port))
    for guest in spec.guests:
        for interface in guest.interfaces:
            found[interface.bridge_port] = _interface(interface, marks(interface.bridge_port), guest.uuid)
    return found


def is_plugged(row: PortRow) -> bool:
    """Whether it is for a device that is there, and not one that the switch makes."""
    return any(key == INDEX_MARK for key, _ in row.external_ids)


def local_ports(lab: str, bridges: Iterable[str]) -> dict[str, PortRow]:
    """Every bridge has a port of its own name, the host's own way into it."""
    mtus = {UNDERLAY_BRIDGE: VTEP_MTU}
    return {name: PortRow(name, "internal", None, (), ((MARK, lab),), mtus.get(name)) for name in bridges}


def _tunnel(spec: HostSpec, tunnel: Tunnel, mark: Pairs, datapath: DatapathType) -> PortRow:
    """Flows give the remote vtep and the tunnel id of each packet; in userspace the route gives the local one."""
    local = (("local_ip", str(spec.underlay.vtep.ip)),) if datapath == "system" else ()
    options = (("key", "flow"), *local, ("remote_ip", "flow"))
    return PortRow(INTEGRATION_BRIDGE, INTERFACE_TYPE[tunnel.kind], tunnel.ofport, options, mark)


def _interface(interface: Interface, marks: Pairs, machine: str = "") -> PortRow:
    """`machine` is the uuid of a guest: four keys then are as libvirt writes them, which others look for."""
    name = f"{interface.node}:{interface.name}"
    about = [("attached-mac", str(interface.mac)), ("iface-id", name), *marks, (PORT_MARK, name)]
    if machine:
        about += [("iface-status", "active"), ("vm-id", machine)]
    return PortRow(INTEGRATION_BRIDGE, "", interface.ofport or None, (), tuple(sorted(about)))
