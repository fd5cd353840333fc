"""What the kernel tells of bridges, read as it is written: our own requests have the form of its notifications."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from datapath.linux import bridge_messages
from datapath.linux.bridging import ANYONE, PVID, UNTAGGED, Flags
from datapath.linux.forwarding import NTF_MASTER, NTF_SELF, NUD_NOARP, NUD_REACHABLE, Forwarding, parse_port
from datapath.linux.netlink import (
    HEADER,
    NUD_PERMANENT,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Message,
    Notice,
    attribute,
)

BRIDGE, PORT, OTHER = 2, 5, 6
MAC = bytes.fromhex("020000000001")
VTEP = socket.inet_aton("172.31.0.2")


def payload(message: Message) -> bytes:
    return message.data[HEADER.size :]


def entry(port: int, state: int, vid: int = 0, flags: int = NTF_MASTER, vtep: bytes = b"", mac: bytes = MAC) -> bytes:
    """As the kernel tells of a filtering entry."""
    found = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, port, state, flags, 0) + attribute(2, mac)
    found += attribute(9, struct.pack("=I", BRIDGE)) if flags & NTF_MASTER else b""
    found += attribute(1, vtep) if vtep else b""
    return found + (attribute(5, struct.pack("=H", vid)) if vid else b"")


def watched() -> tuple[Forwarding, list[int]]:
    changed: list[int] = []
    return Forwarding(changed.append), changed


@given(st.sets(st.integers(1, 60)), st.none() | st.integers(61, 70))
def test_vlans_come_back_from_their_ranges(tagged: set[int], pvid: int | None) -> None:
    vlans = frozenset((vid, 0) for vid in tagged) | ({(pvid, PVID | UNTAGGED)} if pvid else frozenset())
    index, port = parse_port(payload(bridge_messages.add_vlans("", PORT, vlans)))
    assert (index, port.vlans, port.flags) == (PORT, vlans, None)


@given(st.builds(Flags, *[st.booleans()] * 6))
def test_flags_come_back(flags: Flags) -> None:
    assert parse_port(payload(bridge_messages.set_flags("", PORT, flags)))[1].flags == flags


def test_a_port_that_is_none_any_more() -> None:
    known, changed = watched()
    known.fold(Notice(RTM_NEWLINK, payload(bridge_messages.set_flags("", PORT, Flags()))))
    known.fold(Notice(RTM_NEWLINK, payload(bridge_messages.set_flags("", PORT, Flags()))))
    assert changed == [PORT], "only what is new"
    known.fold(Notice(RTM_DELLINK, struct.pack("=BxHiII", socket.AF_BRIDGE, 0, PORT, 0, 0)))
    assert (known.ports, changed) == ({}, [PORT, PORT])


def test_what_a_bridge_learns_by_itself_is_its_own_business() -> None:
    known, changed = watched()
    known.fold(Notice(RTM_NEWNEIGH, entry(PORT, NUD_REACHABLE)))
    known.fold(Notice(RTM_NEWNEIGH, entry(PORT, NUD_PERMANENT)))  # the MAC of a port
    known.fold(Notice(RTM_DELNEIGH, entry(PORT, NUD_REACHABLE)))
    assert not any(known.known.values())
    assert not changed


def test_an_entry_that_moves_ages_or_goes() -> None:
    known, changed = watched()
    known.fold(Notice(RTM_NEWNEIGH, entry(PORT, NUD_NOARP, 20)))
    assert known.known[BRIDGE] == {(20, MAC): PORT}
    known.fold(Notice(RTM_NEWNEIGH, entry(OTHER, NUD_NOARP, 20)))
    known.fold(Notice(RTM_DELNEIGH, entry(PORT, NUD_NOARP, 20)))
    assert known.known[BRIDGE] == {(20, MAC): OTHER}, "it is not the one that went"
    known.fold(Notice(RTM_NEWNEIGH, entry(OTHER, NUD_REACHABLE, 20)))
    assert known.known[BRIDGE] == {}, "it would age now"
    assert changed == [PORT, OTHER, OTHER]


def test_a_tunnel_has_many_for_everyone_and_one_for_each_mac() -> None:
    known, _ = watched()
    other = socket.inet_aton("172.31.0.3")
    for vtep in (VTEP, other):
        for mac in (ANYONE, MAC):
            known.fold(Notice(RTM_NEWNEIGH, payload(bridge_messages.set_remote("", PORT, mac, vtep))))
    assert known.remotes[PORT] == {(ANYONE, VTEP): VTEP, (ANYONE, other): other, (MAC, b""): other}
    known.fold(Notice(RTM_DELNEIGH, entry(PORT, 0, flags=NTF_SELF, vtep=VTEP, mac=ANYONE)))
    assert known.remotes[PORT] == {(ANYONE, other): other, (MAC, b""): other}


def test_only_permanent_neighbours_are_ours() -> None:
    known, changed = watched()
    address = socket.inet_aton("10.0.0.1")
    told = payload(bridge_messages.set_neighbour("", PORT, address, MAC))
    known.fold(Notice(RTM_NEWNEIGH, told))
    assert known.neighbours[PORT] == {address: MAC}
    asked = struct.pack("=BxxxiHBB", socket.AF_INET, PORT, NUD_REACHABLE, 0, 0) + told[12:]
    known.fold(Notice(RTM_NEWNEIGH, asked))
    assert known.neighbours[PORT] == {}
    known.fold(Notice(RTM_NEWNEIGH, asked))
    assert changed == [PORT, PORT]
