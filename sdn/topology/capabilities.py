"""What a kind of datapath cannot do: one table, with the reason and what to do instead. PURE.

Enters: a chassis and what is wanted of it. Leaves: a `Lack` in words. Never: a feature that a datapath lacks
and that is left out, or done by half, without a word.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from sdn.model import Chassis, DatapathKind, Network


class Feature(StrEnum):
    """What some datapath cannot do. The value is how people read it after "has no"."""

    GENEVE = "geneve segments"
    LOCAL = "local networks"
    FORWARD = "forward"
    MACVLAN = "macvlan or macvtap"
    ADDRESSES = "addresses of its own in physical networks"


_FOREIGN: Final = "somebody else runs it"
_NO_GATEWAY: Final = "routers are not compiled into flows yet"

CANNOT: Final[dict[DatapathKind, dict[Feature, str]]] = {
    "ovs": {
        Feature.FORWARD: _NO_GATEWAY,
        Feature.ADDRESSES: _NO_GATEWAY,
        Feature.MACVLAN: "its uplink belongs to the integration bridge",
    },
    "vswitch": {
        Feature.FORWARD: _NO_GATEWAY,
        Feature.ADDRESSES: _NO_GATEWAY,
        Feature.MACVLAN: "its uplink belongs to the integration bridge",
    },
    "linux": {
        Feature.GENEVE: "the kernel's geneve device has no forwarding database that could be programmed",
    },
    "external": {
        Feature.LOCAL: _FOREIGN,
        Feature.FORWARD: _FOREIGN,
        Feature.ADDRESSES: _FOREIGN,
        Feature.MACVLAN: _FOREIGN,
    },
}

INSTEAD: Final[dict[Feature, str]] = {
    Feature.GENEVE: "a vxlan or nvgre segment, or a chassis with datapath ovs",
    Feature.LOCAL: "a chassis with datapath ovs or linux",
    Feature.FORWARD: "a chassis with datapath linux",
    Feature.ADDRESSES: "a chassis with datapath linux",
    Feature.MACVLAN: "a chassis with datapath linux",
}


class Lack(NamedTuple):
    """What a chassis lacks (it reads on after "has"), and what was expected."""

    what: str
    expected: str


def lack(chassis: Chassis, feature: Feature, wanted_by: str) -> Lack | None:
    """None where its datapath can do it."""
    reason = CANNOT[chassis.datapath].get(feature)
    if reason is None:
        return None
    return Lack(f"no {feature} (datapath {chassis.datapath}: {reason}), which {wanted_by} needs", INSTEAD[feature])


def needed_by(network: Network) -> tuple[Feature, ...]:
    """What a network asks of each chassis that has a port of it."""
    found = {"geneve": (Feature.GENEVE,), "local": (Feature.LOCAL,)}.get(network.segment.kind, ())
    return (*found, Feature.FORWARD) if network.forward else found
