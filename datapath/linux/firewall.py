"""The firewall of one Linux chassis: guard and forwarding, in its namespace.

Enters: the chassis' HostSpec and its bridges as they shall be. Leaves: nftables and the kernel's settings so. Never: a
setting of another namespace. It comes before devices are set up, or even there: rules go by their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from datapath.errors import SdnError
from datapath.linux import forward, guard
from datapath.linux.bridging import Bridging
from datapath.linux.host import Host, Namespace
from datapath.linux.nft import Tables
from datapath.linux.places import places
from datapath.spec import HostSpec

_BRIDGED_PASS: Final = {
    f"/proc/sys/net/bridge/bridge-nf-call-{table}": "0" for table in ("arptables", "iptables", "ip6tables")
}
"""Frames that are bridged are none of the IP tables' business, whatever the kernel's default is."""
_ARP: Final = {
    "/proc/sys/net/ipv4/conf/all/arp_ignore": "1",
    "/proc/sys/net/ipv4/conf/all/arp_announce": "2",
}
"""In each network only its own address of the chassis is known (kernel, ip-sysctl)."""
_FORWARD: Final = "/proc/sys/net/ipv4/ip_forward"


class Firewall:
    """Of one chassis. `version` grows when somebody else changes it, of which `on_change` is told; the next `settle`
    puts it right. `errors` are those of the last one."""

    def __init__(self, host: Host, on_change: Callable[[], None]) -> None:
        self.errors: tuple[str, ...] = ()
        self.transactions = 0
        self.version = 0
        self._host = host
        self._on_change = on_change
        self._home: Namespace | None = None
        self._tables: Tables | None = None
        self._settings: dict[str, str] = {}

    def settle(self, spec: HostSpec, home: Namespace, bridging: Bridging) -> None:
        """What cannot be done is in `errors`: no device of the chassis may be set up then."""
        of = places(spec, bridging)
        self.errors = of.errors
        wanted = (
            guard.ruleset(spec.lab, spec.chassis, of.plugs, of.far),
            forward.ruleset(spec.lab, spec.chassis, of.legs, of.own),
        )
        try:
            tables = self._in(home)
            self.transactions += tables.put(*wanted)
            self._set(home, _BRIDGED_PASS | _ARP | {_FORWARD: "1" if forward.forwards(of.legs) else "0"})
        except (SdnError, OSError) as error:
            self.errors = (*of.errors, f"firewall: {error}")

    def close(self) -> None:
        """Lets go; all of it stays as it is."""
        if self._tables is not None:
            with suppress(RuntimeError):  # without a loop nobody listened
                asyncio.get_running_loop().remove_reader(self._tables.fileno())
            self._tables.close()
        self._tables = self._home = None
        self._settings = {}

    def _in(self, home: Namespace) -> Tables:
        """Those of the namespace, which may have been made anew under the old name."""
        if self._tables is not None and self._home is home:
            return self._tables
        self.close()
        made: list[Tables] = []
        self._host.visit(home, lambda: made.append(Tables()))
        (self._tables,) = made
        self._home = home
        with suppress(RuntimeError):  # no loop: whoever asks hears
            asyncio.get_running_loop().add_reader(self._tables.fileno(), self._hear)
        return self._tables

    def _hear(self) -> None:
        if self._tables is None:
            return
        before = self._tables.version
        self._tables.hear()
        if self._tables.version != before:
            self.version += 1
            self._on_change()

    def _set(self, home: Namespace, settings: dict[str, str]) -> None:
        """Of what it is known to be only what differs."""
        changes = {file: value for file, value in settings.items() if self._settings.get(file) != value}
        if changes:
            self._host.visit(home, partial(_write, changes))
            self._settings = settings


def _write(settings: dict[str, str]) -> None:
    for file, value in settings.items():
        with suppress(FileNotFoundError):  # a kernel without br_netfilter
            Path(file).write_text(value)
