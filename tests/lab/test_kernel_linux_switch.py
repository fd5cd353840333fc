"""The switch of a Linux chassis where the kernel has VLAN filtering: some of test_linux_switch.py, and more."""

from __future__ import annotations

from typing import Any

import pytest

from datapath.linux.bridging import AWARE_BRIDGE
from datapath.spec import device_name
from tests.lab.test_agent import Lab as Machine
from tests.lab.test_linux_switch import (
    TWO,
    expect_repaired,
    machine,  # noqa: F401  a fixture
    shown,
    specs,
    test_again_and_by_another_agent_nothing_is_sent,  # noqa: F401
    test_every_address_is_where_it_is,  # noqa: F401
    test_what_comes_and_goes_leaves_the_others_alone,  # noqa: F401
    test_who_is_asked_for_is_known,  # noqa: F401
    up,
)

pytestmark = [pytest.mark.lab, pytest.mark.machine]

ACCESS = ["PVID", "Egress Untagged"]


def vlans(machine: Machine) -> dict[str, dict[int, list[str]]]:  # noqa: F811
    """By device: VLAN ids with their flags."""
    shown_: list[dict[str, Any]] = shown(machine, "hv1", "bridge", "-json", "vlan")
    return {each["ifname"]: {vlan["vlan"]: vlan.get("flags", []) for vlan in each["vlans"]} for each in shown_}


async def test_ports_and_their_vlans(machine: Machine) -> None:  # noqa: F811
    """Access ports and tunnels have one, untagged; the trunk its native one and a tag, which is db's VLAN then."""
    await up(machine, specs(machine))
    found = vlans(machine)
    (web,) = found["vx-web"]
    assert found["vx-db"] == {20: ACCESS}
    for node in ("web1", "web3"):
        assert found[device_name("p", node, "eth0")] == {web: ACCESS}
    assert found[device_name("p", "fw", "eth0")] == {web: ACCESS, 20: []}
    assert found[AWARE_BRIDGE] == {web: [], 20: []}, "the chassis answers for neighbours there"


async def test_a_network_keeps_its_vlan_whatever_comes(machine: Machine) -> None:  # noqa: F811
    """Also for another agent: another tag is a device of its own, as long as nobody moves what is there."""
    await up(machine, specs(machine))
    before = vlans(machine)
    machine.close()
    other = TWO + "  fx: {chassis: hv1, trunk: {7: web, 8: db}}\n  fy: {chassis: hv1, trunk: {8: db}}\n"
    await up(machine, specs(machine, other))
    after = vlans(machine)
    assert {name: after[name] for name in before} == before
    devices = [each for each in machine.links("hv1").values() if "fx:eth0." in str(each.get("ifalias"))]
    assert len(devices) == 2
    await machine.agents[-1].apply(specs(machine))
    assert vlans(machine) == before


VLAN_DAMAGE = {
    "a port has another VLAN": "bridge vlan add dev PORT vid 99 pvid untagged",
    "a port has none": "bridge vlan del dev PORT vid VID",
    "the bridge itself has none": "bridge vlan del dev BRIDGE vid VID self",
    "a VLAN device is deleted": "ip link delete HOME",
    "the bridge is deleted": "ip link delete BRIDGE",
    "filtering is off": "ip link set BRIDGE type bridge vlan_filtering 0",
}


@pytest.mark.parametrize("damage", VLAN_DAMAGE)
async def test_damage_is_put_right_without_being_asked(machine: Machine, damage: str) -> None:  # noqa: F811
    await expect_repaired(machine, VLAN_DAMAGE[damage])
