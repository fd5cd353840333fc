"""Open vSwitch as the switch of one chassis: its daemons, its database, and what its userspace tunnels must be told.

Enters: a HostSpec. Leaves: daemons and rows so; what the switch says of its ports. Never: a flow, which is the
controller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

from datapath.drift import Difference
from datapath.errors import SdnError
from datapath.linux import wiring
from datapath.linux.devices import raw
from datapath.linux.host import Host, Namespace
from datapath.linux.wires import Wires
from datapath.linux.wiring import DatapathType
from datapath.ovs import control, daemons, kind, rows
from datapath.ovs.daemons import DaemonName, Place
from datapath.ovs.pair import Pair
from datapath.ovs.replica import PortFact, Watcher
from datapath.spec import UNDERLAY_BRIDGE, HostSpec, Interface, Underlay
from datapath.switch import Plugged

_LOOKS: Final = 3
"""At the vtep until nothing changes any more; otherwise it is looked at again next time."""


class OvsSwitch:
    """In the event loop `on_change` is called with the name of a port, or '' for anything else, and `on_recovery` when
    it goes on, having not answered in time: what it was not told is for the next look."""

    def __init__(
        self,
        host: Host,
        run_dir: Path,
        chassis: str,
        workers: Executor,
        on_change: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self.errors: dict[str, tuple[str, ...]] = {}
        self.found: list[Difference] = []
        self._host = host
        self._run_dir = run_dir
        self._workers = workers
        self._on_change = on_change
        self._spec: HostSpec | None = None
        self._interfaces: dict[str, Interface] = {}
        self._facts: dict[str, PortFact] = {}
        self._home: Namespace | None = None
        self._told: Underlay | None = None
        """The underlay that the switch was told of."""
        self._lost = False
        """The vtep was without its address since then."""
        loop = asyncio.get_running_loop()

        def on_port(port: str, fact: PortFact | None) -> None:
            loop.call_soon_threadsafe(self._take, port, fact)

        def on_difference(differences: list[Difference]) -> None:
            loop.call_soon_threadsafe(self._differ, differences)

        def on_follow() -> None:
            loop.call_soon_threadsafe(on_recovery)

        watcher = Watcher(on_port, on_difference, on_follow)
        self._pair = Pair(Place(run_dir / chassis), host.lab, workers, watcher, self._after_restart, self._on_trouble)

    @property
    def type(self) -> DatapathType:
        return kind.choose().type

    @property
    def notes(self) -> tuple[str, ...]:
        return (kind.choose().reason,)

    @property
    def version(self) -> int:
        return self._pair.version

    @property
    def transactions(self) -> int:
        return self._pair.switch.transactions if self._pair.switch else 0

    def devices(self, _spec: HostSpec) -> set[str]:
        """Its own it makes itself; the one with the vtep's address has our mark, and is a tap like those of guests."""
        return {UNDERLAY_BRIDGE}

    def is_right(self, _spec: HostSpec) -> bool:
        return True  # its database tells of every change

    def doubt(self) -> None:
        if self._pair.switch is not None:
            self._pair.switch.doubt()

    async def start(self, spec: HostSpec, home: Namespace) -> None:
        """Raises SdnError."""
        if spec is not self._spec:
            self._spec = spec
            self._interfaces = {interface.bridge_port: interface for interface in spec.interfaces}
        if home is not self._home:  # its daemons start anew there
            self._home, self._told, self._lost = home, None, False
        bridges = rows.bridges(spec, self.type, self._pair.place.directory)
        await self._pair.ensure(home, daemons.template(self._run_dir), bridges)

    def lay(self, spec: HostSpec, wires: Wires) -> None:
        """Nothing: its bridges are rows."""

    def plug(self, spec: HostSpec, wires: Wires) -> None:
        """Nothing: its ports are rows."""

    async def configure(self, spec: HostSpec, without: set[str]) -> None:
        """The rows, and then what needs the devices that the switch makes."""
        switch = self._pair.switch
        if switch is None:
            return
        bridges = rows.bridges(spec, self.type, self._pair.place.directory)
        home = self._host.namespaces.get(spec.namespace)
        indexes = {name: device.index for name, device in home.devices.by_name.items()} if home else {}
        ports = rows.ports(spec, self.type, indexes, without)
        others = {name for name, index in indexes.items() if home and index not in home.ours}
        ports = {name: row for name, row in ports.items() if name not in others or not rows.is_plugged(row)}
        before = self.transactions
        try:
            loop = asyncio.get_running_loop()
            taken = await loop.run_in_executor(self._workers, switch.reconcile, bridges, ports)
        except SdnError as error:
            self.errors["switch"] = (str(error),)
            return
        self.errors["switch"] = tuple(
            f"{name}: a bridge or port of this name is not ours; it was left alone\n  remedy: ovs-vsctl del-port {name}"
            for name in taken
        )
        if self.transactions != before:
            self._raise_again(spec, without)
        await self._settle_underlay(spec)

    def _raise_again(self, spec: HostSpec, without: set[str]) -> None:
        """Where a device was made anew under its old name: vswitchd, letting go of the old one, takes back by name the
        flags that it had set, and with them the new one's up (OVS 3.1, netdev_restore_flags())."""
        home = self._host.namespaces.get(spec.namespace)
        if home is None:
            return
        home.hear()
        pairs = wiring.chassis_pairs(spec, self.type)
        for node in spec.nodes:
            if node.name not in without:
                pairs += wiring.node_pairs(spec, node, self.type)
        wires = Wires(self._host)
        wires.settle([*(pair.near for pair in pairs), *wiring.taps(spec, self.type)])
        self.errors["switch"] += tuple(str(refusal) for refusal in wires.refusals.get(spec.namespace, []))

    async def renew(self, spec: HostSpec) -> None:
        """Tunnel neighbours."""
        await self._settle_underlay(spec, renew=True)

    async def _settle_underlay(self, spec: HostSpec, *, renew: bool = False) -> None:
        """With the userspace datapath: the vtep's address on the switch's own device, its route and its neighbours."""
        if self.type != "netdev":
            return
        if home := self._host.namespaces.get(spec.namespace):
            home.hear()  # of the device, which the switch has just made
            self._keep_vtep(spec, home)
        if self._told == spec.underlay and not renew and not self._lost:
            return
        lost, self._lost = self._lost, False
        tell = partial(control.set_underlay, self._pair.place.control, spec.underlay, self._told, anew=lost)
        try:
            await asyncio.get_running_loop().run_in_executor(self._workers, tell)
        except SdnError as error:
            self._lost = lost
            self.errors["underlay"] = (str(error),)
        else:
            self._told = spec.underlay
            self.errors["underlay"] = ()

    def hear(self, spec: HostSpec) -> None:
        """A vtep that has lost its address gets it at once."""
        home = self._host.namespaces.get(spec.namespace)
        if self.type == "netdev" and home is not None:
            self._settle_vtep(spec, home)

    def _keep_vtep(self, spec: HostSpec, home: Namespace) -> None:
        """Once more if its address is gone again when that is done."""
        for _ in range(_LOOKS):
            before = home.devices.version
            self._settle_vtep(spec, home)
            if home.devices.version == before:
                return

    def _settle_vtep(self, spec: HostSpec, home: Namespace) -> None:
        end, wires = wiring.underlay_end(spec), Wires(self._host)
        device = home.devices.by_name.get(end.device)
        if device and self._told and raw(spec.underlay.vtep) not in home.devices.addresses(device):
            self._lost = True
        wires.settle([end])
        self.errors["vtep"] = tuple(str(refusal) for refusal in wires.refusals.get(spec.namespace, []))

    def plugged(self, interface: Interface) -> Plugged:
        fact = self._facts.get(interface.bridge_port)
        ofport = fact.ofport if fact is not None and fact.ofport != -1 else None
        return Plugged(ofport is not None, ofport)

    def close(self) -> None:
        self._pair.close()

    async def remove(self) -> None:
        """Also daemons that an earlier agent has left."""
        await self._pair.remove()

    # What it says

    def _take(self, port: str, fact: PortFact | None) -> None:
        """The switch says something of a port."""
        if fact is None:
            self._facts.pop(port, None)
        else:
            self._facts[port] = fact
        self.errors["ports"] = tuple(f"{self._label(port)}: {f.error}" for port, f in self._facts.items() if f.error)
        self._on_change(port)

    def _differ(self, differences: list[Difference]) -> None:
        self.found += differences
        self._on_change("")

    def _label(self, port: str) -> str:
        interface = self._interfaces.get(port)
        return f"{interface.node}:{interface.name}" if interface else port

    async def _after_restart(self, daemon: DaemonName) -> None:
        if daemon == "ovs-vswitchd" and self._spec is not None:
            self._told, self._lost = None, False
            await self._settle_underlay(self._spec)

    def _on_trouble(self) -> None:
        self.errors["daemons"] = tuple(self._pair.trouble.values())
        self._on_change("")
