"""What the networks of one chassis have to share, once it is known which chassis has which: checked here.

Enters: placed ports. Leaves: problems. Never: two gateways in one subnet of a chassis' routes, an uplink's network that
is taken by a bridge and by macvlan.
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Network

from sdn.model import Chassis, Network
from sdn.topology.draft import Draft
from sdn.topology.ports import Row

Rows = list[Row]


def check(draft: Draft, rows: Rows, networks: dict[str, Network], chassis: dict[str, Chassis]) -> None:
    on: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows:
        if row.chassis in chassis:
            on[row.chassis, row.link.network.name].append(row)
    for (host, _), group in on.items():
        _macvlan(draft, host, group)
    for row in rows:
        if row.plug.macvlan and row.link.network.segment.kind == "flat":
            _untagged(draft, row, networks)
    for host_name in dict.fromkeys(host for host, _ in on):
        gateways = [networks[name] for at, name in on if at == host_name and networks[name].forward]
        _subnets(draft, chassis[host_name], gateways)


def _macvlan(draft: Draft, host: str, rows: Rows) -> None:
    """The kernel gives frames of a device to a bridge or to macvlan, and all of them to one passthru."""
    own = [row for row in rows if row.plug.macvlan]
    bridged = next((row for row in rows if not row.plug.macvlan), None)
    alone = next((row for row in own if row.plug.macvlan and row.plug.macvlan.mode == "passthru"), None)
    for row in own:
        word = "macvtap" if row.plug.macvlan and row.plug.macvlan.tap else "macvlan"
        network = f"network '{row.link.network.name}' on chassis '{host}'"
        if bridged is not None:
            message = f"{network} has bridged ports too, such as '{bridged.name}'; expected all or none with macvlan"
        elif alone is not None and row is not alone:
            message = f"{network} is passed through to '{alone.name}' alone; expected no other port of it there"
        else:
            continue
        draft.problems.add_once((*row.plug.path, word), message)


def _untagged(draft: Draft, row: Row, networks: dict[str, Network]) -> None:
    """A macvlan device on the untagged uplink sends and gets what it likes, tagged frames too."""
    physnet = row.link.network.segment.physnet
    vlan = next(
        (each for each in networks.values() if each.segment.kind == "vlan" and each.segment.physnet == physnet), None
    )
    if vlan is not None:
        word = "macvtap" if row.plug.macvlan and row.plug.macvlan.tap else "macvlan"
        message = (
            f"{word} in the untagged network of {physnet} reaches its VLANs too, such as '{vlan.name}' ("
            f"{vlan.source.place}): nothing stops tagged frames there; expected a vlan network, or a bridged port"
        )
        draft.problems.add_once((*row.plug.path, word), message)


def _subnets(draft: Draft, host: Chassis, networks: list[Network]) -> None:
    """A chassis routes between all that it has addresses in."""
    known: list[tuple[IPv4Network, str]] = [(host.vtep.network, "the underlay")]
    known += [(own.network, f"physnet '{name}'") for name, own in host.addresses]
    for network in networks:
        assert network.forward is not None
        subnet = network.forward.gateway.network
        for other, owner in known:
            if subnet.overlaps(other):
                message = f"{subnet} overlaps {other} of {owner} on chassis '{host.name}'; expected another subnet"
                draft.problems.at(network.source, message)
        known.append((subnet, f"network '{network.name}'"))
