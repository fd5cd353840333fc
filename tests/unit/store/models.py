"""Random models for tests of the store, and a big one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any

from hypothesis import strategies as st

from datapath.addr import Mac
from datapath.spec import FIRST_PORT_OFPORT, FIRST_UPLINK_OFPORT, Kernel, Machine, Seed
from sdn.model import (
    AllowedAddress,
    Chassis,
    Forward,
    Guest,
    Macvlan,
    Model,
    Network,
    Node,
    Physnet,
    Port,
    Segment,
    Source,
    Test,
    Underlay,
)

names = st.from_regex(r"[a-z][a-z0-9.-]{0,6}", fullmatch=True)
name_sets = st.sets(names, max_size=4)
sources = st.builds(
    Source, st.sampled_from(["lab.yaml", "c:d.yaml", "ä b.yaml"]), st.integers(1, 99), st.integers(1, 80)
)
macs = st.integers(0, 2**48 - 1).map(Mac)
interfaces = st.one_of(
    st.builds(lambda ip, n: IPv4Interface((ip, n)), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda ip, n: IPv6Interface((ip, n)), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)
networks = interfaces.map(lambda interface: interface.network)
hosts = st.builds(lambda ip, n: IPv4Interface((ip, n)), st.integers(0, 2**32 - 1), st.integers(0, 32))
macvlans = st.builds(Macvlan, st.sampled_from(["bridge", "private", "vepa", "passthru"]), st.booleans())


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


kernels = st.builds(Kernel, texts, texts, texts)
seeds = st.builds(Seed, texts, tuples(texts), texts)
hardware = st.builds(
    Machine,
    memory=st.integers(1, 1 << 40),
    cpus=st.integers(1, 255),
    image=texts,
    disk=st.integers(0, 1 << 40),
    kernel=st.none() | kernels,
    volumes=tuples(texts),
    seed=st.none() | seeds,
    devices=tuples(texts),
    power=st.sampled_from(["on", "off", "paused"]),
    restart=st.sampled_from(["never", "on-failure", "always"]),
    driver=st.sampled_from(["qemu", "libvirt"]),
    migration=st.sampled_from(["auto", "pre-copy", "stop-and-copy", "post-copy"]),
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    number = iter(range(100, 10_000))

    def each(drawn: set[str], make: Any) -> dict[str, Any]:
        return {name: make(name) for name in sorted(drawn)}

    uplink = iter(range(FIRST_UPLINK_OFPORT, FIRST_PORT_OFPORT))
    physnets = each(draw(name_sets), lambda name: _physnet(draw, name, next(uplink)))
    chassis = each(
        draw(name_sets),
        lambda name: Chassis(
            next(number),
            name,
            IPv4Interface(f"172.31.{next(number) >> 8}.{next(number) & 255}/16"),
            draw(macs),
            draw(st.sampled_from(["ovs", "linux", "vswitch", "external"])),
            draw(tuples(st.sampled_from(sorted(physnets)))) if physnets else (),
            draw(sources),
            draw(tuples(st.tuples(st.sampled_from(sorted(physnets)), hosts))) if physnets else (),
            draw(st.integers(0, 1 << 40)),
            draw(st.integers(0, 256)),
        ),
    )
    nets = each(draw(name_sets), lambda name: _network(draw, name, next(number), sorted(physnets)))
    nodes = each(
        draw(name_sets) if chassis else set(),
        lambda name: Node(next(number), name, draw(st.sampled_from(sorted(chassis))), draw(sources)),
    )
    ports = each(
        draw(name_sets) if nodes and nets else set(),
        lambda name: _port(draw, name, next(number), nodes[draw(st.sampled_from(sorted(nodes)))], sorted(nets)),
    )
    machines = draw(st.sets(st.sampled_from(sorted(nodes)))) if nodes else set()
    guests = each(machines, lambda name: Guest(name, draw(hardware), draw(tuples(names)), draw(sources)))
    tests = each(draw(name_sets), lambda name: _test(draw, name))
    underlay = Underlay(IPv4Network("172.31.0.0/16"), draw(st.integers(576, 65535)))
    return Model(draw(names), underlay, physnets, chassis, nets, nodes, guests, ports, tests)


def _physnet(draw: st.DrawFn, name: str, uplink: int) -> Physnet:
    gateway = draw(st.none() | st.integers(0, 2**32 - 1).map(IPv4Address))
    interface = draw(st.sampled_from(["", "eth1", "wan.7"]))
    return Physnet(name, 1500, uplink, draw(sources), interface, draw(st.booleans()), gateway)


def _forward(draw: st.DrawFn, physnets: list[str]) -> Forward | None:
    mode = draw(st.sampled_from([None, "isolated", *(["nat", "routed"] if physnets else [])]))
    into = draw(st.sampled_from(physnets)) if mode in ("nat", "routed") else ""
    return mode and Forward(mode, draw(hosts), into)


def _network(draw: st.DrawFn, name: str, number: int, physnets: list[str]) -> Network:
    kind = draw(st.sampled_from(["vxlan", "nvgre", "geneve", "local", *(["vlan", "flat"] if physnets else [])]))
    on = draw(st.sampled_from(physnets)) if kind in ("vlan", "flat") else ""
    policy = draw(st.sampled_from(["drop", "flood"]))
    return Network(
        number,
        name,
        Segment(kind, 0 if kind in ("flat", "local") else number, on),
        draw(tuples(networks)),
        draw(st.integers(68, 9000)),
        policy,
        draw(sources),
        _forward(draw, physnets) if kind == "local" else None,
    )


def _port(draw: st.DrawFn, name: str, number: int, node: Node, nets: list[str]) -> Port:
    return Port(
        id=number,
        name=name,
        node=node.name,
        interface=f"eth{number}",
        tag=draw(st.none() | st.integers(1, 4094)),
        network=draw(st.sampled_from(nets)),
        chassis=node.chassis,
        ofport=draw(st.integers(64, 65279)),
        mac=Mac(number),
        addresses=draw(tuples(interfaces)),
        allowed=draw(tuples(st.builds(AllowedAddress, networks, st.none() | macs))),
        spoof_guard=draw(st.booleans()),
        source=draw(sources),
        macvlan=draw(st.none() | macvlans),
        dhcp=draw(st.booleans()),
    )


def _test(draw: st.DrawFn, name: str) -> Test:
    return Test(
        name,
        draw(tuples(names)),
        draw(tuples(names)),
        draw(st.sampled_from(["ping", "tcp", "udp"])),
        draw(st.integers(0, 65535)),
        draw(st.sampled_from(["ok", "fail"])),
        draw(st.integers(0, 600_000)) / 1000,
        draw(sources),
    )


def big(ports: int = 1000, chassis: int = 20, line: int = 60) -> Model:
    """`ports` nodes with a port each in one VXLAN network, spread over `chassis`."""

    def source(at: int) -> Source:
        return Source("lab.yaml", at)

    hosts = {
        f"hv{n}": Chassis(
            100 + n, f"hv{n}", IPv4Interface(f"172.31.0.{n}/24"), Mac(0x020000000000 + n), "ovs", (), source(n)
        )
        for n in range(1, chassis + 1)
    }
    segment = Segment("vxlan", 10010)
    web = Network(500, "web", segment, (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/64")), 1450, "drop", source(50))
    places = {f"web{n}": f"hv{n % chassis + 1}" for n in range(1, ports + 1)}
    nodes = {name: Node(1000 + n, name, at, source(line)) for n, (name, at) in enumerate(places.items(), 1)}
    attached = {
        name: Port(
            id=100_000 + n,
            name=name,
            node=name,
            interface="eth0",
            tag=None,
            network="web",
            chassis=at,
            ofport=64 + n,
            mac=Mac(0x020100000000 + n),
            addresses=(IPv4Interface((IPv4Address("10.0.0.0") + n, 8)),),
            allowed=(),
            spoof_guard=True,
            source=source(line),
        )
        for n, (name, at) in enumerate(places.items(), 1)
    }
    mesh = Test("mesh", ("web*",), ("web*",), "ping", 0, "ok", 5.0, source(80))
    return Model(
        "big",
        Underlay(IPv4Network("172.31.0.0/24"), 1500),
        {},
        hosts,
        {"web": web},
        nodes,
        {},
        attached,
        {"mesh": mesh},
    )
