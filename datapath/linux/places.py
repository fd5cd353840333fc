"""What the firewall of a Linux chassis has to know of its bridges. PURE.

Enters: a HostSpec and its Bridging. Leaves: by which device each attachment's frames come in, which ports lead away,
and where the chassis' own addresses are. Never: a rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datapath.linux.bridging import UNTAGGED, Bridging
from datapath.linux.forward import Leg, Own
from datapath.linux.guard import Far, Plug
from datapath.spec import HostSpec


@dataclass(frozen=True, slots=True)
class Places:
    """See `guard` and `forward` for what each is. `errors` say what cannot be done."""

    plugs: tuple[Plug, ...]
    far: tuple[Far, ...]
    legs: tuple[Leg, ...]
    own: tuple[Own, ...]
    errors: tuple[str, ...]


def places(spec: HostSpec, bridging: Bridging) -> Places:
    plugs = tuple(_plugs(spec, bridging))
    nodes = {plug.device for plug in plugs}
    far = (
        Far(device, tagged=any(not flags & UNTAGGED for _, flags in port.vlans))
        for device, port in bridging.ports.items()
        if device not in nodes
    )
    own = _own(spec, bridging)
    legs = [
        Leg(bridging.homes[network.network], network.gateway, own[network.gateway.physnet].device)
        if network.gateway.physnet in own
        else Leg(bridging.homes[network.network], network.gateway, "")
        for network in spec.networks
        if network.gateway is not None and network.network in bridging.homes
    ]
    errors = (
        f"gateway {leg.gateway.address}: the chassis has no address in {leg.gateway.physnet}"
        for leg in legs
        if leg.gateway.mode != "isolated" and not leg.way
    )
    return Places(plugs, tuple(far), tuple(legs), tuple(own.values()), tuple(errors))


def _plugs(spec: HostSpec, bridging: Bridging) -> Iterator[Plug]:
    for interface in spec.interfaces:
        for attachment in interface.attachments:
            inlet = bridging.inlets.get((interface.node, interface.name, attachment.tag))
            if inlet is not None:
                yield Plug(inlet.device, inlet.vid, attachment)


def _own(spec: HostSpec, bridging: Bridging) -> dict[str, Own]:
    """By physical network: where an uplink's address is."""
    flat = {network.physnet: network.network for network in spec.networks if network.physnet and not network.vlan_id}
    found = {}
    for uplink in spec.uplinks:
        home = bridging.homes.get(flat.get(uplink.physnet, ""), bridging.homes.get(f"@{uplink.physnet}", ""))
        if uplink.address is not None and home:
            found[uplink.physnet] = Own(home, uplink.address.ip)
    return found
