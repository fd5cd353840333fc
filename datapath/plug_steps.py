"""What a change does to the nodes of a chassis and their interfaces, and whom it disturbs. PURE.

Enters: Nodes as they are desired and observed. Leaves: HostSteps. Never: an observation of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from datapath.host_step import HostStep, Reason, come_or_gone, told
from datapath.plan import diff
from datapath.spec import Interface, Node, Vlan


def node_steps(desired: Sequence[Node], observed: Sequence[Node]) -> list[HostStep]:
    nodes = {f"node {node.name}": node for node in desired}
    before = {f"node {node.name}": node for node in observed}
    found: list[HostStep] = []
    for step in diff(nodes, before):
        if step.verb == "change":
            found += _interfaces(nodes[step.key], before[step.key])
        else:
            found.append(come_or_gone(step, "its processes lose their network"))
    return found


def _interfaces(desired: Node, observed: Node) -> list[HostStep]:
    wanted = {f"{desired.name}:{each.name}": each for each in desired.interfaces}
    before = {f"{observed.name}:{each.name}": each for each in observed.interfaces}
    return told(wanted, before, "its connections end", interface_change)


def interface_change(desired: Interface, observed: Interface) -> Reason:
    if (desired.bridge_port, desired.macvlan) != (observed.bridge_port, observed.macvlan):
        return "recreated", "its connections pause"
    said = []
    disturbs = ""
    if desired.mac != observed.mac:
        said.append(f"mac {observed.mac} → {desired.mac}")
        disturbs = "its connections pause"
    if desired.ofport != observed.ofport:
        said.append(f"switch port {observed.ofport} → {desired.ofport}")
        disturbs = "its connections pause"
    if desired.mtu != observed.mtu:
        said.append(f"mtu {observed.mtu} → {desired.mtu}")
    gone = [str(address) for address in observed.addresses if address not in desired.addresses]
    come = [str(address) for address in desired.addresses if address not in observed.addresses]
    said += [f"address {address} goes" for address in gone] + [f"address {address} comes" for address in come]
    said += _vlan_changes(desired.vlans, observed.vlans)
    if desired.gateway != observed.gateway:
        said.append(f"default route by {observed.gateway or 'none'} → {desired.gateway or 'none'}")
    if desired.attachments != observed.attachments:
        said.append("what it may send from, or its network, changes")
    if desired.dhcp != observed.dhcp:
        said.append("it asks for its addresses by DHCP" if desired.dhcp else "it is told its addresses")
    if desired.ready != observed.ready:
        said.append("set up" if desired.ready else "waits for its flows")
    return ", ".join(said), f"connections of {', '.join(gone)} end" if gone else disturbs


def _vlan_changes(desired: tuple[Vlan, ...], observed: tuple[Vlan, ...]) -> list[str]:
    wanted = {vlan.tag: vlan for vlan in desired}
    before = {vlan.tag: vlan for vlan in observed}
    words = {"add": "comes", "change": "changes", "remove": "goes"}
    return [f"tag {step.key} {words[step.verb]}" for step in diff(wanted, before)]
