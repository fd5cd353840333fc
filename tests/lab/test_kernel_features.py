"""The machine of the tests marked `machine` has every kernel feature that a datapath of ours can use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import run

pytestmark = pytest.mark.machine

DEVICES = {
    "vlan": "link d0 type vlan id 10",
    "bridge": "type bridge vlan_filtering 1 vlan_default_pvid 0",
    "vxlan": "type vxlan external dstport 4789",
    "geneve": "type geneve external",
    "gretap": "type gretap external",
    "ip6gretap": "type ip6gretap external",
    "vrf": "type vrf table 10",
    "macvlan": "link d0 type macvlan mode bridge",
    "macvtap": "link d0 type macvtap mode vepa",
    "ifb": "type ifb",
    "veth": "type veth peer name n1",
}


@pytest.fixture
def space() -> Iterator[str]:
    name = f"sdnt-{os.getpid()}-features"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "add", "d0", "type", "dummy")
    yield name
    run("ip", "netns", "delete", name)


@pytest.mark.parametrize("kind", DEVICES)
def test_device(space: str, kind: str) -> None:
    run("ip", "-n", space, "link", "add", "n0", *DEVICES[kind].split())
    assert kind in run("ip", "-n", space, "-d", "link", "show", "n0")


def test_tap(space: str) -> None:
    run("ip", "-n", space, "tuntap", "add", "dev", "t0", "mode", "tap")
    assert "tun type tap" in run("ip", "-n", space, "-d", "link", "show", "t0")


def test_openvswitch(space: str) -> None:
    assert Path("/sys/module/openvswitch").is_dir()
