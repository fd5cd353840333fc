"""Nodes' interfaces that are devices on an uplink themselves, beside the switch of the chassis: macvlan and macvtap.

Enters: a HostSpec whose interfaces may have `macvlan`, its nodes' namespaces. Leaves: these devices in the nodes, and
the VLAN devices of the chassis that they are on. Never: an interface that goes to the switch; a device of another's.

    node's eth0 (macvlan) ─ mv-office ═ phy-office (the lab's bridge)        untagged
    node's eth0 (macvlan) ─ mv-office.120 ─ mv-office ═ phy-office           VLAN 120

`mv-office` is a veth like the chassis' uplink device, and beside it: a device that has macvlans cannot be the port of a
bridge too (the kernel says EBUSY), and a chassis may have nodes of both kinds in one physical network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from datapath.linux import messages
from datapath.linux.devices import Device
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import Refusal
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.linux.wiring import MACVLANS, macvlan_lower, macvlan_pairs, node_end
from datapath.spec import HostSpec, Interface, Macvlan, MacvlanMode, Node, alias

_MODES: Final[dict[MacvlanMode, int]] = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
"""MACVLAN_MODE_* of linux/if_link.h."""


class Macvlans:
    """Of one round of changes; refusals and notes are those of its Wires."""

    def __init__(self, host: Host, wires: Wires) -> None:
        self._host = host
        self._wires = wires

    def settle(self, spec: HostSpec, nodes: Iterable[Node]) -> None:
        """After the chassis' own devices: makes what is missing or of another mode, sets what differs."""
        pairs = macvlan_pairs(spec)
        home = self._host.namespaces.get(spec.namespace)
        if not pairs or home is None:
            return
        Trunks(self._host, self._wires).settle(pair.near for pair in pairs)
        above = [(node, each) for node in nodes for each in node.interfaces if each.macvlan is not None]
        for node, interface in above:
            place = self._host.namespaces.get(node.namespace)
            if place is not None and interface.macvlan is not None:
                self._ensure(home, place, interface, interface.macvlan)
        self._wires.settle(node_end(spec, node, interface, "system") for node, interface in above)

    def _ensure(self, home: Namespace, place: Namespace, interface: Interface, wish: Macvlan) -> None:
        about = alias(self._host.lab, f"{interface.node}:{interface.name}")
        name = macvlan_lower(wish.physnet, wish.vlan_id)
        lower, found = home.devices.by_name.get(name), place.devices.by_name.get(interface.name)
        if lower is None or lower.index not in home.ours:
            self._wires.refusals[home.name].append(Refusal(about, 0, f"there is no device {name} for it to be on"))
        elif found is None or not _is(found, wish, lower):
            self._make(home, place, interface, wish, lower)

    def _make(self, home: Namespace, place: Namespace, interface: Interface, wish: Macvlan, lower: Device) -> None:
        """Where a name was taken by another's device that is left alone, and the kernel refuses ours."""
        about = alias(self._host.lab, f"{interface.node}:{interface.name}")
        found = place.devices.by_name.get(interface.name)
        if found is not None and not found.alias:  # the kernel does not tell of one that it got while it was down
            place.devices.read(place.channel)
            found = place.devices.by_name.get(interface.name)
        if found is not None and found.kind in ("veth", *MACVLANS) and found.alias in ("", about):
            self._wires.refusals[place.name] += place.send([messages.delete_link(f"remove {about}", found.index)])
        kind = "macvtap" if wish.tap else "macvlan"
        with place.descriptor() as there:
            made = messages.add_macvlan(
                about, kind, interface.name, lower.index, there, _MODES[wish.mode], interface.mac, interface.mtu
            )
            self._wires.refusals[home.name] += home.send([made])
        place.hear()


def _is(found: Device, wish: Macvlan, lower: Device) -> bool:
    kind = "macvtap" if wish.tap else "macvlan"
    return (found.kind, found.peer, found.mode) == (kind, lower.index, _MODES[wish.mode])
