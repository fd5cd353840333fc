"""The compute agent: makes what every HostSpec of a lab says true on this host, and keeps it so.

Enters: HostSpecs, the whole desired state each time. Leaves: namespaces, veths, switches; PortState and ChassisState
events; what others change of it, as Drift events, and put right. Never: an object without our mark changed or removed;
something right touched; state of its own on disk: whoever restarts it, it finds everything by the marks.

The order of `apply` overlaps what takes time: switches start (in threads) while the kernel makes devices, which must
exist before a switch can plug them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datapath.addr import IPInterface, Mac
from datapath.drift import Difference
from datapath.errors import SdnError
from datapath.events import ChassisState, Event, PortState
from datapath.linux import differences, limits, wiring
from datapath.linux.host import Host, Namespace, Wanted
from datapath.linux.joined import MachineUplinks
from datapath.linux.macvlan import Macvlans
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.lookout import Lookout, Sight
from datapath.ovs import control, daemons
from datapath.ovs.switch import OvsSwitch
from datapath.restore import Restorer
from datapath.spec import HostSpec, Interface, Node, SwitchKind, alias, namespace
from datapath.switch import Switch

if TYPE_CHECKING:
    from datapath.guest.guests import Guests
    from datapath.guest.instance import Driver
    from datapath.spec import Driver as DriverName

_THREADS: Final = 32
"""Chassis that are brought up at once; the threads mostly wait for daemons."""

_LOOKS: Final = 3
"""At a chassis' devices until nothing changes any more; otherwise it is looked at again next time."""

CHASSIS_DEVICES: Final = ("veth", "tun", "bridge", "vxlan", "gretap", "vlan")
"""Kinds of devices of ours that a chassis may have, whatever its switch was."""

NODE_DEVICES: Final = ("veth", "vlan", "macvlan", "macvtap")

UPLINKS: Final = "uplinks"
GUESTS: Final = "guests"
"""Where errors and notes of the machine's interfaces and of guests come from."""


@dataclass
class _Chassis:
    """A chassis as it runs. `errors` and `notes` are by where they come from, beside those of its switch."""

    name: str
    kind: SwitchKind
    switch: Switch
    spec: HostSpec | None = None
    interfaces: dict[str, Interface] = field(default_factory=dict)
    errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    taps: dict[str, int] = field(default_factory=dict)
    """Identities of its guests' taps, by name, as the guests were last told."""
    settled: tuple[HostSpec, int] | None = None
    """The spec that was true when last looked at, with the version of the switch then; None after any change."""
    stirred: bool = False
    """Something of it has changed since this `apply` looked at it."""
    reported: ChassisState | None = None

    def is_guests(self, interface: Interface) -> bool:
        return self.spec is not None and any(guest.name == interface.node for guest in self.spec.guests)

    def is_settled(self, spec: HostSpec) -> bool:
        return self.settled is not None and self.settled == (spec, self.switch.version)

    def settle(self) -> None:
        if self.spec is not None and not self.stirred and not self.troubles:
            self.settled = self.spec, self.switch.version

    def unsettle(self) -> None:
        """Before anything is changed: what was true until now must not count as true when it is wished for again."""
        self.settled = None
        self.stirred = False

    def stir(self) -> None:
        self.settled = None
        self.stirred = True

    @property
    def broken(self) -> bool:
        """Whether something else is wrong than its guests."""
        return bool(set(self.troubles) - set(self.errors.get(GUESTS, ())))

    @property
    def troubles(self) -> tuple[str, ...]:
        sources = (*self.errors.values(), *self.switch.errors.values())
        return tuple(error for source in sources for error in source)


@dataclass(frozen=True, slots=True)
class _Settled:
    """A node that was right when last looked at; it still is while neither the wish nor a namespace changes."""

    node: Node
    chassis: str
    home: Namespace
    """The chassis' own, where its bridge ports are."""
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
        self._specs: Mapping[str, HostSpec] = {}
        self._lookout = Lookout(
            self._host, self._sight, self._found, self._after_changes, self._turn.locked, self._hold
        )
        self._restorer = Restorer(on_event, self._restore, self._report_all)
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="chassis")
        self._uplinks = MachineUplinks(lab, run_dir, self._host)
        self._guests: Guests | None = None
        asyncio.get_running_loop().add_reader(self._uplinks.fileno(), self._hear_machine)
        limits.allow_many_files()

    @property
    def work(self) -> tuple[int, int]:
        """Netlink requests and transactions of switches made so far; unchanged by an `apply` of what already is."""
        requests = self._host.sent + self._uplinks.sent
        return requests, sum(chassis.switch.transactions for chassis in self._chassis.values())

    async def apply(self, specs: Mapping[str, HostSpec], *, anew: bool = False) -> None:
        """The whole desired state of the lab, by chassis. Returns when done; what failed is told by ChassisState.
        `anew`: somebody wishes it just now, and what of guests has failed is tried again at once; where it is what was
        wished before, everything is looked at, whatever is known to be right."""
        async with self._turn:
            if anew and specs == self._specs:
                self._doubt("")
            self._specs = specs
            await self._make_true(specs, anew=anew)

    async def _restore(self) -> Mapping[str, tuple[str, ...]]:
        """The same as was wished for last."""
        async with self._turn:
            await self._make_true(self._specs, anew=False)
            return {name: chassis.troubles for name, chassis in self._chassis.items()}

    async def _make_true(self, specs: Mapping[str, HostSpec], *, anew: bool) -> None:
        await asyncio.sleep(0)  # what the kernel has told meanwhile is taken in
        for place in self._host.namespaces.values():
            if place.lost:  # and could not be read at once
                place.hear()
        self._lookout.examine()
        self._restorer.look()
        daemons.template(self.run_dir)
        await self._remove_chassis(specs)
        self._lookout.watch_names()
        failed = self._host.ensure(_foundations(self.lab, specs))
        starts = {name: asyncio.ensure_future(self._start(spec, failed)) for name, spec in specs.items()}
        await asyncio.sleep(0)  # the threads begin
        failed |= self._host.ensure(_homes(specs))
        unsettled = {name: spec for name, spec in specs.items() if not self._is_right(spec)}
        self._remove_unwanted(specs, unsettled.values())
        self._settle_uplinks(specs)
        configured = []
        for name, spec in unsettled.items():
            self._chassis[name].unsettle()
            self._try_to_wire(spec, failed)
            configured.append(asyncio.ensure_future(self._configure(starts[name], self._chassis[name], failed)))
            await asyncio.sleep(0)  # its switch sets to work while the next chassis is wired
        await asyncio.gather(*configured)
        self._settle_guests(specs, anew=anew)
        for name in specs:
            self._conclude(self._chassis[name], name in unsettled, anew)
        self._lookout.look_back(self._is_wrong)
        for name in specs:
            self._take_found(self._chassis[name])

    def _conclude(self, chassis: _Chassis, looked_at: bool, anew: bool) -> None:
        is_tried_again = anew and bool(chassis.errors.get(GUESTS))
        if looked_at or chassis.stirred or is_tried_again:
            self._report(chassis)
        home = self._host.namespaces.get(chassis.spec.namespace) if chassis.spec else None
        if looked_at and home is not None and not home.devices.touched:
            chassis.settle()

    async def run(self) -> None:
        """Until cancelled, or until something fails in a way that nobody foresaw: puts right what others change, and
        renews what expires unused. Deaths are attended to whenever the loop runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._restorer.run(), name="restore")
            group.create_task(self._renew(), name="renew")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(control.NEIGHBOUR_LIFETIME / 2)
            for chassis in list(self._chassis.values()):
                if chassis.spec is not None:
                    await chassis.switch.renew(chassis.spec)

    def close(self) -> None:
        """Lets go; the lab goes on as it is."""
        self._lookout.close()
        if self._guests is not None:
            self._guests.close()
        for chassis in self._chassis.values():
            chassis.switch.close()
        asyncio.get_running_loop().remove_reader(self._uplinks.fileno())
        self._uplinks.close()
        self._host.close()
        self._workers.shutdown()

    # Chassis and namespaces

    def _runtime(self, spec: HostSpec) -> _Chassis:
        found = self._chassis.get(spec.chassis)
        if found is None:
            found = _Chassis(spec.chassis, spec.switch, self._switch(spec.chassis, spec.switch))
            self._chassis[spec.chassis] = found
            # before its switch connects: what it cannot do is not asked of it
            self._on_event(ChassisState(spec.chassis, found.switch.type, (), found.switch.notes))
        if found.spec is not spec:
            found.spec = spec
            found.interfaces = {interface.bridge_port: interface for interface in spec.interfaces}
            self._owners |= {node.namespace: (found, node) for node in spec.nodes}
        return found

    def _switch(self, name: str, kind: SwitchKind) -> Switch:
        def on_change(port: str) -> None:
            self._take(name, port)

        if kind == "linux":
            from datapath.linux.switch import LinuxSwitch

            return LinuxSwitch(self._host, name, on_change)
        return OvsSwitch(self._host, self.run_dir, name, self._workers, on_change)

    async def _remove_chassis(self, specs: Mapping[str, HostSpec]) -> None:
        """Also those that an earlier agent has left, which have a database here, or bridges in their namespace. Where a
        chassis gets another kind of switch, everything of it is made anew: its namespace goes too."""
        self._host.ensure(())
        with_database = {database.parent.name for database in self.run_dir.glob("*/conf.db")}
        bridged = {name for name, spec in specs.items() if name not in with_database and self._is_bridged(spec)}
        for name in with_database | bridged | self._chassis.keys():
            chassis = self._chassis.get(name)
            left: SwitchKind = "linux" if name in bridged else "ovs"
            kind = chassis.kind if chassis else left
            wanted = specs.get(name)
            if wanted is not None and wanted.switch == kind:
                continue
            switch = self._chassis.pop(name).switch if chassis else self._switch(name, kind)
            await switch.remove()
            if wanted is not None:
                self._host.remove({wanted.namespace} & self._host.namespaces.keys())

    def _is_right(self, spec: HostSpec) -> bool:
        chassis = self._chassis[spec.chassis]
        is_right = chassis.switch.is_right(spec)
        return is_right and chassis.is_settled(spec)

    def _is_bridged(self, spec: HostSpec) -> bool:
        """Whether a Linux switch has been at work in its namespace."""
        home = self._host.namespaces.get(spec.namespace)
        mark = alias(self.lab, "")
        devices = home.devices.by_name.values() if home else ()
        return any(device.kind == "bridge" and device.alias.startswith(mark) for device in devices)

    async def _start(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        chassis = self._runtime(spec)
        if chassis.is_settled(spec):
            return
        home = self._host.namespaces.get(spec.namespace)
        chassis.errors["start"] = ()
        try:
            if home is None:
                raise failed[spec.namespace]
            await chassis.switch.start(spec, home)
        except SdnError as error:
            chassis.errors["start"] = (str(error),)

    def _remove_unwanted(self, specs: Mapping[str, HostSpec], unsettled: Iterable[HostSpec]) -> None:
        """Devices first, and on all chassis: the name of a moved node's interface must be free for the new one."""
        wires = Wires(self._host)
        home = namespace(self.lab)
        bridges = list(wiring.bridges(self.lab, specs.values()))
        pairs = [pair for spec in specs.values() for pair in wiring.chassis_pairs(spec, self._type(spec))]
        of_lab = {pair.far.device for pair in pairs} | {bridge.device for bridge in bridges}
        of_lab |= wiring.machine_devices(self.lab, specs.values())
        wires.clear(home, of_lab, ("veth", "bridge"))
        for spec in unsettled:
            own = {pair.near.device for pair in pairs if pair.near.namespace == spec.namespace}
            own |= {interface.bridge_port for interface in spec.interfaces} | wiring.macvlan_devices(spec)
            kept = self._chassis[spec.chassis].switch.devices(spec)
            if kept is not None:
                wires.clear(spec.namespace, own | kept, CHASSIS_DEVICES)
        wanted = {each.name for each in (*_foundations(self.lab, specs), *_homes(specs))}
        self._host.remove(self._host.namespaces.keys() - wanted)
        self._owners = {name: owner for name, owner in self._owners.items() if name in wanted}
        names = {interface.node for spec in specs.values() for interface in spec.interfaces}
        self._settled = {name: settled for name, settled in self._settled.items() if name in names}
        self._reported = {key: state for key, state in self._reported.items() if key[0] in names}
        wires.raise_bridges(bridges)

    # Guests

    def _settle_guests(self, specs: Mapping[str, HostSpec], *, anew: bool = False) -> None:
        """What is imported for them is large, so that labs without any do without it."""
        if self._guests is None:
            if not any(spec.guests for spec in specs.values()) and not (self.run_dir / GUESTS).exists():
                return
            from datapath.guest.guests import Guests

            self._guests = Guests(self.lab, self.run_dir, _driver, self._on_event, self._hear_guests)
        prepared = {name: self._with_guests_as_plugged(spec) for name, spec in specs.items()}
        # one way for the whole lab: a guest that was told of offloads cannot go where there are none
        offloads = all(self._chassis[name].switch.type != "netdev" for name in specs)
        self._guests.settle(prepared, lambda _: offloads, anew=anew)
        for name in specs:
            self._note_guests(name)

    def _with_guests_as_plugged(self, spec: HostSpec) -> HostSpec:
        """An interface is ready for its guest when the switch has it too."""
        chassis = self._chassis[spec.chassis]
        chassis.taps = self._taps(spec)
        guests = []
        for guest in spec.guests:
            found = [_as_plugged(each, chassis.switch, chassis.taps) for each in guest.interfaces]
            guests.append(replace(guest, interfaces=tuple(found)))
        return replace(spec, guests=tuple(guests)) if guests else spec

    def _taps(self, spec: HostSpec) -> dict[str, int]:
        home = self._host.namespaces.get(spec.namespace)
        names = (interface.bridge_port for guest in spec.guests for interface in guest.interfaces)
        return {name: identity for name in names if home and (identity := home.identity(name))}

    def _follow_taps(self, chassis: _Chassis, spec: HostSpec) -> None:
        """A guest whose tap was removed, or made anew, is plugged in vain: it is told."""
        if self._guests is not None and not self._turn.locked() and self._taps(spec) != chassis.taps:
            self._tell_guests()

    def _tell_guests(self) -> None:
        self._settle_guests({each.name: each.spec for each in self._chassis.values() if each.spec})

    def _hear_guests(self, name: str) -> None:
        """Something of a chassis' guests has changed."""
        chassis = self._chassis.get(name)
        if chassis is not None:
            self._note_guests(name)
            self._report(chassis)

    def _note_guests(self, name: str) -> None:
        if self._guests is not None:
            self._chassis[name].errors[GUESTS] = self._guests.errors(name)

    # The machine's own interfaces

    def _settle_uplinks(self, specs: Mapping[str, HostSpec]) -> None:
        self._uplinks.settle(specs)
        self._note_uplinks()

    def _note_uplinks(self) -> None:
        for name, chassis in self._chassis.items():
            chassis.errors[UPLINKS] = self._uplinks.errors.get(name, ())
            chassis.notes[UPLINKS] = self._uplinks.notes.get(name, ())

    def _hear_machine(self) -> None:
        if self._uplinks.hear() and not self._turn.locked():
            self._note_uplinks()
            for chassis in self._chassis.values():
                self._report(chassis)

    # The kernel's part

    def _try_to_wire(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        """What the kernel refuses is noted by `_wire`; what breaks on the way does not stop other chassis either."""
        try:
            self._wire(spec, failed)
        except (OSError, SdnError) as error:
            self._chassis[spec.chassis].errors["kernel"] = (f"the kernel's devices: {error}",)

    def _wire(self, spec: HostSpec, failed: Mapping[str, SdnError]) -> None:
        """The pairs of a chassis and of those of its nodes that may not be right. They are looked at again until
        nothing has changed any more: what somebody else does meanwhile is told together with what we do."""
        unsure = self._unsure(spec)
        for node in unsure:
            self._let_announce(node)
            self._settled.pop(node.name, None)
        home = self._host.namespaces.get(spec.namespace)
        for _ in range(_LOOKS):
            before = self._versions(spec, unsure)
            if home is not None:
                home.devices.touched.clear()
            wires = self._connect(spec, unsure)
            if self._versions(spec, unsure) == before:
                break
        self._note(spec, unsure, wires, failed, before)

    def _connect(self, spec: HostSpec, unsure: list[Node]) -> Wires:
        switch, datapath = self._chassis[spec.chassis].switch, self._type(spec)
        wires = Wires(self._host)
        pairs = wiring.chassis_pairs(spec, datapath)
        pairs += [pair for node in unsure for pair in wiring.node_pairs(spec, node, datapath)]
        switch.lay(spec, wires)
        wires.connect(pairs)
        Trunks(self._host, wires).settle(pair.far for pair in pairs)
        Macvlans(self._host, wires).settle(spec, unsure)
        wires.hold(wiring.taps(spec, datapath))
        switch.plug(spec, wires)
        for node in unsure:
            wires.clear(node.namespace, wiring.node_devices(node), NODE_DEVICES)
        return wires

    def _versions(self, spec: HostSpec, nodes: Iterable[Node]) -> dict[str, int]:
        """Of what is known of the chassis' namespace and of its nodes'."""
        held = self._host.namespaces
        names = (spec.namespace, *(node.namespace for node in nodes))
        return {name: held[name].devices.version for name in names if name in held}

    def _type(self, spec: HostSpec) -> wiring.DatapathType:
        return self._chassis[spec.chassis].switch.type

    def _let_announce(self, node: Node) -> None:
        settled = self._settled.get(node.name)
        if settled is not None and _owners_of_addresses(settled.node) != _owners_of_addresses(node):
            self._host.announce(settled.namespace)

    def _unsure(self, spec: HostSpec) -> list[Node]:
        """Nodes whose wish or devices have changed since they were right."""
        home = self._host.namespaces.get(spec.namespace)
        return [node for node in spec.nodes if home is None or not self._is_settled(spec.chassis, node, home)]

    def _is_settled(self, chassis: str, node: Node, home: Namespace) -> bool:
        settled, touched = self._settled.get(node.name), home.devices.touched
        return (
            settled is not None
            and settled.home is home
            and self._host.namespaces.get(node.namespace) is settled.namespace
            and settled.version == settled.namespace.devices.version
            and settled.chassis == chassis
            and settled.node == node
            and (not touched or touched.isdisjoint(interface.bridge_port for interface in node.interfaces))
        )

    def _note(
        self,
        spec: HostSpec,
        looked_at: list[Node],
        wires: Wires,
        failed: Mapping[str, SdnError],
        versions: Mapping[str, int],
    ) -> None:
        """Remembers what is right now, and what was refused. `versions` are those that were looked at last."""
        chassis = self._chassis[spec.chassis]
        own = (spec.namespace, namespace(self.lab))
        places = (*own, *(node.namespace for node in spec.nodes))
        refusals = [str(refusal) for place in places for refusal in wires.refusals.get(place, ())]
        refusals += [str(failed[place]) for place in places if place in failed]
        chassis.errors["kernel"] = tuple(dict.fromkeys(refusals))
        chassis.notes |= {node.namespace: tuple(wires.notes.get(node.namespace, ())) for node in looked_at}
        chassis.notes = {
            place: notes for place, notes in chassis.notes.items() if notes and place in (*places, UPLINKS)
        }
        blamed = any(wires.refusals.get(place) for place in own)
        home = self._host.namespaces.get(spec.namespace)
        for node in looked_at:
            inside = self._host.namespaces.get(node.namespace)
            if home is None or inside is None or blamed or wires.refusals.get(node.namespace):
                continue
            if versions.get(node.namespace) == inside.devices.version:
                self._settled[node.name] = _Settled(node, spec.chassis, home, inside, inside.devices.version)

    def _watch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().add_reader(watched.channel.fileno(), self._hear, watched)
        self._stir(watched)

    def _unwatch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().remove_reader(watched.channel.fileno())

    def _hear(self, spoken: Namespace) -> None:
        """The kernel tells of a change: it is looked at when all of it has been told, or by the next `apply`."""
        before = spoken.devices.version
        try:
            spoken.hear()
        except (OSError, SdnError):  # what was told is lost: all of it is read by the next look
            self._stir(spoken)
            self._restorer.ask()
            return
        if spoken.devices.version == before:
            return
        self._stir(spoken)
        if self._turn.locked():
            self._repair_in(spoken)
        else:
            self._lookout.examine_soon(spoken)

    def _repair_in(self, place: Namespace) -> None:
        for chassis in self._chassis.values():
            if chassis.spec is not None and chassis.spec.namespace == place.name:
                self._repair(chassis, chassis.spec)

    def _repair(self, chassis: _Chassis, spec: HostSpec) -> None:
        home = self._host.namespaces.get(spec.namespace)
        journal: list[str] = []
        if home is not None and chassis.switch.type == "netdev" and not self._turn.locked():
            self._found(chassis.name, differences.of_vtep(spec, home))
        try:
            if home is not None:
                home.journal = journal
            chassis.switch.hear(spec)
        except (OSError, SdnError) as error:
            chassis.errors["kernel"] = (f"what was changed could not be put right: {error}",)
        finally:
            if home is not None:
                home.journal = None
        if home is not None and chassis.kind == "linux" and not self._turn.locked():
            self._found(chassis.name, differences.of_repair(spec, journal, home))
        self._follow_taps(chassis, spec)
        if not self._turn.locked():
            self._report(chassis)

    def _stir(self, place: Namespace) -> None:
        """What is in a namespace of a chassis, or of one of its nodes, is no longer known to be right."""
        owner = self._owners.get(place.name)
        every = list(self._chassis.values())
        of_it = [owner[0]] if owner else [each for each in every if each.spec and each.spec.namespace == place.name]
        for chassis in of_it or every:  # in the lab's own all have an end
            chassis.stir()

    # What others change

    def _sight(self, place: Namespace) -> Sight:
        """Whose a namespace is."""
        if owner := self._owners.get(place.name):
            chassis, node = owner
            return Sight(f"node {node.name}", (chassis.spec,) if chassis.spec else (), chassis.switch.type, node)
        specs = tuple(chassis.spec for chassis in self._chassis.values() if chassis.spec is not None)
        for spec in specs:
            if spec.namespace == place.name:
                return Sight(f"chassis {spec.chassis}", (spec,), self._type(spec))
        return Sight("the lab", specs)

    def _found(self, name: str, found: Iterable[Difference], when: float = 0.0) -> None:
        """On a chassis, '' for none of them alone; `when` 0 is now. What was taken for right there is so no more."""
        chassis = self._chassis.get(name)
        try:
            differences = list(found)
        except (OSError, SdnError):  # the kernel would not say
            self._doubt(name)
            self._restorer.ask()
            return
        if differences:
            self._doubt(name)
        self._restorer.find(name, differences, chassis.troubles if chassis else (), when)

    def _doubt(self, name: str) -> None:
        """Everything of a chassis is looked at next time; '': of each."""
        for chassis in self._chassis.values() if not name else filter(None, [self._chassis.get(name)]):
            chassis.stir()
            chassis.switch.doubt()
            for node in chassis.spec.nodes if chassis.spec else ():
                self._settled.pop(node.name, None)

    def _hold(self, place: Namespace) -> float:
        """Seconds for which a chassis' namespace is left where a fight is: what is found there is put right at once."""
        sight = self._sight(place)
        return 0.0 if sight.node is not None or not sight.chassis else self._restorer.hold(sight.chassis)

    def _is_wrong(self, name: str) -> bool:
        chassis = self._chassis.get(name)
        return chassis is not None and bool(chassis.troubles)

    def _after_changes(self, place: Namespace, is_gone: bool) -> None:
        """Somebody has changed something in a namespace, or taken its name away."""
        if is_gone:
            self._stir(place)
            return
        self._repair_in(place)
        if owner := self._owners.get(place.name):
            for interface in owner[1].interfaces:
                self._report_port(owner[0], interface)

    # The switch's part

    async def _configure(self, started: Awaitable[None], chassis: _Chassis, failed: Mapping[str, SdnError]) -> None:
        """What the switch does once it has started and its devices are there."""
        await started
        spec = chassis.spec
        if spec is None or chassis.errors.get("start"):
            return
        await chassis.switch.configure(spec, {node.name for node in spec.nodes if node.namespace in failed})

    # Events

    def _take(self, name: str, port: str) -> None:
        """The switch says something of a port, or ('') of itself."""
        chassis = self._chassis.get(name)
        if chassis is None:
            return
        if not self._turn.locked():
            self._take_found(chassis)
        if not port:
            self._report(chassis)
            return
        chassis.stir()
        interface = chassis.interfaces.get(port)
        if interface is not None and not self._turn.locked():
            self._report_port(chassis, interface)
            if self._guests is not None and chassis.is_guests(interface):
                self._tell_guests()

    def _take_found(self, chassis: _Chassis) -> None:
        """What its switch has found, also while something was being done."""
        found, chassis.switch.found = chassis.switch.found, []
        self._found(chassis.name, found)

    def _report_all(self) -> None:
        for chassis in self._chassis.values():
            self._report(chassis)

    def _report(self, chassis: _Chassis) -> None:
        """Events for whatever has changed since it was last told."""
        if chassis.spec is None:
            return
        for interface in chassis.interfaces.values():
            self._report_port(chassis, interface)
        notes = (
            *self._lookout.notes,
            *self._restorer.notes(chassis.name),
            *chassis.switch.notes,
            *(note for of_node in chassis.notes.values() for note in of_node),
        )
        settled = self._guests is None or self._guests.settled(chassis.name)
        state = ChassisState(chassis.name, chassis.switch.type, chassis.troubles, notes, settled, chassis.broken)
        if state != chassis.reported:
            chassis.reported = state
            self._on_event(state)

    def _report_port(self, chassis: _Chassis, interface: Interface) -> None:
        if interface.idle:
            return  # where its guest is, it is told of
        plugged = chassis.switch.plugged(interface)
        up = self._is_up(chassis, interface) and (plugged.there or chassis.kind == "ovs")
        state = PortState(interface.node, interface.name, plugged.ofport, up)
        if self._reported.get((interface.node, interface.name)) != state:
            self._reported[interface.node, interface.name] = state
            self._on_event(state)

    def _is_up(self, chassis: _Chassis, interface: Interface) -> bool:
        if chassis.is_guests(interface):
            attached = self._guests is not None and self._guests.attached(interface.node, interface.name)
            return attached and interface.bridge_port in chassis.taps
        home = self._host.namespaces.get(namespace(self.lab, interface.node))
        device = home.devices.by_name.get(interface.name) if home else None
        return device is not None and device.up


def _driver(name: DriverName) -> Driver:
    """Each is imported where a guest wants it."""
    if name == "libvirt":
        from datapath.guest.libvirt.driver import LibvirtDriver

        return LibvirtDriver()
    from datapath.guest.qemu.machine import QemuDriver

    return QemuDriver()


def _as_plugged(interface: Interface, switch: Switch, taps: Mapping[str, int]) -> Interface:
    ready = interface.ready and interface.bridge_port in taps and _is_plugged(switch, interface)
    return replace(interface, ready=ready, tap=taps.get(interface.bridge_port, 0))


def _is_plugged(switch: Switch, interface: Interface) -> bool:
    """Where a guest arrives, the flows have been made for the number that was asked for."""
    plugged = switch.plugged(interface)
    return plugged.there and (not interface.idle or plugged.ofport in (None, interface.ofport))


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
