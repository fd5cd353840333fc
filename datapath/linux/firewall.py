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
from typing import Final, NamedTuple

from datapath.errors import SdnError
from datapath.linux import forward, guard
from datapath.linux.bridging import Bridging
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import Message, Refusal
from datapath.linux.nft import Tables
from datapath.linux.places import WayOut, places
from datapath.linux.ruleset import Ruleset
from datapath.spec import HostSpec

_IP_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")


class _Wish(NamedTuple):
    spec: HostSpec
    bridging: Bridging
    tables: tuple[Ruleset, ...]
    forwards: bool
    way_out: WayOut | None
    errors: tuple[str, ...]


class Firewall:
    """Of one chassis. `version` grows when somebody else changes it, of which `on_change` is told; the next `settle`
    puts it right. `errors` are those of the last one."""

    def __init__(self, host: Host, on_change: Callable[[], None]) -> None:
        self.errors: tuple[str, ...] = ()
        self.changes: tuple[str, ...] = ()
        """What somebody else has changed last, in words."""
        self.transactions = 0
        self.version = 0
        self._host = host
        self._on_change = on_change
        self._home: Namespace | None = None
        self._tables: Tables | None = None
        self._forwards: bool | None = None
        self._wish: _Wish | None = None

    def settle(self, spec: HostSpec, home: Namespace, bridging: Bridging) -> bool:
        """Whether it is in place: if not, no device may get into a bridge. What cannot be done is in `errors`."""
        wish = self._wish_for(spec, bridging)
        self.errors = wish.errors
        try:
            self.transactions += self._in(home).put(*wish.tables)
            self._forward(home, wish.forwards)
        except (SdnError, OSError) as error:
            self.errors = (*wish.errors, f"firewall: {error}")
            return False
        return True

    def _wish_for(self, spec: HostSpec, bridging: Bridging) -> _Wish:
        """Of a chassis that is looked at again it need not be made again."""
        if self._wish is None or self._wish.spec is not spec or self._wish.bridging is not bridging:
            of = places(spec, bridging)
            tables = (
                guard.ruleset(spec.lab, spec.chassis, of.plugs, of.far),
                forward.ruleset(spec.lab, spec.chassis, of.legs, of.own),
            )
            self._wish = _Wish(spec, bridging, tables, forward.forwards(of.legs), of.way_out, of.errors)
        return self._wish

    def lead(self, spec: HostSpec, home: Namespace, bridging: Bridging) -> list[Refusal]:
        """The chassis' own default route, once its devices are up; what of it was refused."""
        way_out = self._wish_for(spec, bridging).way_out
        batch: list[Message] = []
        for name in set(bridging.homes.values()):
            device = home.devices.by_name.get(name)
            if device is not None and device.up and device.index in home.ours:
                gateway = way_out.gateway if way_out is not None and way_out.device == name else None
                batch += home.lead(device.alias, device.index, gateway)
        return home.send(batch) if batch else []

    def close(self) -> None:
        """Lets go; all of it stays as it is."""
        if self._tables is not None:
            with suppress(RuntimeError):  # without a loop nobody listened
                asyncio.get_running_loop().remove_reader(self._tables.fileno())
            self._tables.close()
        self._tables = self._home = None
        self._forwards = None

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
            self.changes = self._tables.changes
            self._on_change()

    @property
    def settings(self) -> dict[str, str]:
        """Of the kernel, as they were written last."""
        return {} if self._forwards is None else {str(_IP_FORWARD): "1" if self._forwards else "0"}

    def forget_settings(self) -> None:
        """Somebody has changed them: the next `settle` writes them again."""
        self._forwards = None

    def _forward(self, home: Namespace, on: bool) -> None:
        """Only where a network needs it, and in the chassis' namespace only."""
        if on != self._forwards:
            self._host.visit(home, partial(_write, "1" if on else "0"))
            self._forwards = on


def _write(value: str) -> None:
    """In a thread within the namespace."""
    _IP_FORWARD.write_text(value)
