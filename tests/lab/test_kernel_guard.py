"""The guard on a kernel that has everything: one bridge with VLANs, where tagged frames come in as they are.

The frames of test_linux_guard.py once more with a tag, by a trunk whose tag the bridge filters. All of a kind go in one
test: the machine is slow where its processor is emulated.
"""

from __future__ import annotations

import pytest

from tests.lab import test_hopping
from tests.lab.conftest import Labs
from tests.lab.frames import Dot1Q, Ether, Packet, datagram, received, token
from tests.lab.labs import Lab
from tests.lab.test_linux_guard import (
    FORGED,
    HONEST,
    ON_LINUX,
    STRICTER,
    UNANSWERED,
    TestTrunk,
)
from tests.lab.test_ports import tagged

pytestmark = [pytest.mark.lab, pytest.mark.machine]

__all__ = ["TestTrunk"]

TAG = 20
TAGGED = """
chassis: {hv1: {datapath: linux}, hv2: {datapath: linux}}
networks:
  web: {segment: {vxlan: 100}, subnets: [10.0.0.0/24, "fd00::/64"]}
  db: {segment: {nvgre: 5000}, subnets: [10.0.1.0/24, "fd00:1::/64"], mtu: 1450}
nodes:
  fw1: {chassis: hv1, trunk: {native: web, 20: db}}
  fw2: {chassis: hv1, trunk: {20: db}}
  fw3: {chassis: hv2, trunk: {native: web, 20: db}}
  free: {chassis: hv1, trunk: {20: db}, spoof_guard: false}
  web1: {network: web, chassis: hv1}
  db[1-2]: {network: db, chassis: hv1}
  db3: {network: db, chassis: hv2}
"""
ON_WIRE = ("priority-tag", "service-tag", "llc-snap")
"""Frames that are about the tag themselves."""


@pytest.fixture(scope="module")
def ports(shared_lab: Labs) -> Lab:
    return shared_lab(ON_LINUX.replace("vxlan: 5000", "nvgre: 5000"))


@pytest.fixture(scope="module")
def trunks(shared_lab: Labs) -> Lab:
    return shared_lab(TAGGED)


@pytest.fixture(scope="module")
def hopping(shared_lab: Labs) -> Lab:
    return shared_lab(
        test_hopping.TOPOLOGY.replace("{hv1: {}, hv2: {}}", "{hv1: {datapath: linux}, hv2: {datapath: linux}}")
    )


test_two_tags_from_a_port_through_a_tunnel = test_hopping.test_from_a_port_through_a_tunnel
test_two_tags_from_beyond_an_uplink = test_hopping.test_from_beyond_an_uplink


def with_tag(frame: Packet, tag: int = TAG, kind: int = 0x8100) -> Packet:
    inner = frame.copy()
    return Ether(src=inner.src, dst=inner.dst, type=kind) / Dot1Q(vlan=tag, type=inner.type) / inner.payload


def arrives(lab: Lab, frame: Packet, mark: bytes, source: str = "fw1", at: str = "db1") -> bool:
    here, there, end = tagged(lab, source, "db"), tagged(lab, at, "db"), token()
    with lab.capture(at) as node:
        lab.send(source, frame, with_tag(datagram(here, there, end)))
        node.wait(received(end))
        return bool(node.matching(received(mark)))


def test_the_tag_comes_in_by_the_port_itself(trunks: Lab) -> None:
    """No VLAN device: else what is below would be what test_linux_guard.py shows."""
    shown = trunks.execute("hv1", "nft", "list", "map", "bridge", "sdn", "port_tagged")
    assert shown.count(f"{TAG} . ") == 3


def test_forged_is_dropped(trunks: Lab) -> None:
    here, there, end = tagged(trunks, "fw1", "db"), tagged(trunks, "db1", "db"), token()
    marks = {what: token() for what in (*FORGED, *STRICTER) if what not in ON_WIRE}
    frames = [with_tag((FORGED | STRICTER)[what](here, there, mark)) for what, mark in marks.items()]
    with trunks.capture("db1") as node:
        trunks.send("fw1", *frames, with_tag(datagram(here, there, end)))
        node.wait(received(end))
        assert [what for what, mark in marks.items() if node.matching(received(mark))] == []


@pytest.mark.parametrize("source", ["fw1", "fw2"])
def test_honest_passes(trunks: Lab, source: str) -> None:
    here, there, end = tagged(trunks, source, "db"), tagged(trunks, "db1", "db"), token()
    marks = {what: token() for what in (*HONEST, *UNANSWERED)}
    frames = [with_tag((HONEST | UNANSWERED)[what](here, there, mark)) for what, mark in marks.items()]
    with trunks.capture("db1") as node:
        trunks.send(source, *frames, with_tag(datagram(here, there, end)))
        node.wait(received(end))
        assert [what for what, mark in marks.items() if not node.matching(received(mark))] == []


@pytest.mark.parametrize("at", ["db1", "db3"])
@pytest.mark.parametrize("kind", [0x8100, 0x88A8])
def test_two_tags(trunks: Lab, kind: int, at: str) -> None:
    for source in ("fw1", "free"):
        mark = token()
        frame = datagram(tagged(trunks, source, "db"), tagged(trunks, at, "db"), mark)
        twice = with_tag(with_tag(frame, TAG), TAG, kind)
        assert not arrives(trunks, twice, mark, source, at)


@pytest.mark.parametrize("tag", [0, 21, 100, 4095])
@pytest.mark.parametrize("kind", [0x8100, 0x88A8])
def test_other_tags(trunks: Lab, kind: int, tag: int) -> None:
    for source in ("fw1", "free"):
        mark = token()
        frame = datagram(tagged(trunks, source, "db"), tagged(trunks, "db1", "db"), mark)
        assert not arrives(trunks, with_tag(frame, tag, kind), mark, source)


def test_untagged_on_a_trunk_without_a_native_network(trunks: Lab) -> None:
    mark = token()
    assert not arrives(trunks, datagram(tagged(trunks, "fw2", "db"), tagged(trunks, "db1", "db"), mark), mark, "fw2")


def test_each_network_has_its_own_addresses(trunks: Lab) -> None:
    """The native network's address in the tagged one, and the other way."""
    native = next(port for port in trunks.model.ports.values() if port.node == "fw1" and port.network == "web")
    of_db, web1, mark, end = tagged(trunks, "fw1", "db"), tagged(trunks, "web1", "web"), token(), token()
    assert not arrives(trunks, with_tag(datagram(native, tagged(trunks, "db1", "db"), mark)), mark)
    with trunks.capture("web1") as node:
        trunks.send("fw1", datagram(of_db, web1, mark), datagram(native, web1, end))
        node.wait(received(end))
        assert not node.matching(received(mark))


def test_without_the_guard_all_passes(trunks: Lab) -> None:
    for what in ("ipv4-unspecified", "na-behind-routing", "arp-gratuitous"):
        mark = token()
        frame = FORGED[what](tagged(trunks, "free", "db"), tagged(trunks, "db1", "db"), mark)
        assert arrives(trunks, with_tag(frame), mark, "free")


def test_all_is_reached(trunks: Lab) -> None:
    assert trunks.mesh() == []
