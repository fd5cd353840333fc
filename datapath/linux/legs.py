"""Where networks come into the switch of a chassis: at nodes' ports and at uplinks. PURE.

Enters: a HostSpec. Leaves: its networks that need a bridge, and a Leg for each place of each. Never: a device's name
that the HostSpec does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from datapath.addr import IPAddress, IPInterface, Mac
from datapath.spec import Bridged, HostSpec, Interface, Sender, Uplink, alias


@dataclass(frozen=True)
class Leg:
    """A network at a device of the chassis that is no tunnel: a node's port or an uplink."""

    parent: str
    alias: str
    mtu: int
    tag: int | None
    network: Bridged
    macs: tuple[Mac, ...] = ()
    node: str = ""
    interface: str = ""
    local: tuple[tuple[IPAddress, Mac], ...] = ()
    """Addresses in the network, with their MACs."""
    roams: bool = False
    """It may send from addresses that it has in common with others, so that they move."""

    @property
    def is_uplink(self) -> bool:
        return not self.node


def networks_of(spec: HostSpec) -> Iterator[Bridged]:
    """Those that need a bridge: macvlan devices do not. A chassis' own address in a physical network does."""
    attached = {each.network for i in spec.interfaces if i.macvlan is None for each in i.attachments}
    needed = [each for each in spec.networks if each.network in attached or each.gateway is not None]
    yield from needed
    flat = {each.physnet for each in needed if each.physnet and not each.vlan_id}
    for uplink in spec.uplinks:
        if uplink.address is not None and uplink.physnet not in flat:
            yield Bridged(_own(uplink), uplink.mtu, physnet=uplink.physnet, floods_unknown=True)


def _own(uplink: Uplink) -> str:
    """The name, which no network of a file can have, of the chassis' own part in a physical network."""
    return f"@{uplink.physnet}"


def legs_of(spec: HostSpec, networks: Iterable[Bridged]) -> Iterator[Leg]:
    by_name = {network.network: network for network in networks}
    for interface in spec.interfaces:
        if interface.macvlan is None:
            yield from _of_interface(spec, interface, by_name)
    uplinks = {uplink.physnet: uplink for uplink in spec.uplinks}
    for network in by_name.values():
        uplink = uplinks.get(network.physnet) if network.physnet else None
        if uplink is not None:
            mark = alias(spec.lab, f"{spec.chassis}:{uplink.physnet}")
            yield Leg(uplink.bridge_port, mark, uplink.mtu, network.vlan_id or None, network)


def _of_interface(spec: HostSpec, interface: Interface, networks: Mapping[str, Bridged]) -> Iterator[Leg]:
    mark = alias(spec.lab, f"{interface.node}:{interface.name}")
    tagged = {vlan.tag: vlan.addresses for vlan in interface.vlans}
    for each in interface.attachments:
        network = networks.get(each.network)
        if network is None:
            continue
        addresses = interface.addresses if each.tag is None else tagged.get(each.tag, ())
        # an idle one is guarded and in its bridge, but what is for it goes to the chassis where its guest is
        macs = () if interface.idle else each.macs
        local = () if interface.idle else tuple((ip, interface.mac) for ip in _speaks(interface.mac, addresses))
        own = {Sender(mac, ip_network(ip)) for ip, mac in local}
        yield Leg(
            interface.bridge_port,
            mark,
            interface.mtu,
            each.tag,
            network,
            macs,
            interface.node,
            interface.name,
            local,
            roams=each.senders is None or not own.issuperset(each.senders),
        )


def _speaks(mac: Mac, addresses: Iterable[IPInterface]) -> list[IPAddress]:
    """Who speaks IPv6 has a link-local address too (RFC 4291 section 2.8)."""
    found = [address.ip for address in addresses]
    return [*found, mac.link_local()] if any(ip.version == 6 for ip in found) else found
