"""Somebody else's device has the name of ours: the kernel refuses ours, and theirs stays as it is, without our mark."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.linux import messages, wiring
from datapath.linux.host import Host, Wanted
from datapath.linux.macvlan import Macvlans
from datapath.linux.netlink import Message
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.linux.wiring import Bridge
from datapath.spec import Guest, HostSpec, Interface, Machine, Macvlan, Node, Underlay, Uplink, Vlan, alias, namespace
from tests.lab.labs import run

pytestmark = pytest.mark.lab

ETH0 = Interface("n1", "eth0", "p-n1-eth0", 64, Mac(2 << 40 | 1), 1450, (IPv4Interface("10.0.0.1/24"),), ready=True)
UPLINK = Uplink("office", "u-office", 16, 1500, "office")


class Place:
    """Namespaces of a chassis, a node and the lab itself, in which devices are made without an agent."""

    def __init__(self) -> None:
        self.lab = f"t{secrets.token_hex(3)}"
        self.host = Host(self.lab, lambda _: None, lambda _: None)
        homes = (("", "lab"), ("hv1", "chassis"), ("n1", "node"))
        errors = self.host.ensure([Wanted(namespace(self.lab, name), name, role) for name, role in homes])  # type: ignore[arg-type]
        assert not errors
        self.wires = Wires(self.host)

    def spec(self, *interfaces: Interface, guests: tuple[Guest, ...] = ()) -> HostSpec:
        underlay = Underlay(IPv4Interface("172.31.0.1/24"), Mac(0x02AA << 32), 1500, ())
        node = Node("n1", namespace(self.lab, "n1"), interfaces)
        home = namespace(self.lab, "hv1")
        return HostSpec(self.lab, "hv1", home, 1, underlay, (), (UPLINK,), (node,), guests=guests)

    def ip(self, name: str, *arguments: str) -> str:
        done = run("ip", "-n", namespace(self.lab, name), *arguments)
        self.host.namespaces[namespace(self.lab, name)].hear()
        return str(done)

    def state(self, name: str, device: str) -> dict[str, Any]:
        (found,) = json.loads(self.ip(name, "-d", "-j", "address", "show", device))
        return {key: found.get(key) for key in ("ifindex", "flags", "ifalias", "address", "mtu", "master", "addr_info")}

    @property
    def refused(self) -> str:
        return "; ".join(str(each) for of_one in self.wires.refusals.values() for each in of_one)


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    try:
        yield made
    finally:
        made.host.remove(list(made.host.namespaces))
        made.host.close()


def connect(place: Place) -> None:
    spec = place.spec(ETH0)
    place.wires.connect(wiring.node_pairs(spec, spec.nodes[0], "linux"))


def settle_ports(place: Place) -> None:
    """As a switch does that hears of a change."""
    spec = place.spec(ETH0)
    place.wires.settle(pair.near for pair in wiring.node_pairs(spec, spec.nodes[0], "system"))


def raise_bridges(place: Place) -> None:
    place.wires.raise_bridges([Bridge(namespace(place.lab), "office", alias(place.lab, "office"))])


def join_bridge(place: Place) -> None:
    """The wire of a chassis is in no bridge of another's."""
    spec = place.spec()
    place.wires.connect(wiring.chassis_pairs(spec, "system"))


def macvlans(place: Place) -> None:
    spec = place.spec(replace(ETH0, macvlan=Macvlan("bridge", False, "office", 0)))
    place.wires.connect(wiring.chassis_pairs(spec, "system"))
    Macvlans(place.host, place.wires).settle(spec, spec.nodes)


def trunks(place: Place) -> None:
    spec = place.spec(replace(ETH0, vlans=(Vlan(20, 1400, ()),)))
    pairs = wiring.node_pairs(spec, spec.nodes[0], "system")
    place.wires.connect(pairs)
    Trunks(place.host, place.wires).settle(pair.far for pair in pairs)


def taps(place: Place) -> None:
    guest = Guest("g1", "00000000-0000-0000-0000-000000000001", Machine(1 << 28), (replace(ETH0, node="g1"),))
    place.wires.hold(wiring.taps(place.spec(guests=(guest,)), "system"))


TAKEN: dict[str, tuple[Callable[[Place], None], str, str, tuple[str, ...]]] = {
    "a bridge port": (connect, "hv1", "p-n1-eth0", ("type", "bridge")),
    "a bridge port, by a veth": (connect, "hv1", "p-n1-eth0", ("type", "veth", "peer", "name", "theirs")),
    "a bridge port that is set right": (settle_ports, "hv1", "p-n1-eth0", ("type", "bridge")),
    "a node's interface": (connect, "n1", "eth0", ("type", "bridge")),
    "a bridge of the lab": (raise_bridges, "", "office", ("type", "veth", "peer", "name", "theirs")),
    "a bridge of the lab, by a bridge": (raise_bridges, "", "office", ("type", "bridge")),
    "a macvlan": (macvlans, "n1", "eth0", ("type", "bridge")),
    "what a macvlan is on": (macvlans, "hv1", "mv-office", ("type", "bridge")),
    "a VLAN device": (trunks, "n1", "eth0.20", ("type", "bridge")),
    "what tags a VLAN": (trunks, "n1", "tag-eth0-20", ("type", "bridge")),
    "what has VLANs": (trunks, "n1", "eth0", ("type", "bridge")),
    "a tap": (taps, "hv1", "p-n1-eth0", ("type", "bridge")),
}


@pytest.fixture(autouse=True)
def without_vlan_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel that lacks them, whichever it is."""
    made = messages.add_vlan

    def unknown(about: str, name: str, parent: int, tag: int) -> Message:
        message = made(about, name, parent, tag)
        return message._replace(data=message.data.replace(b"vlan\0", b"none\0"))

    monkeypatch.setattr(messages, "add_vlan", unknown)


@pytest.mark.parametrize("what", TAKEN)
def test_anothers_device_stays_as_it_is(what: str, place: Place) -> None:
    act, where, device, kind = TAKEN[what]
    place.ip(where, "link", "add", device, *kind)
    if "veth" in kind or "by a bridge" in what:
        place.ip(where, "link", "set", device, "alias", "mine")
    before = place.state(where, device)
    act(place)
    act(place)
    assert place.state(where, device) == before
    assert place.refused or act is settle_ports


def test_anothers_tap_stays_as_it_is(place: Place) -> None:
    place.ip("hv1", "tuntap", "add", "dev", "p-n1-eth0", "mode", "tap")
    place.ip("hv1", "link", "set", "p-n1-eth0", "alias", "mine")
    before = place.state("hv1", "p-n1-eth0")
    taps(place)
    assert place.state("hv1", "p-n1-eth0") == before
    assert "File exists" in place.refused


def test_no_wire_is_a_port_of_anothers_bridge(place: Place) -> None:
    place.ip("", "link", "add", "office", "type", "bridge")
    place.ip("", "link", "set", "office", "alias", "mine", "up")
    join_bridge(place)
    assert "master office" not in place.ip("", "link", "show")


def test_a_device_of_ours_gets_its_alias_back(place: Place) -> None:
    connect(place)
    spec = place.spec(ETH0)
    (pair,) = wiring.node_pairs(spec, spec.nodes[0], "linux")
    place.ip("n1", "link", "set", "eth0", "alias", "mine")
    Wires(place.host).settle([pair.far])
    assert place.state("n1", "eth0")["ifalias"] == pair.far.alias


def test_what_has_an_alias_unheard_makes_no_room_for_a_macvlan(place: Place) -> None:
    """The kernel does not tell of an alias that a device gets while it is down."""
    place.ip("n1", "link", "add", "eth0", "type", "veth", "peer", "name", "theirs")
    place.ip("n1", "link", "set", "eth0", "alias", "mine")
    before = place.state("n1", "eth0")
    macvlans(place)
    assert place.state("n1", "eth0") == before
    assert place.refused
