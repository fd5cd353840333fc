"""What turning one HostSpec into another does and whom it disturbs, for people to read before they agree. PURE.

Enters: the desired and the observed HostSpec of one chassis; either may be None. Leaves: Steps whose `why` names
the change and what it interrupts. Never: an observation of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datapath.plan import Step, diff
from datapath.spec import HostSpec, Interface, Node, Uplink, Vlan

HostStep = Step[str, Any]

QUIET = "nothing is interrupted"


def steps(desired: HostSpec | None, observed: HostSpec | None) -> list[HostStep]:
    """In the order of the shared diff within each kind: the chassis, its tunnels and uplinks, nodes, interfaces."""
    if desired is None and observed is None:
        return []
    if desired is None:
        assert observed is not None
        return [Step("remove", f"chassis {observed.chassis}", None, observed, "its nodes and its traffic end")]
    if observed is None:
        nodes = [Step("add", f"node {node.name}", node, None, QUIET) for node in desired.nodes]
        return [Step("add", f"chassis {desired.chassis}", desired, None, QUIET), *nodes]
    return [*_chassis(desired, observed), *_nodes(desired, observed)]


def _chassis(desired: HostSpec, observed: HostSpec) -> list[HostStep]:
    name = desired.chassis
    found: list[HostStep] = []
    if (desired.underlay.vtep, desired.underlay.mac) != (observed.underlay.vtep, observed.underlay.mac):
        why = f"{observed.underlay.vtep} → {desired.underlay.vtep}; tunnels of {name} pause until the others know"
        found.append(Step("change", f"vtep of {name}", desired.underlay, observed.underlay, why))
    if desired.underlay.mtu != observed.underlay.mtu:
        why = f"mtu {observed.underlay.mtu} → {desired.underlay.mtu}; {QUIET}"
        found.append(Step("change", f"underlay of {name}", desired.underlay, observed.underlay, why))
    if desired.datapath_id != observed.datapath_id:
        why = f"{observed.datapath_id:016x} → {desired.datapath_id:016x}; the controller connects anew"
        found.append(Step("change", f"datapath id of {name}", desired.datapath_id, observed.datapath_id, why))
    tunnels = {f"{each.kind} tunnel port of {name}": each for each in desired.tunnels}
    before = {f"{each.kind} tunnel port of {name}": each for each in observed.tunnels}
    found += _told(tunnels, before, "its encapsulation's traffic ends", lambda _new, _old: "recreated; it pauses")
    uplinks = {f"uplink of {name} into {each.physnet}": each for each in desired.uplinks}
    old_uplinks = {f"uplink of {name} into {each.physnet}": each for each in observed.uplinks}
    return found + _told(uplinks, old_uplinks, "traffic into it ends", _uplink_change)


def _uplink_change(desired: Uplink, observed: Uplink) -> str:
    if (desired.bridge_port, desired.ofport, desired.lab_bridge) == (
        observed.bridge_port,
        observed.ofport,
        observed.lab_bridge,
    ):
        return f"mtu {observed.mtu} → {desired.mtu}; {QUIET}"
    return "recreated; its traffic pauses"


def _nodes(desired: HostSpec, observed: HostSpec) -> list[HostStep]:
    nodes = {f"node {node.name}": node for node in desired.nodes}
    before = {f"node {node.name}": node for node in observed.nodes}
    found: list[HostStep] = []
    for step in diff(nodes, before):
        if step.verb == "change":
            found += _interfaces(nodes[step.key], before[step.key])
        else:
            why = QUIET if step.verb == "add" else "its processes lose their network"
            found.append(Step(step.verb, step.key, step.desired, step.observed, why))
    return found


def _interfaces(desired: Node, observed: Node) -> list[HostStep]:
    wanted = {f"{desired.name}:{each.name}": each for each in desired.interfaces}
    before = {f"{observed.name}:{each.name}": each for each in observed.interfaces}
    return _told(wanted, before, "its connections end", _interface_change)


def _interface_change(desired: Interface, observed: Interface) -> str:
    if desired.bridge_port != observed.bridge_port:
        return "recreated; its connections pause"
    said = []
    pauses = False
    if desired.mac != observed.mac:
        said.append(f"mac {observed.mac} → {desired.mac}")
        pauses = True
    if desired.ofport != observed.ofport:
        said.append(f"switch port {observed.ofport} → {desired.ofport}")
        pauses = True
    if desired.mtu != observed.mtu:
        said.append(f"mtu {observed.mtu} → {desired.mtu}")
    gone = [str(address) for address in observed.addresses if address not in desired.addresses]
    come = [str(address) for address in desired.addresses if address not in observed.addresses]
    said += [f"address {address} goes" for address in gone] + [f"address {address} comes" for address in come]
    said += _vlan_changes(desired.vlans, observed.vlans)
    if desired.ready != observed.ready:
        said.append("set up" if desired.ready else "waits for its flows")
    if gone:
        return f"{', '.join(said)}; connections of {', '.join(gone)} end"
    return f"{', '.join(said)}; {'its connections pause' if pauses else QUIET}"


def _vlan_changes(desired: tuple[Vlan, ...], observed: tuple[Vlan, ...]) -> list[str]:
    wanted = {vlan.tag: vlan for vlan in desired}
    before = {vlan.tag: vlan for vlan in observed}
    words = {"add": "comes", "change": "changes", "remove": "goes"}
    return [f"tag {step.key} {words[step.verb]}" for step in diff(wanted, before)]


def _told(
    desired: dict[str, Any], observed: dict[str, Any], loss: str, change: Callable[[Any, Any], str]
) -> list[HostStep]:
    reasons = {"add": QUIET, "remove": loss}
    return [
        Step(step.verb, step.key, step.desired, step.observed, reasons.get(step.verb, step.why))
        for step in diff(desired, observed, why=change)
    ]
