"""What may be done with an interface of the machine, and how it is said."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from datapath.errors import ConflictError, MachineError
from datapath.linux.uplink import Found, bridge_name, describe, screen, trouble
from datapath.spec import Uplink

UPLINK = Uplink("office", "up-office", 16, 1500, "phy-office", "eth1", moves_addresses=True)
REFUSES = replace(UPLINK, moves_addresses=False)
FREE = Found("eth1", index=2, mtu=1500, up=True)
USED = replace(FREE, addresses=("192.0.2.7/24",), routes=("default via 192.0.2.1",))


@pytest.mark.parametrize(
    ("uplink", "found", "kind", "words"),
    [
        (UPLINK, Found("eth1", others=("eth0", "lo")), MachineError, "no interface eth1; it has: eth0"),
        (UPLINK, replace(FREE, loopback=True), ConflictError, "lo leads nowhere"),
        (UPLINK, replace(FREE, master="br0"), ConflictError, "a port of br0"),
        (UPLINK, replace(FREE, master="x", holder="sdn:b:office"), ConflictError, "physnet office of lab b"),
        (UPLINK, replace(FREE, master="x", holder="sdn:a:floor"), ConflictError, "physnet floor of lab a"),
        (REFUSES, USED, ConflictError, "in use by this machine: 192.0.2.7/24, route default via 192.0.2.1"),
        (REFUSES, replace(USED, addresses=()), ConflictError, "route default via 192.0.2.1"),
        (UPLINK, replace(USED, hindrances=("policy rule iif eth1",)), ConflictError, "policy rule iif eth1"),
        (UPLINK, replace(FREE, mtu=1400), ConflictError, "carries 1400 bytes, physnet office wants 1500"),
    ],
)
def test_in_the_way(uplink: Uplink, found: Found, kind: type, words: str) -> None:
    problem = trouble("a", uplink, found)
    assert type(problem) is kind
    assert words in problem.message
    assert problem.remedy
    assert describe("a", uplink, found) == f"refused: {problem.message}"


@pytest.mark.parametrize(
    ("uplink", "found"),
    [
        (REFUSES, FREE),
        (UPLINK, USED),
        (UPLINK, replace(USED, master="sdn-a-office", holder="sdn:a:office")),
        (REFUSES, replace(FREE, hindrances=("policy rule iif eth1",))),
    ],
)
def test_may_be_had(uplink: Uplink, found: Found) -> None:
    assert trouble("a", uplink, found) is None


def test_said_in_the_plan() -> None:
    bridge = bridge_name("a", "office")
    assert describe("a", UPLINK, USED) == (
        f"interface eth1 joins physnet office; its address 192.0.2.7/24 and 1 route move to bridge {bridge} "
        "and come back with `sdn down`"
    )
    assert describe("a", UPLINK, FREE) == "interface eth1 joins physnet office"
    assert "down again" in describe("a", UPLINK, replace(FREE, up=False))


def notification(name: str, index: int) -> bytes:
    """The head of an RTM_NEWLINK as the kernel sends it."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 3) + text + bytes(-len(text) % 4)
    return struct.pack("=IHHII", 0, 16, 0, 0, 0) + struct.pack("=BxHiII", 0, 1, index, 0, 0) + attribute + bytes(900)


def passes(program: bytes, packet: bytes) -> bool:
    """Carries out classic BPF, as far as the screen uses it."""
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == 0x06:
            return bool(value)
        if code == 0x15:
            at += yes if accumulator == value else no
        else:
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            accumulator = int.from_bytes(packet[value : value + size], "big")


@pytest.mark.parametrize("name", ["lo", "eth1", "eth12", "sdn-lab-office", "a.b"])
def test_screen_passes_what_is_watched(name: str) -> None:
    program = screen(["eth1", "sdn-lab-office", "lo"], [7, 0x01020304])
    assert passes(program, notification(name, 1)) == (name in ("eth1", "sdn-lab-office", "lo"))
    assert passes(program, notification(name, 7))
    assert passes(program, notification(name, 0x01020304))


def test_screen_of_nothing() -> None:
    assert not passes(screen([], []), notification("eth1", 1))
