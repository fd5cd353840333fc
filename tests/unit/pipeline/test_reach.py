"""Who reaches whom: what the intent says equals what the compiled tables do, on every chassis along the way."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdn.model import Model, Port
from sdn.trace import Fabric, packet_between
from tests.topologies import families, files, intended, model_of


def delivered(fabric: Fabric, source: Port, packet: dict[str, int]) -> set[str]:
    _, names = fabric.send(source, packet)
    assert len(names) == len(set(names)), "nobody gets a packet twice"
    return set(names)


@settings(deadline=None, max_examples=60)
@given(files(), st.data())
def test_unicast_reaches_exactly_its_target(file: dict[str, Any], data: st.DataObject) -> None:
    model = model_of(file)
    pairs = [(a, b) for a in model.ports.values() for b in model.ports.values() if a.name != b.name]
    if not pairs:
        return
    fabric = Fabric(model)
    for a, b in data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=8)):
        for version in families(a, b):
            got = delivered(fabric, a, packet_between(a, b, "icmp", version=version))
            if intended(a, b):
                assert got == {b.name}
            else:
                assert b.name not in got, "a packet crossed networks"
                assert got <= flooded(model, a) | with_mac_of(model, b, a.network), "it went where it should not"


def with_mac_of(model: Model, port: Port, network: str) -> set[str]:
    """Ports of one trunk share a MAC, which is then known in each of its networks."""
    return {other.name for other in model.ports.values() if other.mac == port.mac and other.network == network}


def flooded(model: Model, source: Port) -> set[str]:
    """Who may see the unknown unicast of a port."""
    if model.networks[source.network].unknown_unicast == "drop":
        return set()
    return {port.name for port in model.ports.values() if intended(source, port)}


@settings(deadline=None, max_examples=40)
@given(files(), st.data())
def test_broadcast_reaches_everyone_in_the_network_once(file: dict[str, Any], data: st.DataObject) -> None:
    model = model_of(file)
    if not model.ports:
        return
    source = data.draw(st.sampled_from(list(model.ports.values())))
    if not any(ip.version == 4 for ip in source.ips):
        return
    ours = next(int(ip) for ip in source.ips if ip.version == 4)
    packet = {
        "eth_src": int(source.mac),
        "eth_dst": (1 << 48) - 1,
        "eth_type": 0x0800,
        "ipv4_src": ours,
        "ipv4_dst": 0xFFFFFFFF,
        "ip_proto": 17,
        "udp_dst": 9999,
    }
    others = {port.name for port in model.ports.values() if intended(source, port)}
    assert delivered(Fabric(model), source, packet) == others


@settings(deadline=None, max_examples=40)
@given(files(), st.data())
def test_arp_and_nd_are_answered_here_and_nowhere_else(file: dict[str, Any], data: st.DataObject) -> None:
    model = model_of(file)
    pairs = [(a, b) for a in model.ports.values() for b in model.ports.values() if intended(a, b) and families(a, b)]
    if not pairs:
        return
    a, b = data.draw(st.sampled_from(pairs))
    for version in families(a, b):
        hops, names = Fabric(model).send(a, packet_between(a, b, "arp", version=version))
        assert names == [a.name], "only the asker sees the answer"
        assert [hop.chassis for hop in hops] == [a.chassis], "no other chassis sees the question"
        (answer,) = (sent.packet for sent in hops[0].walk.outputs)
        assert answer["eth_src"] == b.mac
        assert answer["eth_dst"] == a.mac


@settings(deadline=None, max_examples=40)
@given(files(), st.data())
def test_nobody_speaks_for_another(file: dict[str, Any], data: st.DataObject) -> None:
    """A guarded port that uses the MAC or the addresses of another port is not heard."""
    model = model_of(file)
    pairs = [(a, b) for a in model.ports.values() for b in model.ports.values() if intended(a, b) and families(a, b)]
    pairs = [(a, b) for a, b in pairs if a.spoof_guard and a.mac != b.mac]
    if not pairs:
        return
    a, b = data.draw(st.sampled_from(pairs))
    version = data.draw(st.sampled_from(sorted(families(a, b))))
    honest = packet_between(a, b, data.draw(st.sampled_from(["icmp", "arp"])), version=version)
    for forged in forgeries(honest, b):
        assert delivered(Fabric(model), a, forged) == set()


def forgeries(packet: dict[str, int], other: Port) -> list[dict[str, int]]:
    """The packet with each of its sender's identities replaced by another port's."""
    version = 6 if packet["eth_type"] == 0x86DD else 4
    theirs = next(int(ip) for ip in other.ips if ip.version == version)
    identities = {"eth_src": int(other.mac), "arp_sha": int(other.mac), "nd_sll": int(other.mac)}
    identities |= {"ipv4_src": theirs, "ipv6_src": theirs, "arp_spa": theirs}
    return [packet | {name: value} for name, value in identities.items() if name in packet]
