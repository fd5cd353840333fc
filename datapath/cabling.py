"""What joins the nodes, chassis and physical networks of a lab: the kernel's devices, and who is known to have them.

Enters: Chassis with their specs, the Host's namespaces as they are. Leaves: veths, bridges, taps, VLAN and macvlan
devices so; on each Chassis what was refused. Never: a look at a node that was right, while neither its wish nor its
namespace has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from datapath.addr import IPInterface, Mac
from datapath.chassis import UPLINKS, Chassis
from datapath.errors import SdnError
from datapath.linux import wiring
from datapath.linux.host import Host, Namespace
from datapath.linux.macvlan import Macvlans
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.spec import HostSpec, Node, namespace

_LOOKS: Final = 3
"""At a chassis' devices until nothing changes any more; otherwise it is looked at again next time."""

LAB_DEVICES: Final = ("veth", "bridge")
CHASSIS_DEVICES: Final = ("veth", "tun", "bridge", "vxlan", "gretap", "vlan")
"""Kinds of devices of ours that a chassis may have, whatever its switch was."""
NODE_DEVICES: Final = ("veth", "vlan", "macvlan", "macvtap")


@dataclass(frozen=True, slots=True)
class _Right:
    """A node that was right when last looked at; it still is while neither the wish nor a namespace changes."""

    node: Node
    chassis: str
    home: Namespace
    """The chassis' own, where its bridge ports are."""
    namespace: Namespace
    version: int


class Cabling:
    """Of one lab."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._right: dict[str, _Right] = {}
        """By node."""

    # What nobody wants

    def clear(self, every: Collection[Chassis], unsettled: Iterable[Chassis]) -> None:
        """On all chassis before anything is made: the name of a moved node's interface must be free for the new one."""
        lab, specs = self._host.lab, [chassis.spec for chassis in every]
        wires = Wires(self._host)
        pairs = [pair for each in every for pair in wiring.chassis_pairs(each.spec, each.switch.type)]
        of_lab = {pair.far.device for pair in pairs} | {bridge.device for bridge in wiring.bridges(lab, specs)}
        wires.clear(namespace(lab), of_lab | wiring.machine_devices(lab, specs), LAB_DEVICES)
        for chassis in unsettled:
            spec = chassis.spec
            own = {pair.near.device for pair in pairs if pair.near.namespace == spec.namespace}
            own |= {interface.bridge_port for interface in spec.interfaces} | wiring.macvlan_devices(spec)
            kept = chassis.switch.devices(spec)
            if kept is not None:
                wires.clear(spec.namespace, own | kept, CHASSIS_DEVICES)

    def keep(self, nodes: Container[str]) -> None:
        """Others are none of ours any more."""
        self._right = {name: right for name, right in self._right.items() if name in nodes}

    def doubt(self, nodes: Iterable[Node]) -> None:
        """They are looked at next time, whatever is known of them."""
        for node in nodes:
            self._right.pop(node.name, None)

    # What there shall be

    def raise_bridges(self, every: Iterable[Chassis]) -> None:
        """Those in the lab's own namespace."""
        Wires(self._host).raise_bridges(wiring.bridges(self._host.lab, [chassis.spec for chassis in every]))

    def connect(self, chassis: Chassis, failed: Mapping[str, SdnError]) -> bool:
        """The devices of a chassis and of its nodes. What the kernel refuses is an error of the chassis; what breaks on
        the way does not stop others either. `failed` are namespaces that could not be had. False: it broke, and nobody
        knows which devices are ours."""
        try:
            self._connect(chassis, failed)
        except (OSError, SdnError) as error:
            chassis.errors["kernel"] = (f"the kernel's devices: {error}",)
            return False
        return True

    def _connect(self, chassis: Chassis, failed: Mapping[str, SdnError]) -> None:
        """Looked at again until nothing has changed any more: what somebody else does meanwhile is told together with
        what we do."""
        unsure = self._unsure(chassis)
        for node in unsure:
            self._let_announce(node)
        self.doubt(unsure)
        home = self._host.namespaces.get(chassis.spec.namespace)
        for _ in range(_LOOKS):
            before = self._versions(chassis.spec, unsure)
            if home is not None:
                home.devices.touched.clear()
            wires = self._settle(chassis, unsure)
            if self._versions(chassis.spec, unsure) == before:
                break
        self._blame(chassis, unsure, wires, failed)
        self._remember(chassis, unsure, wires, before)

    def _settle(self, chassis: Chassis, unsure: list[Node]) -> Wires:
        spec, switch, wires = chassis.spec, chassis.switch, Wires(self._host)
        pairs = wiring.chassis_pairs(spec, switch.type)
        pairs += [pair for node in unsure for pair in wiring.node_pairs(spec, node, switch.type)]
        switch.lay(spec, wires)
        wires.connect(pairs)
        Trunks(self._host, wires).settle(pair.far for pair in pairs)
        Macvlans(self._host, wires).settle(spec, unsure)
        wires.hold(wiring.taps(spec, switch.type))
        switch.plug(spec, wires)
        wires.settle(wiring.loopback(spec, node) for node in unsure)
        for node in unsure:
            wires.clear(node.namespace, wiring.node_devices(node), NODE_DEVICES)
        return wires

    def _versions(self, spec: HostSpec, nodes: Iterable[Node]) -> dict[str, int]:
        """Of what is known of the chassis' namespace and of its nodes'."""
        held = self._host.namespaces
        names = (spec.namespace, *(node.namespace for node in nodes))
        return {name: held[name].devices.version for name in names if name in held}

    def _let_announce(self, node: Node) -> None:
        right = self._right.get(node.name)
        if right is not None and _owners_of_addresses(right.node) != _owners_of_addresses(node):
            self._host.announce(right.namespace)

    # What is known to be right

    def _unsure(self, chassis: Chassis) -> list[Node]:
        """Nodes whose wish or devices have changed since they were right."""
        home = self._host.namespaces.get(chassis.spec.namespace)
        return [node for node in chassis.spec.nodes if home is None or not self._is_right(chassis.name, node, home)]

    def _is_right(self, chassis: str, node: Node, home: Namespace) -> bool:
        right, touched = self._right.get(node.name), home.devices.touched
        return (
            right is not None
            and right.home is home
            and self._host.namespaces.get(node.namespace) is right.namespace
            and right.version == right.namespace.devices.version
            and right.chassis == chassis
            and right.node == node
            and (not touched or touched.isdisjoint(interface.bridge_port for interface in node.interfaces))
        )

    def _blame(self, chassis: Chassis, looked_at: Iterable[Node], wires: Wires, failed: Mapping[str, SdnError]) -> None:
        """Its errors and notes, of what was refused."""
        spec = chassis.spec
        places = (spec.namespace, namespace(self._host.lab), *(node.namespace for node in spec.nodes))
        refusals = [str(refusal) for place in places for refusal in wires.refusals.get(place, ())]
        refusals += [str(failed[place]) for place in places if place in failed]
        chassis.errors["kernel"] = tuple(dict.fromkeys(refusals))
        notes = chassis.notes | {node.namespace: tuple(wires.notes.get(node.namespace, ())) for node in looked_at}
        chassis.notes = {place: said for place, said in notes.items() if said and place in (*places, UPLINKS)}

    def _remember(self, chassis: Chassis, looked_at: Iterable[Node], wires: Wires, versions: Mapping[str, int]) -> None:
        """Nodes that are right now, where nothing was refused. `versions` are those that were looked at last."""
        home = self._host.namespaces.get(chassis.spec.namespace)
        blamed = any(wires.refusals.get(place) for place in (chassis.spec.namespace, namespace(self._host.lab)))
        for node in looked_at:
            inside = self._host.namespaces.get(node.namespace)
            if home is None or inside is None or blamed or wires.refusals.get(node.namespace):
                continue
            if versions.get(node.namespace) == inside.devices.version:
                self._right[node.name] = _Right(node, chassis.name, home, inside, inside.devices.version)


def _owners_of_addresses(node: Node) -> set[tuple[Mac, IPInterface]]:
    return {
        (interface.mac, address)
        for interface in node.interfaces
        for addresses in (interface.addresses, *(vlan.addresses for vlan in interface.vlans))
        for address in addresses
    }
