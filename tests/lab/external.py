"""Machines that are not the lab's: a namespace of the test's own, on a wire to one of the lab's Linux bridges.

Enters: a lab that is up, the name of a bridge in its own namespace. Leaves: a `Machine`. Never: a device of the lab
is changed; what is made here goes with the `with` block.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from datapath.linux.offload import switch_off
from tests.lab import capture
from tests.lab.capture import Capture
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually

if TYPE_CHECKING:
    from scapy.packet import Packet

T = TypeVar("T")

DEVICE = "eth0"
_count = itertools.count(1)


@dataclass(frozen=True)
class Machine:
    """A namespace with one interface, `eth0`."""

    namespace: str
    mac: str

    def ip(self, *command: str) -> str:
        """`ip` in its namespace."""
        return run("ip", "-n", self.namespace, *command)

    def send(self, *frames: Packet | bytes, device: str = DEVICE) -> None:
        capture.send(self.namespace, device, frames)

    @contextmanager
    def capture(self, device: str = DEVICE) -> Iterator[Capture]:
        listening = Capture(self.namespace, device)
        try:
            yield listening
        finally:
            listening.close()

    def inside(self, function: Callable[[], T]) -> T:
        return capture.in_namespace(self.namespace, function)


@contextmanager
def machine(lab: Lab, bridge: str, mac: str, addresses: Sequence[str] = (), mtu: int = 1500) -> Iterator[Machine]:
    """On the Linux bridge of the lab's own namespace, up, with the addresses (`10.0.0.1/24`) on its interface.

    It computes checksums itself: the userspace switch behind the bridge reads frames as they are.
    """
    made = Machine(f"sdnt-{os.getpid()}-x{next(_count)}", mac)
    near = f"sdntx{next(_count)}"
    run("ip", "netns", "add", made.namespace)
    try:
        far = ["peer", "name", DEVICE, "mtu", str(mtu), "address", mac, "netns", made.namespace]
        run("ip", "-n", lab.namespace(), "link", "add", "name", near, "mtu", str(mtu), "type", "veth", *far)
        run("ip", "-n", lab.namespace(), "link", "set", near, "master", bridge, "up")
        made.inside(_compute_checksums)
        made.ip("link", "set", "lo", "up")
        for address in addresses:
            made.ip("address", "add", address, "dev", DEVICE, *(["nodad"] if ":" in address else []))
        made.ip("link", "set", DEVICE, "up")
        yield made
    finally:
        run("ip", "netns", "delete", made.namespace)


def await_forwarding(namespace: str, bridge: str) -> None:
    """Until all ports of a bridge forward: the kernel notices a carrier a little after it is there."""

    def states() -> set[str]:
        ports = json.loads(run("bridge", "-n", namespace, "-j", "link"))
        return {port["state"] for port in ports if port.get("master") == bridge}

    eventually(lambda: states() == {"forwarding"})


def _compute_checksums() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        switch_off(any_socket.fileno(), DEVICE)
