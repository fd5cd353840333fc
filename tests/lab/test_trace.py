"""`sdn trace` and Open vSwitch's own `ofproto/trace` agree, hop by hop, in labs of every kind of segment."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import permutations

import pytest

from datapath.openflow.flow import match
from datapath.openflow.text import format_match
from datapath.spec import TUNNEL_OFPORT
from sdn.lab import testing
from sdn.lab.observed import observer
from sdn.model import Port
from sdn.trace import Fabric, packet_between
from sdn.way import Hop
from tests.lab.conftest import Labs
from tests.lab.labs import ROOT, TOPOLOGIES, UP_SECONDS, Lab
from tests.lab.processes import eventually

pytestmark = pytest.mark.lab

KINDS = [("icmp", 0), ("tcp", 80), ("udp", 53), ("arp", 0)]
STEP = re.compile(r"^ *(\d+)\. (?:No match|.*cookie (0x[0-9a-f]+))", re.MULTILINE)


@pytest.mark.parametrize("name", ["segments", "dualstack", "trunk", "overlay"])
def test_both_traces_agree(name: str, lab: Labs) -> None:
    running = lab(TOPOLOGIES / f"{name}.yaml")
    fabric = Fabric(running.model)
    compared = 0
    for source, target in list(permutations(running.model.ports.values(), 2))[::3]:
        for packet in packets(source, target):
            hops, _ = fabric.send(source, packet)
            for hop in hops:
                assert_same(running, hop)
                compared += 1
    assert compared > 30


def packets(source: Port, target: Port) -> list[dict[str, int]]:
    """Honest packets of each kind and family, and one with somebody else's address."""
    versions = {ip.version for ip in source.ips} & {ip.version for ip in target.ips}
    found = [packet_between(source, target, kind, port, version) for kind, port in KINDS for version in versions]
    return found + [{**packet, "eth_src": int(target.mac)} for packet in found[:1]]


def assert_same(lab: Lab, hop: Hop) -> None:
    """The same tables and flows in the same order, and the same ports at the end."""
    shown = {name: value for name, value in hop.packet.items() if name != "vlan_pcp"}  # not without a tag
    answer = lab.appctl(hop.chassis, "ofproto/trace", "br-int", format_match(match(**shown)))
    here = answer.partition('bridge("br-underlay")')[0]
    ours = [(step.table, step.flow.cookie if step.flow else None) for step in hop.walk.steps]
    theirs = [(int(table), int(cookie, 16) if cookie else None) for table, cookie in STEP.findall(here)]
    assert theirs == ours, f"{hop.packet}\n{answer}"
    assert sent_by(answer) == [sent.port for sent in hop.walk.outputs], f"{hop.packet}\n{answer}"
    assert tunnel_ids(answer) <= {sent.packet["tun_id"] for sent in hop.walk.outputs if sent.port in TUNNELS}


TUNNELS = set(TUNNEL_OFPORT.values())


def sent_by(answer: str) -> list[int]:
    """OpenFlow ports in the trace of br-int; how a tunnel's packet goes on through br-underlay is not ours to say."""
    outputs: list[int] = []
    ours = True
    for line in answer.splitlines():
        if line.startswith("bridge("):
            ours = "br-int" in line
        elif ours and (found := re.match(r" *output:(\d+)$", line)):
            outputs.append(int(found[1]))
        elif ours and "skipping output to input port" in line:
            outputs.pop()
    return outputs


def tunnel_ids(answer: str) -> set[int]:
    """The tunnel ids that Open vSwitch put on the wire: `vni=0x271a`, `gre((flags=0x2000,proto=0x6558),key=0x…)`."""
    return {int(number, 16) for number in re.findall(r"(?:vni=|key=)(0x[0-9a-f]+)", answer)}


TWO = """
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 10}, subnet: 10.1.0.0/24}}
nodes: {a: {network: web, chassis: hv1}, b: {network: web, chassis: hv2}}
tests: {ab: {from: a, to: b, ping: ok, within: 1}}
"""


def test_flows_that_are_not_the_labs_are_traced_too(lab: Labs) -> None:
    """Somebody drops pings on hv2, and then only their answers: trace, test and status say whose doing that is."""
    running = lab(TWO)
    assert sdn("trace", running, "a", "b") == (0, "delivered to b:eth0 on hv2")
    running.ofctl("hv2", "add-flow", "cookie=0x7b,priority=40000,icmp,icmp_type=8,actions=drop")
    code, verdict = sdn("trace", running, "a", "b")
    assert code == 1
    assert verdict.startswith("dropped on hv2 in table classify by a flow that is not the lab's (flow: 40000 ")
    assert verdict.endswith("→ drop; not ours, cookie 0x7b)")
    assert reason(running) == verdict
    note = "1 flow is not the lab's, and may decide what becomes of packets (sdn flows --foreign)"
    eventually(lambda: running.facts.flows["hv2"].note == note)
    assert running.facts.flows["hv1"].note == ""
    running.ofctl("hv2", "del-flows", "cookie=0x7b/-1")
    running.ofctl("hv2", "add-flow", "priority=40000,icmp,icmp_type=0,actions=drop")
    assert sdn("trace", running, "a", "b")[0] == 0
    assert reason(running).startswith(
        "but the answer: dropped on hv2 in table classify by a flow that is not the lab's"
    )
    running.ofctl("hv2", "del-flows", "cookie=0/-1")
    eventually(lambda: running.facts.flows["hv2"].note == "")
    assert sdn("test", running)[0] == 0


def sdn(command: str, lab: Lab, *words: str) -> tuple[int, str]:
    """The exit code of a command about the lab, and the last line that it prints."""
    asked = [sys.executable, "-m", "sdn.cli.main", command, *words, "--lab", lab.name]
    if command == "test":
        asked[-2:] = [lab.name]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, timeout=UP_SECONDS, check=False)
    return done.returncode, (done.stdout.splitlines() or [done.stderr])[-1]


def reason(lab: Lab) -> str:
    """The last line of why the lab's test fails."""
    findings = testing.run(lab.model, lab.model.tests, lambda: lab.facts, observer(lab.name))
    return findings.reasons["ab"][-1].strip()
