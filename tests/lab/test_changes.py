"""Changes while others go on: nothing that is not concerned is made anew, or loses a packet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datapath.linux.namespaces import DIRECTORY
from tests.converge.truth import differences, links
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.lives import BASE, Topology, with_changes
from tests.lab.pinger import pinging
from tests.lab.processes import FORKED, daemon, pid_of

pytestmark = pytest.mark.lab

CHANGES: dict[str, Callable[[Topology], object]] = {
    "a node comes": lambda t: t["nodes"].update(w4={"network": "web", "chassis": "hv1"}),
    "a node in the others' network comes": lambda t: t["nodes"].update(n3={"network": "lan", "chassis": "hv1"}),
    "a node goes": lambda t: t["nodes"].pop("w3"),
    "a node moves": lambda t: t["nodes"]["w2"].update(chassis="hv1"),
    "a node is renamed": lambda t: t["nodes"].update(renamed=t["nodes"].pop("w3")),
    "a node has another address": lambda t: t["nodes"]["w2"].update(ip="10.9.0.77"),
    "a node gets a second network": lambda t: t["nodes"].update(
        w1={"chassis": "hv1", "ports": [{"network": "web", "ip": "10.9.0.11"}, {"network": "lan"}]}
    ),
    "a trunk comes": lambda t: t["nodes"].update(fw={"chassis": "hv2", "trunk": {"native": "web", 20: "lan"}}),
    "a network comes": lambda t: (
        t["networks"].update(new={"segment": {"geneve": 7}, "subnet": "10.10.0.0/24"}),
        t["nodes"].update({"g1": {"network": "new", "chassis": "hv1"}, "g2": {"network": "new", "chassis": "hv2"}}),
    ),
    "a network goes": lambda t: (t["networks"].pop("web"), [t["nodes"].pop(f"w{i}") for i in (1, 2, 3)]),
    "a network has another id": lambda t: t["networks"]["web"].update(segment={"nvgre": 5001}),
    "a network has another encapsulation": lambda t: t["networks"]["web"].update(segment={"geneve": 5000}),
    "a network has another MTU": lambda t: t["networks"]["web"].update(mtu=1280),
    "a network gets IPv6": lambda t: t["networks"]["web"].update(subnet=None, subnets=["10.9.0.0/24", "fd00:9::/64"]),
    "a chassis comes": lambda t: (
        t["chassis"].update(hv3={}),
        t["nodes"].update({"w4": {"network": "web", "chassis": "hv3"}, "n3": {"network": "lan", "chassis": "hv3"}}),
    ),
    "the underlay has another MTU": lambda t: t.update(underlay={"mtu": 1600}),
    "a physical network comes": lambda t: (
        t["physnets"].update(floor={}),
        t["networks"].update(flat={"segment": {"flat": "floor"}, "subnet": "10.11.0.0/24"}),
        t["nodes"].update({"f1": {"network": "flat", "chassis": "hv1"}, "f2": {"network": "flat", "chassis": "hv2"}}),
    ),
}


@pytest.fixture(scope="module")
def living(shared_lab: Labs) -> Lab:
    return shared_lab(BASE)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_disturbs_nobody_else(living: Lab, change: str) -> None:
    """There and back again. Nothing that is not concerned is made anew; a second time is no change, and quick."""
    living.up(BASE)
    before = identities(living)
    with pinging(living, ("n1", "n2"), ("d1", "d2")) as pingers:
        for topology in (with_changes(CHANGES[change]), BASE):
            assert living.apply(topology).changed
            assert differences(living) == []
            again = living.apply(topology)
            assert not again.changed
            assert again.seconds < 5.0
            for pinger in pingers:
                pinger.wait(10)
        assert [pinger.stop().lost for pinger in pingers] == [(), ()]
    assert identities(living) == before


def identities(lab: Lab) -> dict[str, object]:
    """Of what no change here concerns: daemons, processes, namespaces, devices."""
    found: dict[str, object] = {name: pid_of(lab, name) for name in ("supervisor", "store", *FORKED)}
    for node in ("n1", "n2", "d1", "d2"):
        space = lab.namespace(node)
        device = links(space)["eth0"]
        found[node] = ((DIRECTORY / space).stat().st_ino, device["ifindex"], device["address"], device["addr_info"])
    for chassis in ("hv1", "hv2"):
        found[chassis] = daemon(lab, chassis, "ovs-vswitchd"), daemon(lab, chassis, "ovsdb-server")
    return found


def test_flows_that_stay_are_not_sent_again(living: Lab) -> None:
    """A flow that is added again begins to count its seconds anew."""
    living.up(BASE)
    before = {stats.flow: stats for stats in living.flows("hv1")}
    living.apply(with_changes(CHANGES["a network comes"]))
    after = {stats.flow: stats for stats in living.flows("hv1")}
    assert set(before) < set(after)
    assert [flow for flow, stats in before.items() if after[flow].duration < stats.duration] == []


def test_an_interface_is_up_only_with_its_flows(living: Lab) -> None:
    """The first packet of a node that has just come gets through."""
    living.up(BASE)
    for _ in range(3):
        living.apply(with_changes(CHANGES["a node comes"]))
        living.ping("w4", "w2")
        living.apply(BASE)
