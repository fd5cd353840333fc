"""A node whose MAC changes is reached again at once: it announces itself, and the switches let it through."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Labs

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: KIND1, hv2: KIND2}
networks: {web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2, mac: "02:00:00:00:01:00"}
"""


OVS, LINUX = "{}", "{datapath: linux}"


@pytest.mark.parametrize(
    ("first", "second"),
    [(OVS, OVS), (OVS, LINUX), (LINUX, OVS), (LINUX, LINUX)],
    ids=["Open vSwitch", "by Linux to Open vSwitch", "by Open vSwitch to Linux", "Linux"],
)
def test_a_changed_mac_is_known_at_once(lab: Labs, first: str, second: str) -> None:
    """A neighbour cache that nobody corrects is believed for some 30 s (RFC 4861 section 10)."""
    topology = TOPOLOGY.replace("KIND1", first).replace("KIND2", second)
    running = lab(topology)
    for number in range(1, 6):
        assert running.mesh() == []
        running.apply(topology.replace("01:00", f"01:{number:02x}"))
        failed = [o for o in running.probe("a", "b", within=2.0) if not o.passed]
        assert not failed, failed
