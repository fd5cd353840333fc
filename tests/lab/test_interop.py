"""A third chassis that is not ours: a Linux kernel `vxlan` device, set up by hand as an operator would.

It stands for every other VTEP of RFC 7348: what it understands and what we understand of it is the protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from scapy.layers.vxlan import VXLAN

from datapath import probe
from datapath.probe import Kind, Probe
from datapath.spec import LAB_UNDERLAY
from tests.lab.conftest import Labs
from tests.lab.external import Machine, machine
from tests.lab.frames import (
    ARP,
    IP,
    UDP,
    Ether,
    arp_request,
    carries,
    datagram,
    full_echo,
    group,
    ip,
    is_echo_reply,
    received,
    token,
)
from tests.lab.labs import Lab, failures, run

pytestmark = pytest.mark.lab

INTEROP = """
name: interop
chassis:
  hv[1-2]: {}
  tor: {datapath: external, vtep: 172.31.0.200}
networks:
  red: {segment: {vxlan: 10010}, subnets: [10.1.0.0/24, "fd00:1::/64"]}
  pink: {segment: {vxlan: 10011}, subnets: [10.2.0.0/24, "fd00:2::/64"]}
nodes:
  red[1-2]: {network: red}
  pink[1-2]: {network: pink}
  server: {network: red, chassis: tor, ip: [10.1.0.250, "fd00:1::250"], mac: "02:5e:00:00:00:01"}
"""
VNI, PINK_VNI = 10010, 10011
VTEP, VTEP_MAC = "172.31.0.200", "02:cc:00:00:00:01"
NODES = ("red1", "red2")


@pytest.fixture(scope="module")
def interop(shared_lab: Labs) -> Lab:
    return shared_lab(INTEROP)


@pytest.fixture(scope="module", params=["static", "learning"])
def tor(interop: Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The switch with its server: the vxlan device carries the server's addresses.

    static: every MAC and neighbour is written down. learning: only the vteps that get broadcasts are; it learns MACs
    from what it receives (RFC 7348 section 4.1) and asks by ARP and ND, which the nodes themselves answer.
    """
    with kernel_vtep(interop, "learning" if request.param == "learning" else "nolearning") as made:
        for name in ("hv1", "hv2"):
            fdb(made, "append", "00:00:00:00:00:00", "dev", "vx0", "dst", vtep(interop, name))
        if request.param == "static":
            write_down(made, interop)
        yield made


@contextmanager
def kernel_vtep(lab: Lab, learning: str) -> Iterator[Machine]:
    """On the lab's underlay. Without an entry of its FDB it sends nothing: not even that it is there."""
    with machine(lab, LAB_UNDERLAY, VTEP_MAC, [f"{VTEP}/24"]) as made:
        server = lab.port("server")
        made.ip(
            *("link", "add", "vx0", "address", str(server.mac), "type", "vxlan"),
            *("id", str(VNI), "dstport", "4789", "local", VTEP, learning),
        )
        for address in server.addresses:
            made.ip("address", "add", str(address), "dev", "vx0", *(["nodad"] if address.version == 6 else []))
        made.ip("link", "set", "vx0", "up")
        yield made


def fdb(tor: Machine, *command: str) -> None:
    run("bridge", "-n", tor.namespace, "fdb", *command)


def vtep(lab: Lab, chassis: str) -> str:
    return str(lab.model.chassis[chassis].vtep.ip)


def write_down(tor: Machine, lab: Lab) -> None:
    for name in NODES:
        port = lab.port(name)
        fdb(tor, "add", str(port.mac), "dev", "vx0", "dst", vtep(lab, port.chassis))
        for address in port.ips:
            tor.ip("neighbour", "add", str(address), "lladdr", str(port.mac), "dev", "vx0", "nud", "permanent")


@pytest.mark.parametrize("kind", ["ping", "tcp", "udp"])
def test_reach_both_ways(interop: Lab, tor: Machine, kind: Kind) -> None:
    server, probes = interop.port("server"), []
    for name in NODES:
        node, space = interop.port(name), interop.namespace(name)
        for version in (4, 6):
            here, there = ip(server, version), ip(node, version)
            probes.append(Probe(tor.namespace, here, space, there, kind, 8080))
            probes.append(Probe(space, there, tor.namespace, here, kind, 8080))
    assert failures(probe.run(probes)) == []


@pytest.mark.parametrize("version", [4, 6])
def test_full_size(interop: Lab, tor: Machine, version: int) -> None:
    """What the network's MTU lets through, the kernel's device takes and answers."""
    source, server = interop.port("red1"), interop.port("server")
    request, mark = full_echo(source, server, interop.model.networks["red"].mtu, version)
    with interop.capture("red1") as node, tor.capture() as wire:
        interop.send("red1", request)
        (answer,) = node.wait(lambda packet: is_echo_reply(packet) and received(mark)(packet))
        assert len(answer) == len(request)
        assert not wire.matching(lambda packet: IP in packet and packet[IP].flags.MF)


def test_broadcast_reaches_it_once(interop: Lab, tor: Machine) -> None:
    source, mark, end = interop.port("red1"), token(), token()
    with tor.capture("vx0") as inside, tor.capture() as wire:
        interop.send("red1", group(source, mark), group(source, end))
        inside.wait(received(end))
        assert [bytes(packet) for packet in inside.matching(carries(mark))] == [bytes(group(source, mark))]
        (outer,) = wire.matching(carries(mark))
        assert (outer[IP].src, outer[VXLAN].vni, outer[Ether].dst) == (vtep(interop, "hv1"), VNI, VTEP_MAC)


def test_its_broadcast_reaches_each_node_once(interop: Lab, tor: Machine) -> None:
    """It replicates to both chassis itself; neither passes it on to the other."""
    server, mark, end = interop.port("server"), token(), token()
    with interop.capture_all(*NODES, "pink1", "pink2") as nodes, tor.capture() as wire:
        for payload in (mark, end):
            tor.send(group(server, payload), device="vx0")
        for node in nodes[:2]:
            node.wait(received(end))
        assert [len(node.matching(received(mark))) for node in nodes] == [1, 1, 0, 0]
        assert Counter(packet.direction for packet in wire.matching(carries(mark))) == {"out": 2}


def test_another_network_does_not_reach_it(interop: Lab, tor: Machine) -> None:
    """Broadcasts of a network that it has no port of are not sent to it."""
    stranger, friend, mark, end = interop.port("pink1"), interop.port("red1"), token(), token()
    with interop.capture("pink2") as node, tor.capture("vx0") as inside, tor.capture() as wire:
        interop.send("pink1", group(stranger, mark))
        node.wait(received(mark))
        interop.send("red1", group(friend, end))
        inside.wait(received(end))
        assert not wire.matching(carries(mark))


def test_a_vni_that_no_network_has(interop: Lab, tor: Machine) -> None:
    server, node, mark, end = interop.port("server"), interop.port("red1"), token(), token()

    def tunnelled(vni: int, payload: bytes) -> bytes:
        chassis = interop.model.chassis[node.chassis]
        outer = Ether(src=VTEP_MAC, dst=str(chassis.mac)) / IP(src=VTEP, dst=str(chassis.vtep.ip))
        return bytes(outer / UDP(sport=50000, dport=4789) / VXLAN(vni=vni) / datagram(server, node, payload))

    with interop.capture_all("red1", "pink1") as nodes:
        tor.send(tunnelled(10012, mark), tunnelled(PINK_VNI, mark), tunnelled(VNI, end))
        nodes[0].wait(received(end))
        assert [listener.matching(carries(mark)) for listener in nodes] == [[], []]


def test_its_nodes_are_answered_for(interop: Lab, tor: Machine) -> None:
    """ARP for the server ends on the asking chassis like that for any known address."""
    asker, server, end = interop.port("red1"), interop.port("server"), token()
    with interop.capture("red1") as node, tor.capture("vx0") as inside:
        interop.send("red1", arp_request(asker, ip_address("10.1.0.250")), group(asker, end))
        (answer,) = node.wait(lambda packet: ARP in packet and packet[ARP].op == 2)
        assert answer[ARP].hwsrc == str(server.mac)
        inside.wait(received(end))
        assert not inside.matching(lambda packet: ARP in packet and packet[ARP].pdst == "10.1.0.250")


def test_nothing_is_assumed_of_its_mac(lab: Labs) -> None:
    """It has never said a word, and its MAC is in no file: the chassis asks for it by ARP as any IP host does."""
    fresh = lab(INTEROP)
    with kernel_vtep(fresh, "nolearning") as silent:
        write_down(silent, fresh)
        assert failures(fresh.probe(NODES, "server")) == []
