"""The Linux datapath on a kernel that has everything: NVGRE by gretap, a VLAN-aware bridge, VLAN devices by 8021q.

The tests of test_linux.py again, where NVGRE is the overlay, and what only such a kernel can show.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from datapath.spec import device_name
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.test_linux import (  # noqa: F401
    TOPOLOGY,
    UPLINK,
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
    """Access ports have their network as PVID, untagged. The trunk carries the tag of a network natively; that of one
    that floods otherwise, which is a flag of a whole port, by a VLAN device that is an access port."""
    assert any("one VLAN-aware bridge" in note for note in wire.facts.hosts["hv2"].notes)
    shown = json.loads(wire.execute("hv2", "ip", "-json", "-details", "link", "show", "type", "bridge"))
    (only,) = shown
    assert only["linkinfo"]["info_data"]["vlan_filtering"] == 1
    ports = {entry["ifname"]: entry["vlans"] for entry in bridge(wire, "hv2", "vlan", "show")}
    vids = {vlan["vlan"] for vlans in ports.values() for vlan in vlans}
    assert len(vids) == 4, "red, pink, desk and floor"
    trunk = device_name("p", "trunk2", "eth0")
    by_vid = {vlan["vlan"]: vlan.get("flags", []) for vlan in ports[trunk]}
    assert by_vid[20] == []
    assert sorted(by_vid.values()) == [[], ["PVID", "Egress Untagged"]]
    below = [device["ifname"] for device in linked(wire) if device.get("link") == trunk]
    assert [ports[device][0]["vlan"] for device in below] == [120]
    assert ports[UPLINK] == [vlan for vlan in ports[UPLINK] if vlan["vlan"] in vids - {20}]
    assert [vlan.get("flags", []) for vlan in ports[UPLINK] if vlan["vlan"] == 120] == [[]]


def test_devices_of_the_kernels_own_kinds(wire: Lab) -> None:
    devices = linked(wire)
    kinds = {device.get("linkinfo", {}).get("info_kind") for device in devices}
    assert {"bridge", "gretap", "veth"} <= kinds
    tunnels = [device["linkinfo"]["info_data"] for device in devices if kinds_of(device) == "gretap"]
    keys = {tunnel.get("key") or tunnel.get("ikey") for tunnel in tunnels if tunnel["remote"] != "any"}
    assert keys == {f"{vsid >> 16}.{vsid >> 8 & 0xFF}.{vsid & 0xFF}.0" for vsid in (16711935, 16711934)}
    inside = json.loads(wire.execute("trunk2", "ip", "-json", "-details", "link", "show", "eth0.20"))
    assert kinds_of(inside[0]) == "vlan"


def linked(wire: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(wire.execute("hv2", "ip", "-json", "-details", "link", "show"))
    return found


def kinds_of(device: dict[str, Any]) -> str:
    return str(device.get("linkinfo", {}).get("info_kind", ""))


@pytest.mark.parametrize("kind", ["vxlan"])
def test_vxlan_too(lab: Labs, kind: str) -> None:
    assert lab(TOPOLOGY.replace("KIND", kind)).mesh() == []
