"""The datapath's cache stays coarse: one megaflow for a pair of MACs, however many connections they have."""

from __future__ import annotations

import pytest

from datapath.probe import Probe, run
from tests.lab.conftest import Labs
from tests.lab.labs import Lab

pytestmark = pytest.mark.lab
CONNECTIONS = 100
TOPOLOGY = {
    "chassis": {"hv1": {}, "hv2": {}},
    "networks": {
        "vxlan": {"segment": {"vxlan": 5001}, "subnet": "10.1.0.0/24"},
        "nvgre": {"segment": {"nvgre": 5001}, "subnet": "10.2.0.0/24"},
    },
    "nodes": {"vxlan[1-2]": {"network": "vxlan"}, "nvgre[1-2]": {"network": "nvgre"}},
}


def test_a_hundred_connections_are_one_megaflow(lab: Labs) -> None:
    """NVGRE's FlowID is hashed from what is matched anyhow: it costs no entry over VXLAN."""
    running = lab(TOPOLOGY)
    assert [into_tunnels(running, kind) for kind in ("vxlan", "nvgre")] == [1, 1]


def into_tunnels(lab: Lab, kind: str) -> int:
    """Megaflows of hv1 that lead an IPv4 packet of this sender into a tunnel, after many connections."""
    lab.appctl("hv1", "dpctl/del-flows")
    source, target = lab.port(f"{kind}1"), lab.port(f"{kind}2")
    outcomes = run(
        [
            Probe(lab.namespace(source.node), source.ips[0], lab.namespace(target.node), target.ips[0], "tcp", 2000 + n)
            for n in range(CONNECTIONS)
        ]
    )
    assert all(outcome.passed for outcome in outcomes)
    lines = lab.appctl("hv1", "dpctl/dump-flows").splitlines()
    ours = [line for line in lines if f"eth(src={source.mac}," in line and "eth_type(0x0800)" in line]
    return sum("tnl_push" in line for line in ours)  # not what ends a connection of the other network
