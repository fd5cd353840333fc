"""The Linux datapath on a kernel that has everything: NVGRE by gretap, a VLAN-aware bridge, VLAN devices by 8021q.

The tests of test_linux.py again, where NVGRE is the overlay, and what only such a kernel can show.
"""

from __future__ import annotations

import json

import pytest

from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.test_linux import (  # noqa: F401
    TOPOLOGY,
    TestTags,
    TestTunnels,
    bridge,
    test_every_node_reaches_what_it_shall_and_nothing_else,
    test_status_says_which_switch_and_why,
)

pytestmark = [pytest.mark.lab, pytest.mark.machine]


@pytest.fixture(scope="module")
def wire(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY.replace("KIND", "nvgre"))


def test_one_bridge_with_a_vlan_for_each_network(wire: Lab) -> None:
    """Access ports have their network as PVID, untagged; the trunk carries its tags natively where it can."""
    assert any("one VLAN-aware bridge" in note for note in wire.facts.hosts["hv2"].notes)
    shown = json.loads(wire.execute("hv2", "ip", "-json", "-details", "link", "show", "type", "bridge"))
    (only,) = shown
    assert only["linkinfo"]["info_data"]["vlan_filtering"] == 1
    ports = {entry["ifname"]: entry["vlans"] for entry in bridge(wire, "hv2", "vlan", "show")}
    vids = {vlan["vlan"] for vlans in ports.values() for vlan in vlans}
    assert len(vids) == 4, "red, pink, desk and floor"
    tagged = [vlans for vlans in ports.values() if any("Egress Untagged" not in v.get("flags", []) for v in vlans)]
    assert any({vlan["vlan"] for vlan in vlans} >= {20, 120} for vlans in tagged), ports


def test_devices_of_the_kernels_own_kinds(wire: Lab) -> None:
    devices = json.loads(wire.execute("hv2", "ip", "-json", "-details", "link", "show"))
    kinds = {device.get("linkinfo", {}).get("info_kind") for device in devices}
    assert {"bridge", "gretap", "veth"} <= kinds
    keys = {device["linkinfo"]["info_data"]["ikey"] for device in devices if kinds_of(device) == "gretap"}
    assert {f"{vsid >> 16}.{vsid >> 8 & 0xFF}.{vsid & 0xFF}.0" for vsid in (16711935, 16711934)} >= keys != set()
    inside = json.loads(wire.execute("trunk2", "ip", "-json", "-details", "link", "show", "eth0.20"))
    assert kinds_of(inside[0]) == "vlan"


def kinds_of(device: dict[str, dict[str, str]]) -> str:
    return device.get("linkinfo", {}).get("info_kind", "")


@pytest.mark.parametrize("kind", ["vxlan"])
def test_vxlan_too(lab: Labs, kind: str) -> None:
    assert lab(TOPOLOGY.replace("KIND", kind)).mesh() == []
