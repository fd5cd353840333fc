"""The compute agent: makes what every HostSpec of a lab says true on this host, and keeps it so.

Enters: HostSpecs, the whole desired state each time. Leaves: namespaces, veths, switch daemons and rows; PortState
and ChassisState events. Never: an object without our mark changed or removed; something right touched; state of its
own on disk: whoever restarts it, it finds everything by the marks.

The order of `apply` overlaps what takes time: the daemons start (in threads) while the kernel makes devices, which
must exist before their rows do; a vtep on the device of a userspace switch gets its address last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from datapath.addr import IPInterface, Mac
from datapath.errors import SdnError
from datapath.events import ChassisState, Event, PortState
from datapath.linux import limits, wiring
from datapath.linux.host import Host, Namespace, Wanted
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.ovs import control, daemons, kind, rows
from datapath.ovs.daemons import DaemonName, Place
from datapath.ovs.database import PortFact
from datapath.ovs.pair import Pair
from datapath.spec import HostSpec, Interface, Node, Underlay, namespace

_THREADS: Final = 32
"""Chassis that are brought up at once; the threads mostly wait for daemons."""


@dataclass
class _Chassis:
    """A chassis as it runs. `errors` and `notes` are by where they come from."""

    name: str
    pair: Pair
    spec: HostSpec | None = None
    facts: dict[str, PortFact] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    told: Underlay | None = None
    """The underlay that its switch was told of."""
    settled: tuple[HostSpec, int] | None = None
    """The spec that was true when last looked at, with the version of the switch's rows then; None after any change."""
    stirred: bool = False
    """Something of it has changed since this `apply` looked at it."""
    reported: ChassisState | None = None

    def is_settled(self, spec: HostSpec) -> bool:
        return self.settled is not None and self.settled == (spec, self.pair.version)

    def settle(self) -> None:
        if self.spec is not None and not self.stirred and not any(self.errors.values()):
            self.settled = self.spec, self.pair.version

    def stir(self) -> None:
        self.settled = None
        self.stirred = True


@dataclass(frozen=True, slots=True)
class _Settled:
    """A node that was right when last looked at; it still is while neither the wish nor its namespace changes."""

    node: Node
    chassis: str
    namespace: Namespace
    version: int


class Agent:
    """Of all emulated chassis of one lab. Made, used and closed in one event loop, in the main thread."""

    def __init__(self, lab: str, run_dir: Path, on_event: Callable[[Event], None]) -> None:
        self.lab = lab
        self.run_dir = run_dir
        self._on_event = on_event
        self._host = Host(lab, self._watch, self._unwatch)
        self._chassis: dict[str, _Chassis] = {}
        self._settled: dict[str, _Settled] = {}
        self._reported: dict[tuple[str, str], PortState] = {}
        self._owners: dict[str, tuple[_Chassis, Node]] = {}
        self._turn = asyncio.Lock()
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="chassis")
        limits.allow_many_files()

    @property
    def work(self) -> tuple[int, int]:
        """Netlink requests and OVSDB transactions made so far; unchanged by an `apply` of what already is."""
        switches = [chassis.pair.switch for chassis in self._chassis.values()]
        return self._host.sent, sum(switch.transactions for switch in switches if switch)

    async def apply(self, specs: Mapping[str, HostSpec]) -> None:
        """The whole desired state of the lab, by chassis. Returns when done; what failed is told by ChassisState."""
        async with self._turn:
            await asyncio.sleep(0)  # what the kernel has told meanwhile is taken in
            daemons.template(self.run_dir)
            await self._remove_chassis(specs)
            failed = self._host.ensure(_foundations(self.lab, specs))
            starts = {name: asyncio.ensure_future(self._start(spec, failed)) for name, spec in specs.items()}
            await asyncio.sleep(0)  # the threads begin
            failed |= self._host.ensure(_homes(specs))
            unsettled = {name: spec for name, spec in specs.items() if not self._chassis[name].is_settled(spec)}
            self._remove_unwanted(specs, unsettled.values())
            configured = []
            for name, spec in unsettled.items():
                self._chassis[name].stirred = False
                self._try_to_wire(spec, failed)
                configured.append(asyncio.ensure_future(self._configure(starts[name], self._chassis[name], failed)))
                await asyncio.sleep(0)  # its switch sets to work while the next chassis is wired
            await asyncio.gather(*configured)
            for name in specs:
                self._conclude(self._chassis[name], name in unsettled)

    def _conclude(self, chassis: _Chassis, looked_at: bool) -> None:
        if looked_at or chassis.stirred:
            self._report(chassis)
        home = self._host.namespaces.get(chassis.spec.namespace) if chassis.spec else None
        if looked_at and home is not None and not home.devices.touched:
            chassis.settle()

    async def run(self) -> None:
        """Until cancelled: renews what expires unused. Deaths and changes are attended to whenever the loop runs."""
        while True:
            await asyncio.sleep(control.NEIGHBOUR_LIFETIME / 2)
            for chassis in list(self._chassis.values()):
                await self._settle_underlay(chassis, renew=True)

    def close(self) -> None:
        """Lets go; the lab goes on as it is."""
        for chassis in self._chassis.values():
            chassis.pair.close()
        self._host.close()
        self._workers.shutdown()

    # Chassis and namespaces

    def _runtime(self, spec: HostSpec) -> _Chassis:
        found = self._chassis.get(spec.chassis)
        if found is None:
            found = self._chassis[spec.chassis] = _Chassis(spec.chassis, self._pair(spec.chassis))
        if found.spec is not spec:
            found.spec = spec
            found.interfaces = {interface.bridge_port: interface for interface in spec.interfaces}
            self._owners |= {node.namespace: (found, node) for node in spec.nodes}
        return found

    def _pair(self, name: str) -> Pair:
        loop = asyncio.get_running_loop()

        def on_port(port: str, fact: PortFact | None) -> None:
            loop.call_soon_threadsafe(self._take, name, port, fact)

        async def after_restart(daemon: DaemonName) -> None:
            if daemon == "ovs-vswitchd":
                self._chassis[name].told = None
                await self._settle_underlay(self._chassis[name])

        def on_trouble() -> None:
            chassis = self._chassis[name]
            chassis.errors["daemons"] = tuple(chassis.pair.trouble.values())
            self._report(chassis)

        place = Place(self.run_dir / name)
        return Pair(place, self.lab, self._workers, on_port, after_restart, on_trouble)

    async def _remove_chassis(self, specs: Mapping[str, HostSpec]) -> None:
        """Also those that an earlier agent has left, which have a database here."""
        left = {database.parent.name for database in self.run_dir.glob("*/conf.db")} | self._chassis.keys()
        for name in left - specs.keys():
            chassis = self._chassis.pop(name, None)
            pair = chassis.pair if chassis else self._pair(name)
            await pair.remove()

    async def _start(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        chassis = self._runtime(spec)
        if chassis.is_settled(spec):
            return
        home = self._host.namespaces.get(spec.namespace)
        chassis.errors["start"] = ()
        try:
            if home is None:
                raise failed[spec.namespace]
            bridges = rows.bridges(spec, kind.choose().type, chassis.pair.place.directory)
            await chassis.pair.ensure(home, daemons.template(self.run_dir), bridges)
        except SdnError as error:
            chassis.errors["start"] = (str(error),)

    def _remove_unwanted(self, specs: Mapping[str, HostSpec], unsettled: Iterable[HostSpec]) -> None:
        """Devices first, and on all chassis: the name of a moved node's interface must be free for the new one."""
        wires = Wires(self._host)
        home = namespace(self.lab)
        bridges = list(wiring.bridges(self.lab, specs.values()))
        pairs = [pair for spec in specs.values() for pair in wiring.chassis_pairs(spec, kind.choose().type)]
        wires.clear(
            home, {pair.far.device for pair in pairs} | {bridge.device for bridge in bridges}, ("veth", "bridge")
        )
        for spec in unsettled:
            own = {pair.near.device for pair in pairs if pair.near.namespace == spec.namespace}
            wires.clear(spec.namespace, own | {interface.bridge_port for interface in spec.interfaces})
        wanted = {each.name for each in (*_foundations(self.lab, specs), *_homes(specs))}
        self._host.remove(self._host.namespaces.keys() - wanted)
        self._owners = {name: owner for name, owner in self._owners.items() if name in wanted}
        names = {node.name for spec in specs.values() for node in spec.nodes}
        self._settled = {name: settled for name, settled in self._settled.items() if name in names}
        self._reported = {key: state for key, state in self._reported.items() if key[0] in names}
        wires.raise_bridges(bridges)

    # The kernel's part

    def _try_to_wire(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        """What the kernel refuses is noted by `_wire`; what breaks on the way does not stop other chassis either."""
        try:
            self._wire(spec, failed)
        except (OSError, SdnError) as error:
            self._chassis[spec.chassis].errors["kernel"] = (f"the kernel's devices: {error}",)

    def _wire(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        """The pairs of a chassis and of those of its nodes that may not be right."""
        datapath = kind.choose().type
        wires = Wires(self._host)
        unsure = self._unsure(spec)
        pairs = wiring.chassis_pairs(spec, datapath)
        pairs += [pair for node in unsure for pair in wiring.node_pairs(spec, node, datapath)]
        for node in unsure:
            self._let_announce(node)
        wires.connect(pairs)
        Trunks(self._host, wires).settle(pair.far for pair in pairs)
        for node in unsure:
            wires.clear(node.namespace, wiring.node_devices(node), ("veth", "vlan"))
        self._note(spec, unsure, wires, failed)

    def _let_announce(self, node: Node) -> None:
        settled = self._settled.get(node.name)
        if settled is not None and _owners_of_addresses(settled.node) != _owners_of_addresses(node):
            self._host.announce(settled.namespace)

    def _unsure(self, spec: HostSpec) -> list[Node]:
        """Nodes whose wish or devices have changed since they were right."""
        home = self._host.namespaces.get(spec.namespace)
        touched = home.devices.touched if home else set()
        return [node for node in spec.nodes if not self._is_settled(spec.chassis, node, touched)]

    def _is_settled(self, chassis: str, node: Node, touched: set[str]) -> bool:
        settled = self._settled.get(node.name)
        return (
            settled is not None
            and self._host.namespaces.get(node.namespace) is settled.namespace
            and settled.version == settled.namespace.devices.version
            and settled.chassis == chassis
            and settled.node == node
            and (not touched or touched.isdisjoint(interface.bridge_port for interface in node.interfaces))
        )

    def _note(self, spec: HostSpec, looked_at: list[Node], wires: Wires, failed: Mapping[str, SdnError]) -> None:
        """Remembers what is right now, and what was refused."""
        chassis = self._chassis[spec.chassis]
        own = (spec.namespace, namespace(self.lab))
        places = (*own, *(node.namespace for node in spec.nodes))
        refusals = [str(refusal) for place in places for refusal in wires.refusals.get(place, ())]
        refusals += [str(failed[place]) for place in places if place in failed]
        chassis.errors["kernel"] = tuple(dict.fromkeys(refusals))
        chassis.notes |= {node.namespace: tuple(wires.notes.get(node.namespace, ())) for node in looked_at}
        chassis.notes = {place: notes for place, notes in chassis.notes.items() if notes and place in places}
        blamed = any(wires.refusals.get(place) for place in own)
        for node in looked_at:
            home = self._host.namespaces.get(node.namespace)
            if home is not None and not blamed and not wires.refusals.get(node.namespace):
                self._settled[node.name] = _Settled(node, spec.chassis, home, home.devices.version)
        if not blamed and spec.namespace in self._host.namespaces:
            self._host.namespaces[spec.namespace].devices.touched.clear()

    def _watch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().add_reader(watched.channel.fileno(), self._hear, watched)
        self._stir(watched)

    def _unwatch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().remove_reader(watched.channel.fileno())

    def _hear(self, spoken: Namespace) -> None:
        """The kernel tells of a change: the next `apply` looks at it; a vtep that has lost its address gets it now."""
        before = spoken.devices.version
        spoken.hear()
        if spoken.devices.version == before:
            return
        self._stir(spoken)
        owner = self._owners.get(spoken.name)
        if owner is not None:
            chassis, node = owner
            for interface in node.interfaces if not self._turn.locked() else ():
                self._report_port(chassis, interface)
            return
        for chassis in self._chassis.values():
            if chassis.spec is not None and chassis.spec.namespace == spoken.name:
                self._address_vtep(chassis)

    def _stir(self, place: Namespace) -> None:
        """What is in a namespace of a chassis, or of one of its nodes, is no longer known to be right."""
        owner = self._owners.get(place.name)
        every = list(self._chassis.values())
        of_it = [owner[0]] if owner else [each for each in every if each.spec and each.spec.namespace == place.name]
        for chassis in of_it or every:  # in the lab's own all have an end
            chassis.stir()

    # The switch's part

    async def _configure(self, started: Awaitable[None], chassis: _Chassis, failed: Mapping[str, SdnError]) -> None:
        """The rows of a chassis once its daemons are there, and then what needs the devices that the switch makes."""
        await started
        spec, switch = chassis.spec, chassis.pair.switch
        if spec is None or switch is None or chassis.errors.get("start"):
            return
        datapath = kind.choose().type
        without = {node.name for node in spec.nodes if node.namespace in failed} if failed else set()
        bridges = rows.bridges(spec, datapath, chassis.pair.place.directory)
        home = self._host.namespaces.get(spec.namespace)
        indexes = {name: device.index for name, device in home.devices.by_name.items()} if home else {}
        ports = rows.ports(spec, datapath, indexes, without)
        chassis.errors["switch"] = ()
        try:
            loop = asyncio.get_running_loop()
            taken = await loop.run_in_executor(self._workers, switch.reconcile, bridges, ports)
        except SdnError as error:
            chassis.errors["switch"] = (str(error),)
            return
        chassis.errors["switch"] = tuple(
            f"{name}: a bridge or port of this name is not ours; it was left alone\n  remedy: ovs-vsctl del-port {name}"
            for name in taken
        )
        await self._settle_underlay(chassis)

    async def _settle_underlay(self, chassis: _Chassis, *, renew: bool = False) -> None:
        """With the userspace datapath: the vtep's address on the switch's own device, its route and its neighbours."""
        spec = chassis.spec
        if spec is None or kind.choose().type != "netdev":
            return
        if home := self._host.namespaces.get(spec.namespace):
            home.hear()  # of the device, which the switch has just made
        self._address_vtep(chassis)
        if chassis.told == spec.underlay and not renew:
            return
        tell = partial(control.set_underlay, chassis.pair.place.control, spec.underlay, chassis.told)
        try:
            await asyncio.get_running_loop().run_in_executor(self._workers, tell)
        except SdnError as error:
            chassis.errors["underlay"] = (str(error),)
        else:
            chassis.told = spec.underlay
            chassis.errors["underlay"] = ()

    def _address_vtep(self, chassis: _Chassis) -> None:
        if chassis.spec is not None and kind.choose().type == "netdev":
            wires = Wires(self._host)
            wires.settle([wiring.underlay_end(chassis.spec)])
            refusals = wires.refusals.get(chassis.spec.namespace, [])
            chassis.errors["vtep"] = tuple(str(refusal) for refusal in refusals)

    # Events

    def _take(self, name: str, port: str, fact: PortFact | None) -> None:
        """The switch says something of a port."""
        chassis = self._chassis.get(name)
        if chassis is None:
            return
        if fact is None:
            chassis.facts.pop(port, None)
        else:
            chassis.facts[port] = fact
        chassis.stir()
        interface = chassis.interfaces.get(port)
        if interface is not None and not self._turn.locked():
            self._report_port(chassis, interface)

    def _report(self, chassis: _Chassis) -> None:
        """Events for whatever has changed since it was last told."""
        if chassis.spec is None:
            return
        for interface in chassis.interfaces.values():
            self._report_port(chassis, interface)
        errors = [error for source in chassis.errors.values() for error in source]
        errors += [f"{self._label(chassis, port)}: {fact.error}" for port, fact in chassis.facts.items() if fact.error]
        choice = kind.choose()
        notes = (choice.reason, *(note for of_node in chassis.notes.values() for note in of_node))
        state = ChassisState(chassis.name, choice.type, tuple(errors), notes)
        if state != chassis.reported:
            chassis.reported = state
            self._on_event(state)

    def _label(self, chassis: _Chassis, port: str) -> str:
        interface = chassis.interfaces.get(port)
        return f"{interface.node}:{interface.name}" if interface else port

    def _report_port(self, chassis: _Chassis, interface: Interface) -> None:
        fact = chassis.facts.get(interface.bridge_port)
        ofport = fact.ofport if fact is not None and fact.ofport != -1 else None
        state = PortState(interface.node, interface.name, ofport, self._is_up(interface))
        if self._reported.get((interface.node, interface.name)) != state:
            self._reported[interface.node, interface.name] = state
            self._on_event(state)

    def _is_up(self, interface: Interface) -> bool:
        home = self._host.namespaces.get(namespace(self.lab, interface.node))
        device = home.devices.by_name.get(interface.name) if home else None
        return device is not None and device.up


def _foundations(lab: str, specs: Mapping[str, HostSpec]) -> list[Wanted]:
    """The namespaces of the lab itself and of its chassis."""
    return [Wanted(namespace(lab), "", "lab"), *(Wanted(s.namespace, s.chassis, "chassis") for s in specs.values())]


def _homes(specs: Mapping[str, HostSpec]) -> list[Wanted]:
    """The namespaces of nodes."""
    return [Wanted(node.namespace, node.name, "node") for spec in specs.values() for node in spec.nodes]


def _owners_of_addresses(node: Node) -> set[tuple[Mac, IPInterface]]:
    return {
        (interface.mac, address)
        for interface in node.interfaces
        for addresses in (interface.addresses, *(vlan.addresses for vlan in interface.vlans))
        for address in addresses
    }
