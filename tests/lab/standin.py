"""A network namespace that stands for this machine: `eth1` in it leads to one beyond. The real interfaces stay alone.

Enters: commands for its network. Leaves: what it has, to compare; functions and `sdn` commands run in it. Never: a
mount namespace of its own, so that the names of the lab's namespaces are seen from everywhere.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from datapath.linux.namespaces import DIRECTORY
from tests.lab import capture
from tests.lab.capture import Capture
from tests.lab.labs import ROOT, run
from tests.lab.processes import eventually

T = TypeVar("T")

BEYOND_MAC = "02:aa:ff:00:00:77"
_LOOKS = {
    "links": ("-d", "link", "show"),
    "addresses": ("address", "show"),
    "routes": ("route", "show", "table", "all"),
    "routes of IPv6": ("-6", "route", "show", "table", "all"),
    "neighbours": ("neighbour", "show", "nud", "permanent"),
    "neighbours of IPv6": ("-6", "neighbour", "show", "nud", "permanent"),
}
_SETTINGS = ("disable_ipv6", "addr_gen_mode", "accept_dad", "forwarding")
_PASSING = ("ifindex", "link_index", "valid_life_time", "preferred_life_time", "expires")
_count = itertools.count(1)


@dataclass(frozen=True)
class StandIn:
    """`beyond` is the namespace at the other end of `eth1`, whose device is `eth0`."""

    namespace: str
    beyond: str

    def ip(self, *command: str) -> str:
        return run("ip", "-n", self.namespace, *command)

    def ip_beyond(self, *command: str) -> str:
        return run("ip", "-n", self.beyond, *command)

    def inside(self, function: Callable[[], T]) -> T:
        return capture.in_namespace(self.namespace, function)

    def sdn(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command as an operator gives it on the machine."""
        enter = ["nsenter", f"--net={DIRECTORY / self.namespace}", sys.executable, "-m", "sdn.cli.main"]
        return subprocess.run(
            [*enter, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def has(self, device: str = "eth1") -> dict[str, Any]:
        """Everything of a device that an operator sees, but for numbers and times that are others each time."""
        found = {
            name: _lasting(json.loads(self.ip("-j", *look, "dev", device) or "[]")) for name, look in _LOOKS.items()
        }
        return {**found, "settings": self.inside(lambda: _settings(device))}

    def _is_settled(self, device: str) -> bool:
        """IPv6 addresses are usable, and have their routes in table `local`, when a worker of the kernel has seen to
        them: a moment after they are there."""
        own = [each.split("/")[0] for each in self.addresses(device) if ":" in each] if self.is_up(device) else []
        routes = json.loads(self.ip("-6", "-j", "route", "show", "table", "local", "dev", device) or "[]")
        return set(own) <= {route["dst"] for route in routes}

    def addresses(self, device: str) -> list[str]:
        (found,) = json.loads(self.ip("-j", "address", "show", "dev", device))
        return [f"{each['local']}/{each['prefixlen']}" for each in found["addr_info"]]

    def devices(self) -> dict[str, int]:
        """With their numbers."""
        return {each["ifname"]: each["ifindex"] for each in json.loads(self.ip("-j", "link"))}

    def is_up(self, device: str = "eth1") -> bool:
        return "UP" in json.loads(self.ip("-j", "link", "show", device))[0]["flags"]

    @contextmanager
    def capture_beyond(self) -> Iterator[Capture]:
        listening = Capture(self.beyond, "eth0")
        try:
            yield listening
        finally:
            listening.close()


def _lasting(found: Any) -> Any:
    if isinstance(found, list):
        return [_lasting(each) for each in found if each]
    if isinstance(found, dict):
        return {key: _lasting(value) for key, value in found.items() if key not in _PASSING}
    return found


def _settings(device: str) -> dict[str, str]:
    here = Path("/proc/sys/net/ipv6/conf") / device
    return {name: (here / name).read_text().strip() for name in _SETTINGS}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    number = f"sdnt-{os.getpid()}-m{next(_count)}"
    made = StandIn(number, f"{number}x")
    for name in (made.namespace, made.beyond):
        run("ip", "netns", "add", name)
    try:
        made.ip("link", "set", "lo", "up")
        plug(made)
        await_address(made, "eth1")
        made.ip_beyond("address", "add", "192.0.2.1/24", "dev", "eth0")
        made.ip_beyond("address", "add", "fd00:9::1/64", "dev", "eth0", "nodad")
        yield made
    finally:
        for name in (made.namespace, made.beyond):
            run("ip", "netns", "delete", name)


def plug(machine: StandIn, device: str = "eth1", far: str = "eth0") -> None:
    """Another interface, with its other end beyond; both up."""
    peer = ["peer", "name", far, "netns", machine.beyond]
    machine.ip("link", "add", "name", device, "type", "veth", *peer)
    machine.ip_beyond("link", "set", far, "up", *(["address", BEYOND_MAC] if far == "eth0" else []))
    machine.ip("link", "set", device, "up")


def await_address(machine: StandIn, device: str) -> None:
    """Until its link-local address is there, for which looking for duplicates would take more than a second."""
    unique = Path(f"/proc/sys/net/ipv6/conf/{device}/accept_dad")
    machine.ip("link", "set", device, "down")
    machine.inside(lambda: unique.write_text("0"))
    machine.ip("link", "set", device, "up")
    eventually(lambda: len(machine.addresses(device)) == 1 and "tentative" not in machine.ip("address", "show", device))
    machine.inside(lambda: unique.write_text("1"))
