"""What the firewall of a Linux chassis has to know of its bridges. PURE.

Enters: a HostSpec and its Bridging. Leaves: by which device each attachment's frames come in, which ports lead away,
and where the chassis' own addresses are. Never: a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from datapath.linux.bridging import UNTAGGED, Bridging
from datapath.linux.forward import Leg, Own
from datapath.linux.guard import Far, Plug
from datapath.spec import HostSpec


class WayOut(NamedTuple):
    """The chassis' own default route."""

    device: str
    gateway: IPv4Address


@dataclass(frozen=True, slots=True)
class Places:
    """See `guard` and `forward` for what each is. `errors` say what cannot be done."""

    plugs: tuple[Plug, ...]
    far: tuple[Far, ...]
    legs: tuple[Leg, ...]
    own: tuple[Own, ...]
    way_out: WayOut | None
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
    way_out = _way_out(spec, own)
    errors = tuple(_errors(spec, legs, way_out))
    return Places(plugs, tuple(far), tuple(legs), tuple(own.values()), way_out, errors)


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


def _way_out(spec: HostSpec, own: Mapping[str, Own]) -> WayOut | None:
    """By the first physical network that has a router."""
    for uplink in spec.uplinks:
        if uplink.gateway is not None and uplink.physnet in own:
            return WayOut(own[uplink.physnet].device, uplink.gateway)
    return None


def _errors(spec: HostSpec, legs: Iterable[Leg], way_out: WayOut | None) -> Iterator[str]:
    """Networks that would not get where the file says."""
    routed = {uplink.physnet for uplink in spec.uplinks if uplink.gateway is not None}
    for leg in legs:
        to = leg.gateway.physnet
        if leg.gateway.mode != "isolated" and not leg.way:
            yield f"gateway {leg.gateway.address}: the chassis has no address in {to}"
        elif leg.way and to in routed and way_out is not None and way_out.device != leg.way:
            yield f"gateway {leg.gateway.address}: the chassis' default route is not by {to}, but by {way_out.device}"
