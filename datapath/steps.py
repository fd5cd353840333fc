"""What turning one HostSpec into another does and whom it disturbs, for people to read before they agree. PURE.

Enters: the desired and the observed HostSpec of one chassis; either may be None. Leaves: HostSteps. Never: an
observation of its own.
"""

from __future__ import annotations

from datapath.guest_steps import guest_steps
from datapath.host_step import GONE, NEW, HostStep, Reason, told
from datapath.plan import diff
from datapath.plug_steps import node_steps
from datapath.spec import Bridged, HostSpec, Peer, Uplink

__all__ = ["HostStep", "steps"]


def steps(desired: HostSpec | None, observed: HostSpec | None) -> list[HostStep]:
    """In the order of the shared diff within each kind: the chassis, its tunnels and uplinks, nodes, guests, each with
    its interfaces."""
    if desired is None and observed is None:
        return []
    if desired is None:
        assert observed is not None
        gone = HostStep("remove", f"chassis {observed.chassis}", GONE, "its nodes and its traffic end")
        return [gone, *guest_steps((), observed.guests)]
    if observed is None:
        nodes = [HostStep("add", f"node {node.name}", NEW) for node in desired.nodes]
        return [HostStep("add", f"chassis {desired.chassis}", NEW), *nodes, *guest_steps(desired.guests, ())]
    if desired.switch != observed.switch:
        why = f"switch {observed.switch} → {desired.switch}"
        anew = HostStep("change", f"chassis {desired.chassis}", why, "everything on it is made anew: traffic pauses")
        return [anew, *guest_steps(desired.guests, observed.guests)]
    return [
        *_chassis(desired, observed),
        *_networks(desired, observed),
        *node_steps(desired.nodes, observed.nodes),
        *guest_steps(desired.guests, observed.guests),
    ]


def _chassis(desired: HostSpec, observed: HostSpec) -> list[HostStep]:
    name = desired.chassis
    found: list[HostStep] = []
    new, old = desired.underlay, observed.underlay
    if (new.vtep, new.mac) != (old.vtep, old.mac):
        disturbs = f"tunnels of {name} pause until the others know"
        found.append(HostStep("change", f"vtep of {name}", f"{old.vtep} → {new.vtep}", disturbs))
    if new.mtu != old.mtu:
        found.append(HostStep("change", f"underlay of {name}", f"mtu {old.mtu} → {new.mtu}"))
    if desired.datapath_id != observed.datapath_id:
        why = f"{observed.datapath_id:016x} → {desired.datapath_id:016x}"
        found.append(HostStep("change", f"datapath id of {name}", why, "the controller connects anew"))
    tunnels = {f"{each.kind} tunnel port of {name}": each for each in desired.tunnels}
    before = {f"{each.kind} tunnel port of {name}": each for each in observed.tunnels}
    found += told(tunnels, before, "its encapsulation's traffic ends", lambda _new, _old: ("recreated", "it pauses"))
    uplinks = {f"uplink of {name} into {each.physnet}": each for each in desired.uplinks}
    old_uplinks = {f"uplink of {name} into {each.physnet}": each for each in observed.uplinks}
    return found + told(uplinks, old_uplinks, "traffic into it ends", _uplink_change)


def _uplink_change(desired: Uplink, observed: Uplink) -> Reason:
    if (desired.bridge_port, desired.ofport, desired.lab_bridge) != (
        observed.bridge_port,
        observed.ofport,
        observed.lab_bridge,
    ):
        return "recreated", "its traffic pauses"
    said, disturbs = [], ""
    if desired.mtu != observed.mtu:
        said.append(f"mtu {observed.mtu} → {desired.mtu}")
    if desired.interface != observed.interface:
        said.append(f"interface {observed.interface or 'none'} → {desired.interface or 'none'}")
        disturbs = "its traffic to the outside pauses"
    if (desired.address, desired.gateway) != (observed.address, observed.gateway):
        said.append(f"own address {observed.address or 'none'} → {desired.address or 'none'}")
        said += [f"gateway {observed.gateway or 'none'} → {desired.gateway or 'none'}"]
        disturbs = disturbs or "what the chassis forwards pauses"
    return ", ".join(said) or "what becomes of the machine's addresses", disturbs


def _networks(desired: HostSpec, observed: HostSpec) -> list[HostStep]:
    """Of a switch without flow tables: what others have as flows."""
    wanted = {f"network {each.network} of {desired.chassis}": each for each in desired.networks}
    before = {f"network {each.network} of {desired.chassis}": each for each in observed.networks}
    return told(wanted, before, "", _network_change)


def _network_change(desired: Bridged, observed: Bridged) -> Reason:
    said, disturbs = [], ""
    if _carried(desired) != _carried(observed):
        said.append("carried otherwise")
        disturbs = "its traffic pauses"
    if desired.mtu != observed.mtu:
        said.append(f"mtu {observed.mtu} → {desired.mtu}")
    if desired.floods_unknown != observed.floods_unknown:
        said.append(f"unknown unicast is {'flooded' if desired.floods_unknown else 'dropped'}")
    if desired.gateway != observed.gateway:
        said.append("gateway changes" if desired.gateway and observed.gateway else "gateway comes or goes")
        disturbs = disturbs or "what is forwarded for it pauses"
    said += _peer_changes(desired.peers, observed.peers)
    return ", ".join(said) or f"copies of broadcasts to {len(desired.vteps)} chassis", disturbs


def _carried(network: Bridged) -> object:
    return network.tunnel, network.tunnel_id, network.physnet, network.vlan_id


def _peer_changes(desired: tuple[Peer, ...], observed: tuple[Peer, ...]) -> list[str]:
    words = {"add": "new", "change": "other", "remove": "gone"}
    counts = dict.fromkeys(words, 0)
    for step in diff({peer.mac: peer for peer in desired}, {peer.mac: peer for peer in observed}):
        counts[step.verb] += 1
    said = ", ".join(f"{count} {words[verb]}" for verb, count in counts.items() if count)
    return [f"ports beyond: {said}"] if said else []
