"""Frames on a device of another namespace, read and sent raw; decoded by scapy.

Enters: a namespace and a device. Leaves: scapy packets, in the order in which they passed. Never: this process's own
network namespace is left, a thread listens, or a clock is waited for where a frame can be.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from datapath.linux.namespaces import DIRECTORY, inside
from tests.machine.pace import PATIENCE

if TYPE_CHECKING:
    from scapy.packet import Packet

T = TypeVar("T")

ETH_P_ALL: Final = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA: Final = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
TP_STATUS_VLAN_VALID = 1 << 4
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 << 20
PACKET_OUTGOING = 4

Wanted = Callable[["Packet"], bool]


def in_namespace(namespace: str, function: Callable[[], T]) -> T:
    """What `function` returns inside the namespace, in a thread of its own."""

    def visit() -> T:
        with (DIRECTORY / namespace).open("rb") as file, inside(file.fileno()):
            return function()

    with ThreadPoolExecutor(1) as worker:
        return worker.submit(visit).result()


def packet_socket(namespace: str, device: str, protocol: int = ETH_P_ALL) -> socket.socket:
    """Hears and sends whole frames of a device; with protocol 0 it hears nothing. Raises OSError."""
    made = in_namespace(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    made.bind((device, protocol))
    return made


def send(namespace: str, device: str, frames: Sequence[Packet | bytes]) -> None:
    """Put the frames on the wire as they are. Raises OSError (EMSGSIZE beyond the device's MTU)."""
    with packet_socket(namespace, device, 0) as wire:
        for frame in frames:
            wire.send(bytes(frame))


class Capture:
    """What passes a device from the moment the object is there. `seen` grows with each look."""

    def __init__(self, namespace: str, device: str) -> None:
        self.where = f"{namespace}:{device}"
        self.seen: list[Packet] = []
        """`direction` of each is "out" where this end of the device sent it, "in" where it received it."""
        self._socket = packet_socket(namespace, device)

    def close(self) -> None:
        self._socket.close()

    def wait(self, wanted: Wanted, count: int = 1, timeout: float = 5.0 * PATIENCE) -> list[Packet]:
        """The first packets that are wanted, at least `count` of them. Raises AssertionError with what came instead."""
        deadline = time.monotonic() + timeout
        while len(found := [packet for packet in self.seen if wanted(packet)]) < count:
            if not select.select([self._socket], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"{len(found)} of {count} within {timeout} s on {self.where}; seen:\n{self}")
            self._read()
        return found

    def matching(self, wanted: Wanted) -> list[Packet]:
        """Those that have come so far. To show that something does not come, wait for what comes after it."""
        while select.select([self._socket], [], [], 0)[0]:
            self._read()
        return [packet for packet in self.seen if wanted(packet)]

    def forget(self) -> None:
        """What has come so far is of no interest any more."""
        self.matching(bool)
        self.seen.clear()

    def write(self, path: Path) -> Path:
        """A pcap of what has been seen."""
        from scapy.utils import wrpcap

        path.parent.mkdir(parents=True, exist_ok=True)
        wrpcap(str(path), self.seen or [b""], linktype=1)
        return path

    def __str__(self) -> str:
        return "\n".join(f"  {packet.direction} {packet.summary()}" for packet in self.seen) or "  nothing"

    def _read(self) -> None:
        from scapy.layers.l2 import Ether

        frame, ancillary, _, address = self._socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))
        packet = Ether(_with_tag(frame, ancillary))
        packet.time = time.time()
        packet.direction = "out" if address[2] == PACKET_OUTGOING else "in"
        self.seen.append(packet)


def _with_tag(frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The kernel keeps the VLAN tag of a received frame beside it: put it back where it was on the wire."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                return frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
    return frame
