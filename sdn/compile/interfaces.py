"""Ports that share an interface → the Interface of a HostSpec. PURE.

Enters: a Model, and which ports have their flows confirmed. Leaves: Interface values. Never: anything of a chassis.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import IPv4Address

from datapath.spec import Attachment, Interface, Macvlan, Vlan, device_name
from sdn.model import Model, Port
from sdn.pipeline.spoof_guard import senders


def interface_of(model: Model, ready: Container[str], ports: Sequence[Port]) -> Interface:
    """Of the ports that share it, on their chassis."""
    first = ports[0]
    chassis = model.chassis.get(first.chassis)
    return Interface(
        node=first.node,
        name=first.interface,
        bridge_port=device_name("p", first.node, first.interface),
        ofport=first.ofport,
        mac=first.mac,
        mtu=_mtu(model, ports),
        addresses=first.addresses if first.tag is None else (),
        vlans=tuple(
            Vlan(port.tag, model.networks[port.network].mtu, port.addresses) for port in ports if port.tag is not None
        ),
        ready=all(port.name in ready for port in ports),
        gateway=_way_out(model, ports),
        attachments=() if chassis is None or chassis.has_tables else tuple(_attachment(port) for port in ports),
        macvlan=_macvlan(model, first),
        dhcp=first.dhcp,
    )


def _mtu(model: Model, ports: Sequence[Port]) -> int:
    """The untagged network's MTU, which no tagged one exceeds (the topology sees to that); on a trunk without one, the
    largest of the tagged ones. A tag is not counted in it."""
    if ports[0].tag is None:
        return model.networks[ports[0].network].mtu
    return max(model.networks[port.network].mtu for port in ports)


def _way_out(model: Model, ports: Sequence[Port]) -> IPv4Address | None:
    """The gateway of an untagged network that leads somewhere."""
    forward = model.networks[ports[0].network].forward if ports[0].tag is None else None
    return forward.gateway.ip if forward and forward.mode != "isolated" else None


def _attachment(port: Port) -> Attachment:
    virtual = (allowed.mac for allowed in port.allowed if allowed.mac is not None)
    macs = tuple(dict.fromkeys((port.mac, *virtual)))
    return Attachment(port.network, port.tag, macs, tuple(senders(port)) if port.spoof_guard else None)


def _macvlan(model: Model, port: Port) -> Macvlan | None:
    if port.macvlan is None:
        return None
    segment = model.networks[port.network].segment
    return Macvlan(port.macvlan.mode, port.macvlan.tap, segment.physnet, segment.id)
