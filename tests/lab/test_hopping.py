"""A frame with two tags reaches nobody: its inner tag would be another network's where a trunk puts it out natively."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import Dot1Q, Ether

from tests.lab.conftest import Labs
from tests.lab.external import machine
from tests.lab.frames import BROADCAST, Raw, carries, token
from tests.lab.labs import Lab

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}}
physnets: {office: {}}
networks:
  web: {segment: {vxlan: 100}, subnet: 10.0.0.0/24, mtu: 1400}
  db: {segment: {nvgre: 5000}, mtu: 1400}
  desk: {segment: {vlan: 120, physnet: office}, mtu: 1400}
nodes:
  sender: {chassis: hv1, trunk: {20: db}, spoof_guard: false}
  guarded: {chassis: hv1, trunk: {20: db}}
  victim: {chassis: hv2, trunk: {native: db, 100: web}}
  office: {chassis: hv2, trunk: {native: desk, 100: web}}
"""
INNER = [0x8100, 0x88A8]


@pytest.fixture(scope="module")
def hopping(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


@pytest.mark.parametrize("inner", INNER, ids=hex)
@pytest.mark.parametrize("source", ["sender", "guarded"])
def test_from_a_port_through_a_tunnel(hopping: Lab, source: str, inner: int) -> None:
    hopped, honest = token(), token()
    head = Ether(src=str(port_mac(hopping, source)), dst=BROADCAST)
    two_tags = head / Dot1Q(vlan=20, type=inner) / Dot1Q(vlan=100, type=0x9000) / Raw(hopped)
    with hopping.capture("victim") as seen:
        hopping.send(source, two_tags, head / Dot1Q(vlan=20, type=0x9000) / Raw(honest))
        seen.wait(carries(honest))
        assert seen.matching(carries(hopped)) == []


@pytest.mark.parametrize("inner", INNER, ids=hex)
def test_from_beyond_an_uplink(hopping: Lab, inner: int) -> None:
    hopped, honest = token(), token()
    head = Ether(src="02:aa:ff:00:00:09", dst=BROADCAST)
    two_tags = head / Dot1Q(vlan=120, type=inner) / Dot1Q(vlan=100, type=0x9000) / Raw(hopped)
    with (
        machine(hopping, hopping.physnet_bridge("office"), "02:aa:ff:00:00:09") as stranger,
        hopping.capture("office") as seen,
    ):
        stranger.send(two_tags, head / Dot1Q(vlan=120, type=0x9000) / Raw(honest))
        seen.wait(carries(honest))
        assert seen.matching(carries(hopped)) == []


def port_mac(lab: Lab, node: str) -> int:
    return next(port.mac for port in lab.model.ports.values() if port.node == node)
