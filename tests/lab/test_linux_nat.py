"""Networks with a gateway on a Linux chassis: behind NAT, routed, isolated. And what must never get through it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.inet import TCP

from datapath import probe
from datapath.probe import Kind, Outcome, Probe
from tests.lab.conftest import Labs
from tests.lab.external import Machine, await_forwarding, machine
from tests.lab.frames import (
    ARP,
    BROADCAST,
    IP,
    UDP,
    VXLAN,
    VXLAN_PORT,
    Ether,
    Packet,
    Raw,
    arp_request,
    carries,
    datagram,
    ip,
    received,
    token,
)
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually, kill, pid_of, stopped, whole

pytestmark = pytest.mark.lab

TOPOLOGY = """
name: nat
chassis:
  hv1: {datapath: linux, addresses: {office: 203.0.113.2/24}}
  hv2: {datapath: linux}
physnets:
  office: {gateway: 203.0.113.1}
networks:
  home: {segment: local, subnet: 192.168.122.0/24, forward: {nat: office}}
  other: {segment: local, subnet: 192.168.121.0/24, forward: {nat: office}}
  dmz: {segment: local, subnet: 192.168.123.0/24, forward: {routed: office}}
  quiet: {segment: local, subnet: 192.168.124.0/24, forward: isolated}
  web: {segment: {vxlan: 4242}, subnet: 10.0.0.0/24}
nodes:
  vm[1-2]: {network: home}
  other1: {network: other}
  dmz1: {network: dmz}
  quiet1: {network: quiet}
  rogue: {network: home, spoof_guard: false}
  web1: {network: web, chassis: hv1}
  web2: {network: web, chassis: hv2}
"""
OUTSIDE, CHASSIS = "203.0.113.1", "203.0.113.2"
MAC = "02:aa:00:00:00:01"
VNI = 4242


@pytest.fixture(scope="module")
def nat(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


@pytest.fixture(scope="module")
def outside(nat: Lab) -> Iterator[Machine]:
    """The office's router, which knows of all networks behind the chassis, also those that it shall not reach."""
    bridge = nat.physnet_bridge("office")
    with machine(nat, bridge, MAC, [f"{OUTSIDE}/24"]) as made:
        for network in (
            "192.168.121.0/24",
            "192.168.122.0/24",
            "192.168.123.0/24",
            "192.168.124.0/24",
            "172.31.0.0/16",
        ):
            made.ip("route", "add", network, "via", CHASSIS)
        await_forwarding(nat.namespace(), bridge)
        for forwarding in bridges(nat):
            await_forwarding(nat.namespace("hv1"), forwarding)
        yield made


def bridges(lab: Lab) -> list[str]:
    shown = json.loads(lab.execute("hv1", "ip", "-j", "link", "show", "type", "bridge"))
    return [each["ifname"] for each in shown]


def address(lab: Lab, node: str) -> str:
    return str(ip(lab.port(node)))


def asked(namespace: str, source: str, target_namespace: str, target: str, kind: Kind = "ping") -> Outcome:
    ends = ip_address(source), ip_address(target)
    (outcome,) = probe.run([Probe(namespace, ends[0], target_namespace, ends[1], kind, 80, within=1.0)])
    return outcome


def out(lab: Lab, node: str, outside: Machine, kind: Kind = "ping") -> bool:
    return asked(lab.namespace(node), address(lab, node), outside.namespace, OUTSIDE, kind).passed


def into(lab: Lab, node: str, outside: Machine, kind: Kind = "ping") -> bool:
    return asked(outside.namespace, OUTSIDE, lab.namespace(node), address(lab, node), kind).passed


def gateway_mac(lab: Lab, network: str) -> str:
    """Of the bridge device that the chassis has in a network, in either form of bridges."""
    forward = lab.model.networks[network].forward
    return device_mac(lab, str(forward.gateway.ip) if forward else "")


def device_mac(lab: Lab, address: str) -> str:
    """Of the device with the address, else of a bridge."""
    shown = json.loads(lab.execute("hv1", "ip", "-j", "address", "show"))
    at = [each for each in shown if address in [found.get("local") for found in each["addr_info"]]]
    return str((at or [each for each in shown if each["ifname"] in ("brv-web", "br-vlan")])[0]["address"])


# ── where packets get ──


class TestNat:
    @pytest.mark.parametrize("kind", ["ping", "tcp", "udp"])
    def test_out_and_back(self, nat: Lab, outside: Machine, kind: Kind) -> None:
        assert out(nat, "vm1", outside, kind)

    def test_only_the_chassis_address_is_seen(self, nat: Lab, outside: Machine) -> None:
        with outside.capture() as seen:
            assert out(nat, "vm1", outside)
            assert out(nat, "vm2", outside, "tcp")
            packets = seen.matching(lambda packet: IP in packet and packet.direction == "in")
        assert {packet[IP].src for packet in packets} == {CHASSIS}

    def test_nothing_leaves_untranslated(self, nat: Lab, outside: Machine) -> None:
        """What belongs to no connection, and what comes from no address of the network."""
        vm, mark, forged, end = nat.port("vm1"), token(), token(), token()
        head = Ether(src=str(vm.mac), dst=gateway_mac(nat, "home"))
        rogue = nat.port("rogue")
        stray = head / IP(src=str(ip(vm)), dst=OUTSIDE) / TCP(sport=5, dport=6, flags="R") / Raw(mark)
        lie = Ether(src=str(rogue.mac), dst=head.dst) / IP(src="8.8.8.8", dst=OUTSIDE) / UDP(dport=9) / Raw(forged)
        last = head / IP(src=str(ip(vm)), dst=OUTSIDE) / UDP(sport=5, dport=9) / Raw(end)
        with outside.capture() as seen:
            nat.send("vm1", stray)
            nat.send("rogue", lie)
            nat.send("vm1", last)
            seen.wait(received(end))
            assert {p[IP].src for p in seen.matching(received(mark))} <= {CHASSIS}
            assert not seen.matching(received(forged))

    @pytest.mark.parametrize("kind", ["ping", "tcp"])
    def test_no_way_in(self, nat: Lab, outside: Machine, kind: Kind) -> None:
        assert not into(nat, "vm1", outside, kind)

    def test_the_gateway_answers_pings(self, nat: Lab) -> None:
        vm = nat.namespace("vm1")
        assert asked(vm, address(nat, "vm1"), vm, "192.168.122.1").passed


class TestRouted:
    def test_both_ways_with_its_own_address(self, nat: Lab, outside: Machine) -> None:
        with outside.capture() as seen:
            assert out(nat, "dmz1", outside)
            assert out(nat, "dmz1", outside, "tcp")
            packets = seen.matching(lambda packet: IP in packet and packet.direction == "in")
        assert {packet[IP].src for packet in packets} == {address(nat, "dmz1")}
        assert into(nat, "dmz1", outside)
        assert into(nat, "dmz1", outside, "tcp")


class TestIsolated:
    def test_nothing_out_or_in(self, nat: Lab, outside: Machine) -> None:
        quiet = nat.namespace("quiet1")
        run("ip", "-n", quiet, "route", "add", "203.0.113.0/24", "via", "192.168.124.1")
        assert not out(nat, "quiet1", outside)
        assert not into(nat, "quiet1", outside)
        assert asked(quiet, address(nat, "quiet1"), quiet, "192.168.124.1").passed


@pytest.mark.parametrize("target", ["other1", "dmz1", "quiet1", "web1"])
def test_no_way_to_another_network(nat: Lab, target: str) -> None:
    """By the gateway, which would know the way to all of them."""
    vm, mark, end = nat.port("vm1"), token(), token()
    head = Ether(src=str(vm.mac), dst=gateway_mac(nat, "home"))
    frame = head / IP(src=str(ip(vm)), dst=address(nat, target)) / UDP(sport=5, dport=9) / Raw(mark)
    with nat.capture_all(target, "vm2") as (node, neighbour):
        nat.send("vm1", frame, datagram(vm, nat.port("vm2"), end))
        neighbour.wait(received(end))
        assert not node.matching(carries(mark))


def test_no_way_to_the_underlay(nat: Lab, outside: Machine) -> None:
    """Not from a node, and not from outside: not even to the vtep of the chassis itself."""
    vm, end = nat.port("vm1"), token()
    there, here = (str(nat.model.chassis[name].vtep.ip) for name in ("hv2", "hv1"))
    with nat.capture_all("hv1", "vm2") as (underlay, neighbour):
        assert not asked(nat.namespace("vm1"), str(ip(vm)), nat.namespace("vm1"), there).passed
        assert not asked(nat.namespace("vm1"), str(ip(vm)), nat.namespace("vm1"), here).passed
        assert not asked(outside.namespace, OUTSIDE, outside.namespace, here).passed
        nat.send("vm1", datagram(vm, nat.port("vm2"), end))
        neighbour.wait(received(end))
        assert not underlay.matching(lambda p: IP in p and p[IP].src in (str(ip(vm)), CHASSIS, OUTSIDE))


# ── frames in tunnel packets that are none of the underlay's ──


def smuggled(lab: Lab, mark: bytes) -> Packet:
    """What would be a frame of network web if the tunnel's socket got it."""
    web1, web2 = lab.port("web1"), lab.port("web2")
    return VXLAN(vni=VNI, flags=8) / datagram(web2, web1, mark)


@pytest.mark.parametrize("node", ["vm1", "rogue", "quiet1", "dmz1", "web1"])
@pytest.mark.parametrize("to", ["gateway", "vtep", "uplink"])
@pytest.mark.parametrize("how", ["unicast", "broadcast"])
def test_a_node_is_no_vtep(nat: Lab, node: str, to: str, how: str) -> None:
    """To any address of the chassis, which the tunnel's socket all takes, with whichever MAC the chassis listens to."""
    assert not reaches_the_tunnel(nat, node, to, how)


def test_these_frames_would_get_there(nat: Lab) -> None:
    """Were they let in: the test above is none of malformed frames."""
    with stopped(pid_of(nat, "agent")):
        nat.execute("hv1", "nft", "flush", "chain", "ip", "sdn", "input")
        assert reaches_the_tunnel(nat, "vm1", "gateway", "unicast")
        assert reaches_the_tunnel(nat, "rogue", "vtep", "broadcast")
    eventually(lambda: "drop" in nat.execute("hv1", "nft", "list", "chain", "ip", "sdn", "input"))


def reaches_the_tunnel(nat: Lab, node: str, to: str, how: str) -> bool:
    here, mark, end = nat.port(node), token(), token()
    gateways = {"web": "10.0.0.254"} | {
        name: str(network.forward.gateway.ip) for name, network in nat.model.networks.items() if network.forward
    }
    target = {"gateway": gateways[here.network], "vtep": str(nat.model.chassis["hv1"].vtep.ip), "uplink": CHASSIS}[to]
    mac = gateway_mac(nat, here.network) if how == "unicast" else BROADCAST
    frame = Ether(src=str(here.mac), dst=mac) / IP(src=str(ip(here)), dst=target)
    with nat.capture("web1") as victim:
        nat.send(node, frame / UDP(sport=5, dport=VXLAN_PORT, chksum=0) / smuggled(nat, mark))
        nat.send("web2", datagram(nat.port("web2"), nat.port("web1"), end))
        victim.wait(received(end))
        return bool(victim.matching(received(mark)))


def test_who_is_outside_is_no_vtep(nat: Lab, outside: Machine) -> None:
    mark, end = token(), token()
    for target in (CHASSIS, str(nat.model.chassis["hv1"].vtep.ip)):
        for mac in (device_mac(nat, CHASSIS), BROADCAST):
            frame = Ether(src=MAC, dst=mac) / IP(src=OUTSIDE, dst=target)
            outside.send(frame / UDP(sport=5, dport=VXLAN_PORT, chksum=0) / smuggled(nat, mark))
    with nat.capture("web1") as victim:
        nat.send("web2", datagram(nat.port("web2"), nat.port("web1"), end))
        victim.wait(received(end))
        assert not victim.matching(received(mark))


def test_each_network_knows_its_own_gateway_only(nat: Lab) -> None:
    vm = nat.port("vm1")
    with nat.capture("vm1") as node:
        for target in ("192.168.121.1", "192.168.123.1", CHASSIS, str(nat.model.chassis["hv1"].vtep.ip)):
            nat.send("vm1", arp_request(vm, target))
        nat.send("vm1", arp_request(vm, "192.168.122.1"))
        node.wait(is_answer)
        answers = node.matching(is_answer)
    assert [answer[ARP].psrc for answer in answers] == ["192.168.122.1"]


def is_answer(packet: Packet) -> bool:
    return ARP in packet and packet[ARP].op == 2 and packet.direction == "in"


# ── kept so ──


class TestKept:
    def test_the_machine_itself_forwards_no_more_than_before(self, lab: Labs) -> None:
        before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
        made = lab(TOPOLOGY)
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before
        assert made.execute("hv1", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
        assert made.execute("hv2", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"

    def test_a_deleted_rule_comes_back(self, nat: Lab, outside: Machine) -> None:
        for table in ("bridge", "ip"):
            before = nat.execute("hv1", "nft", "-s", "list", "table", table, "sdn")
            nat.execute("hv1", "nft", "flush", "table", table, "sdn")
            eventually(lambda t=table, b=before: _rules(nat, t) == _without_state(b))  # type: ignore[misc]
        assert out(nat, "vm1", outside)

    def test_the_nodes_way_out(self, nat: Lab) -> None:
        """Ours comes back; where somebody has set another it is left alone."""
        vm = nat.namespace("vm1")
        assert _default(vm) == [("192.168.122.1", "93")]
        run("ip", "-n", vm, "route", "del", "default")
        nat.up(nat.text)
        assert _default(vm) == [("192.168.122.1", "93")]
        run("ip", "-n", vm, "route", "replace", "default", "via", "192.168.122.99")
        nat.up(nat.text)
        assert _default(vm) == [("192.168.122.99", "boot")]
        run("ip", "-n", vm, "route", "del", "default")
        nat.up(nat.text)
        assert _default(vm) == [("192.168.122.1", "93")]

    def test_a_way_out_that_is_no_more(self, lab: Labs) -> None:
        made = lab(TOPOLOGY)
        assert "masquerade" in made.execute("hv1", "nft", "list", "table", "ip", "sdn")
        made.apply(re.sub("forward: {.*: office}", "forward: isolated", TOPOLOGY))
        assert _default(made.namespace("vm1")) == []
        assert "masquerade" not in made.execute("hv1", "nft", "list", "table", "ip", "sdn")
        assert made.execute("hv1", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


def _default(namespace: str) -> list[tuple[str, str]]:
    found = json.loads(run("ip", "-n", namespace, "-j", "route", "show", "default"))
    return [(route["gateway"], route.get("protocol", "boot")) for route in found]


def _rules(lab: Lab, table: str) -> str:
    return _without_state(lab.execute("hv1", "nft", "-s", "list", "table", table, "sdn"))


def _without_state(listing: str) -> str:
    """Without the chain whose name has the generation."""
    return "\n".join(line for line in listing.splitlines() if "chain state_" not in line)


def way_out(lab: Lab) -> str:
    return lab.execute("hv1", "ip", "-4", "route", "show", "default")


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_new_agent_leaves_the_way_out(nat: Lab, rounds: int) -> None:
    """Whether it adopts what the first made, or what one that adopted left."""
    before = way_out(nat)
    assert before.startswith(f"default via {OUTSIDE} ")
    for _ in range(rounds):
        killed = kill(pid_of(nat, "agent"))
        eventually(lambda: pid_of(nat, "agent") not in (0, killed) and whole(nat), within=20)  # noqa: B023
        nat.up(TOPOLOGY)
        assert way_out(nat) == before
        assert nat.execute("vm1", "ip", "-4", "route", "show", "default").startswith("default via 192.168.122.1 ")


def test_forwarding_is_looked_at_again(nat: Lab) -> None:
    """Nobody tells of the setting."""
    nat.execute("hv1", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    nat.up(TOPOLOGY)
    assert nat.execute("hv1", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
