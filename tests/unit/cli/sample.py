"""Models built by hand for what shows them: small, wide, dense, mixed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_interface

from datapath.addr import IPNetwork, Mac
from datapath.spec import Machine
from sdn.model import Chassis, Guest, Model, Network, Node, Physnet, Port, Segment, Source, Test, Underlay
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts, PortFacts


def source(line: int) -> Source:
    return Source("overlay.yaml", line, 3)


def chassis(i: int, physnets: tuple[str, ...] = ()) -> Chassis:
    vtep = IPv4Interface((int(IPv4Network("172.31.0.0/24").network_address) + i, 24))
    return Chassis(15 + i, f"hv{i}", vtep, Mac(0x02000000 << 16 | i), "ovs", physnets, source(i))


def network(i: int, name: str, segment: Segment, *subnets: IPNetwork, mtu: int = 1450) -> Network:
    return Network(100 + i, name, segment, subnets, mtu, "drop", source(20 + i))


class Builder:
    """Adds nodes and gives their ports addresses in order."""

    def __init__(self, many: int, networks: list[Network], physnet: str = "") -> None:
        physnets = {physnet: Physnet(physnet, 1500, 16, source(9))} if physnet else {}
        on = (physnet,) if physnet else ()
        self.model = Model(
            "overlay",
            Underlay(IPv4Network("172.31.0.0/24"), 1500),
            physnets,
            {f"hv{i}": chassis(i, on) for i in range(1, many + 1)},
            {n.name: n for n in networks},
        )

    def node(self, name: str, on: str, *networks: str, trunk: dict[int, str] | None = None) -> Builder:
        number = len(self.model.nodes) + 1
        self.model.nodes[name] = Node(200 + number, name, on, source(40 + number))
        for i, net in enumerate(networks):
            self._port(name, on, f"eth{i}", None, net)
        for tag, net in (trunk or {}).items():
            self._port(name, on, "eth0", tag, net)
        return self

    def _port(self, node: str, on: str, interface: str, tag: int | None, net: str) -> None:
        number = len(self.model.ports) + 1
        same = sum(1 for port in self.model.ports.values() if port.network == net) + 1
        addresses = tuple(
            ip_interface((int(subnet.network_address) + same, subnet.prefixlen))
            for subnet in self.model.networks[net].subnets
        )
        name = f"{node}.{interface}" + (f".{tag}" if tag else "")
        mac = Mac(0x020000 << 24 | number)
        port = Port(
            1000 + number, name, node, interface, tag, net, on, 63 + number, mac, addresses, (), True, source(60)
        )
        self.model.ports[name] = port


def overlay() -> Model:
    """Three chassis, ten nodes, four kinds of segment, a router node on two networks and a trunk."""
    networks = [
        network(1, "web", Segment("vxlan", 10010), IPv4Network("10.10.0.0/24"), IPv6Network("fd00:10::/64")),
        network(2, "db", Segment("nvgre", 10020), IPv4Network("10.20.0.0/24"), mtu=1458),
        network(3, "mgmt", Segment("geneve", 30), IPv4Network("10.30.0.0/24")),
        network(4, "office", Segment("vlan", 120, "campus"), IPv4Network("203.0.113.0/24"), mtu=1500),
    ]
    build = Builder(3, networks, "campus")
    for i in range(1, 5):
        build.node(f"web{i}", f"hv{(i - 1) % 3 + 1}", "web")
    build.node("db1", "hv2", "db").node("db2", "hv3", "db").node("gw", "hv1", "web", "db")
    build.node("admin", "hv3", "mgmt").node("desk", "hv3", "office")
    build.node("fw1", "hv1", "mgmt", trunk={20: "db", 120: "office"})
    test = Test(
        "mesh", ("web1", "web2", "web3", "web4"), ("web1", "web2", "web3", "web4"), "ping", 0, "ok", 5.0, source(70)
    )
    shut = Test("shut", ("db1",), ("web1",), "tcp", 80, "fail", 5.0, source(71))
    build.model.tests.update(mesh=test, shut=shut)
    return build.model


def machines() -> Model:
    """The overlay with two of its nodes as guests: vm1 on hv1 and vm2 on hv2, which boots from an image."""
    build = Builder(2, [network(1, "web", Segment("vxlan", 10010), IPv4Network("10.10.0.0/24"))])
    build.node("web1", "hv1", "web").node("vm1", "hv1", "web").node("vm2", "hv2", "web")
    image = Machine(memory=3 << 29, cpus=2, image="/images/debian.qcow2", disk=10 << 30, restart="never")
    for number, machine in enumerate((Machine(memory=128 << 20), image), 1):
        build.model.guests[f"vm{number}"] = Guest(f"vm{number}", machine, ("apart",), source(80 + number))
    build.model.tests["mesh"] = Test("mesh", ("web1", "vm1", "vm2"), ("vm1", "vm2"), "ping", 0, "ok", 5.0, source(90))
    return build.model


def guest_facts(model: Model, **seen: GuestFacts) -> Facts:
    """All guests run under TCG for the same reason, but those given."""
    every = {
        name: GuestFacts("running", model.nodes[name].chassis, "", "", 100, "tcg", "no /dev/kvm", 1, answers=True)
        for name in model.guests
    }
    return replace(facts(model), guests={**every, **seen})


def wide(many: int = 20, each: int = 5) -> Model:
    build = Builder(many, [network(1, "net", Segment("vxlan", 5001), IPv4Network("10.0.0.0/16"))])
    for i in range(many * each):
        build.node(f"n{i + 1}", f"hv{i // each + 1}", "net")
    return build.model


def many_networks() -> Model:
    names = [f"tenant{i}" for i in range(1, 13)]
    nets = [network(i, n, Segment("vxlan", 100 + i), IPv4Network(f"10.{i}.0.0/24")) for i, n in enumerate(names, 1)]
    build = Builder(4, nets)
    for i, n in enumerate(names * 2):
        build.node(f"vm{i + 1}", f"hv{i % 4 + 1}", n)
    return build.model


def facts(model: Model, *down: str) -> Facts:
    """All is well but for the nodes or chassis named."""
    return Facts(
        {
            c: FlowFacts(c not in down, 7, 42 + i, "" if c not in down else "connection refused")
            for i, c in enumerate(model.chassis)
        },
        {c: HostFacts(7, "netdev") for c in model.chassis},
        {
            n: PortFacts(port.node not in down and port.chassis not in down, port.ofport)
            for n, port in model.ports.items()
        },
    )
