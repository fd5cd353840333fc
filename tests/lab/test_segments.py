"""Every kind of segment in one lab, on one integration bridge per chassis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from datapath.spec import INTEGRATION_BRIDGE, TUNNEL_OFPORT, UNDERLAY_BRIDGE
from tests.lab.conftest import Labs
from tests.lab.frames import datagram, received, token
from tests.lab.labs import TOPOLOGIES, Lab

pytestmark = pytest.mark.lab

CHASSIS = ("hv1", "hv2")
TUNNEL_TYPES = {"vxlan": "vxlan", "nvgre": "gre", "geneve": "geneve"}
"""What Open vSwitch calls each kind of tunnel."""


@pytest.fixture(scope="module")
def segments(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGIES / "segments.yaml")


def test_what_the_file_says(segments: Lab) -> None:
    verdicts = segments.test()
    assert {verdict.test.name for verdict in verdicts} == set(segments.model.tests)
    assert [verdict.test.name for verdict in verdicts if not verdict.passed] == []


def test_every_node_reaches_exactly_its_network(segments: Lab) -> None:
    assert segments.mesh() == []


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_ports_of_every_segment(segments: Lab, kind: Any) -> None:
    """Through checksums and segmentation, on which the userspace datapath fails where offloads are left on."""
    for network in segments.model.networks:
        assert all(outcome.passed for outcome in segments.probe(f"{network}1", f"{network}2", kind, 8080)), network


@pytest.mark.parametrize("chassis", CHASSIS)
def test_one_flow_based_tunnel_port_per_encapsulation(segments: Lab, chassis: str) -> None:
    assert set(segments.vsctl(chassis, "list-br").split()) == {INTEGRATION_BRIDGE, UNDERLAY_BRIDGE}
    on_bridge = set(segments.vsctl(chassis, "list-ifaces", INTEGRATION_BRIDGE).split())
    rows = {row["name"]: row for row in interfaces(segments, chassis) if row["type"] in TUNNEL_TYPES.values()}
    assert rows.keys() <= on_bridge
    assert {row["type"]: row["ofport"] for row in rows.values()} == {
        TUNNEL_TYPES[kind]: ofport for kind, ofport in TUNNEL_OFPORT.items()
    }
    for row in rows.values():
        options = dict(row["options"][1])
        assert (options["remote_ip"], options["key"]) == ("flow", "flow")


@pytest.mark.parametrize("chassis", CHASSIS)
def test_ports_have_the_numbers_that_the_model_gives_them(segments: Lab, chassis: str) -> None:
    """They are in the flows before the ports are there."""
    given = {port.ofport for port in segments.model.ports.values() if port.chassis == chassis}
    given |= {physnet.ofport for physnet in segments.model.physnets.values()} | set(TUNNEL_OFPORT.values())
    on_bridge = set(segments.vsctl(chassis, "list-ifaces", INTEGRATION_BRIDGE).split())
    assert {row["ofport"] for row in interfaces(segments, chassis) if row["name"] in on_bridge} == given
    assert all(facts.up for facts in segments.facts.ports.values())


@pytest.mark.parametrize("network", ["red", "green", "blue", "desk", "floor"])
def test_the_datapath_cache_stays_coarse(segments: Lab, network: str) -> None:
    """Many connections of two nodes are one entry of the cache: neither the FlowID's hash nor the guard split it up."""
    source, target = segments.port(f"{network}1"), segments.port(f"{network}2")
    end = token()
    with segments.capture(target.node) as node:
        segments.send(source.node, *(datagram(source, target, token(), sport) for sport in range(6000, 6016)))
        segments.send(source.node, datagram(source, target, end))
        node.wait(received(end))
    found = list(megaflows(segments, "hv1", source.mac, target.mac))
    assert len(found) == 1, "\n".join(found)


def megaflows(lab: Lab, chassis: str, source: int, target: int) -> Iterator[str]:
    """IPv4 entries of the datapath from one MAC to the other."""
    for line in lab.appctl(chassis, "dpctl/dump-flows").splitlines():
        if f"eth(src={source},dst={target})" in line and "eth_type(0x0800)" in line and "tunnel(" not in line:
            yield line


def interfaces(lab: Lab, chassis: str) -> list[dict[str, Any]]:
    columns = "--columns=name,type,ofport,options"
    table = json.loads(lab.vsctl(chassis, "--format=json", columns, "list", "Interface"))
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]
