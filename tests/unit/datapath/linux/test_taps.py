"""The bridge ports of guests: of the same form as those of nodes, without another end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datapath.linux.wiring import DatapathType, node_pairs, taps
from datapath.spec import Guest, Interface, Machine
from tests.unit.datapath.linux.test_macvlan_wiring import host, node


def of(interface: Interface) -> Guest:
    return Guest(interface.node, "uuid", Machine(128 << 20), (interface,))


@pytest.mark.parametrize("datapath", ["netdev", "system", "linux"])
def test_a_tap_is_as_the_chassis_end_of_a_node(datapath: DatapathType) -> None:
    """Its kernel neither answers ARP there nor lets anything through before the switch guards it."""
    web = node(1, None)
    (pair,) = node_pairs(host(web), web, datapath)
    (tap,) = taps(replace(host(), guests=(of(web.interfaces[0]),)), datapath)
    assert tap == replace(pair.near, kinds=("tun",))
    assert tap.arp == (datapath == "linux")


def test_each_interface_has_one() -> None:
    first, second = node(1, None).interfaces[0], node(2, None).interfaces[0]
    guest = replace(of(first), interfaces=(first, second))
    assert [tap.device for tap in taps(replace(host(), guests=(guest,)), "netdev")] == ["p-n1", "p-n2"]
