"""Which switch a chassis gets, and which one an earlier agent has left it.

Enters: names of chassis with the kinds of their switches. Leaves: Switch objects, which nobody has started yet. Never:
a change of anything on the host; what these switches do, they do themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from datapath.linux.host import Host
from datapath.ovs.switch import OvsSwitch
from datapath.spec import HostSpec, SwitchKind, alias
from datapath.switch import Switch

_THREADS: Final = 32
"""Chassis that are brought up at once; the threads mostly wait for daemons."""


class Switches:
    """In the event loop `on_change` is called with a chassis and one of its ports, or '' for the switch itself, and
    `on_recovery` when one goes on that had not answered in time."""

    def __init__(
        self, host: Host, run_dir: Path, on_change: Callable[[str, str], None], on_recovery: Callable[[], None]
    ) -> None:
        self._host = host
        self._run_dir = run_dir
        self._on_change = on_change
        self._on_recovery = on_recovery
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="chassis")

    def make(self, chassis: str, kind: SwitchKind) -> Switch:
        def on_change(port: str) -> None:
            self._on_change(chassis, port)

        if kind == "linux":
            from datapath.linux.switch import LinuxSwitch  # labs without any do without it

            return LinuxSwitch(self._host, chassis, on_change)
        return OvsSwitch(self._host, self._run_dir, chassis, self._workers, on_change, self._on_recovery)

    def left(self, specs: Mapping[str, HostSpec]) -> dict[str, SwitchKind]:
        """By chassis, also of those that nobody wishes any more: one with a database here had Open vSwitch, one with
        bridges in its namespace the kernel's."""
        found: dict[str, SwitchKind] = {path.parent.name: "ovs" for path in self._run_dir.glob("*/conf.db")}
        bridged = [name for name, spec in specs.items() if name not in found and self._is_bridged(spec)]
        return found | dict.fromkeys(bridged, "linux")

    def _is_bridged(self, spec: HostSpec) -> bool:
        """Whether a Linux switch has been at work in its namespace."""
        home = self._host.namespaces.get(spec.namespace)
        mark = alias(self._host.lab, "")
        devices = home.devices.by_name.values() if home else ()
        return any(device.kind == "bridge" and device.alias.startswith(mark) for device in devices)

    def close(self) -> None:
        self._workers.shutdown()
