"""What the kernel of this machine must have for a model: found by making one of each, before anything is touched.

Enters: a Model. Leaves: an error with every feature that is missing, and the line that needs it. Never: a device that
stays.
"""

from __future__ import annotations

import os
from typing import Final

from datapath.errors import MachineError
from datapath.linux.bridging import TunnelDevice
from datapath.linux.form import has_tunnel
from sdn.model import Model, Network, SegmentKind

_TUNNELS: Final[dict[SegmentKind, tuple[TunnelDevice, str, str]]] = {
    "vxlan": ("vxlan", "VXLAN (vxlan)", "modprobe vxlan"),
    "nvgre": ("gretap", "GRE (gretap)", "modprobe ip_gre"),
}
"""What carries a segment where there is no Open vSwitch: the kind of device, its name, how it is had."""


def check(model: Model) -> None:
    """Raises MachineError. Without root nothing can be tried, and nothing is said."""
    if os.geteuid() != 0:
        return
    missing: dict[SegmentKind, Network] = {}
    for network in model.networks.values():
        kind = network.segment.kind
        if kind in _TUNNELS and kind not in missing and _on_linux(model, network) and not has_tunnel(_TUNNELS[kind][0]):
            missing[kind] = network
    if not missing:
        return
    features = [_TUNNELS[kind][1] for kind in missing]
    told = [
        f"{network.source}: this kernel has no {_TUNNELS[kind][1]}, which network '{name}' needs on datapath linux"
        for kind, network in missing.items()
        for name in [network.name]
    ]
    remedies = [_TUNNELS[kind][2] for kind in missing]
    others = "or another segment, or datapath ovs"
    raise MachineError(", ".join(features), "\n  ".join(told), remedy=f"{'; '.join(remedies)}; {others}")


def _on_linux(model: Model, network: Network) -> bool:
    hosts = (model.chassis[port.chassis] for port in model.ports_of[network.name])
    return any(chassis.ours and not chassis.has_tables for chassis in hosts)
