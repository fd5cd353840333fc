"""The compute agent: makes what every HostSpec of a lab says true on this host, and keeps it so.

Enters: HostSpecs, the whole desired state each time. Leaves: namespaces, veths, switches; PortState and ChassisState
events; what others change of it, as Drift events, and put right. Never: an object without our mark changed or removed;
something right touched; state of its own on disk: whoever restarts it, it finds everything by the marks.

The road of a wish, `Agent._make_true`, and who walks which part of it:

    what was told meanwhile    hearing.py, findings.py, restore.py
    chassis, namespaces        roster.py, linux/host.py
    devices                    cabling.py, linux/joined.py       ┐ switches start (in threads) while the kernel makes
    switches                   switches.py, turns.py, ovs/       ┘ devices, which must exist before one can plug them
    guests                     plugged.py, guest/
    facts                      reports.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from datapath.cabling import Cabling
from datapath.chassis import GUESTS, LATE, UPLINKS, Chassis
from datapath.errors import SdnError
from datapath.events import Event
from datapath.findings import Findings
from datapath.hearing import Hearing
from datapath.linux import limits
from datapath.linux.host import Host, Namespace, Wanted
from datapath.linux.joined import MachineUplinks
from datapath.ovs import control, daemons
from datapath.plugged import PluggedGuests
from datapath.reports import Reports
from datapath.restore import Restorer
from datapath.roster import Roster
from datapath.spec import HostSpec, Node, namespace
from datapath.switches import Switches
from datapath.turns import Turns


class Agent:
    """Of all emulated chassis of one lab. Made, used and closed in one event loop, in the main thread."""

    def __init__(self, lab: str, run_dir: Path, on_event: Callable[[Event], None]) -> None:
        self.lab = lab
        self.run_dir = run_dir
        self._specs: Mapping[str, HostSpec] = {}
        self._turn = asyncio.Lock()
        self._host = Host(lab, self._watch, self._unwatch)
        self._restorer = Restorer(on_event, self._restore, self._report_all)
        switches = Switches(self._host, run_dir, self._hear_switch, self._restorer.ask)
        self._roster = Roster(self._host, switches)
        self._turns = Turns(self._ended_late)
        self._cabling = Cabling(self._host)
        self._uplinks = MachineUplinks(lab, run_dir, self._host)
        self._guests = PluggedGuests(run_dir, self._host, on_event, self._hear_guests)
        self._findings = Findings(self._roster, self._cabling, self._restorer)
        self._hearing = Hearing(self._host, self._roster, self._findings, self._turn.locked, self._tell)
        self._reports = Reports(self._host, self._guests, self._notes, on_event)
        asyncio.get_running_loop().add_reader(self._uplinks.fileno(), self._hear_machine)
        limits.allow_many_files()

    @property
    def work(self) -> tuple[int, int]:
        """Netlink requests and transactions of switches made so far; unchanged by an `apply` of what already is."""
        requests = self._host.sent + self._uplinks.sent
        return requests, sum(chassis.switch.transactions for chassis in self._roster)

    async def apply(self, specs: Mapping[str, HostSpec], *, anew: bool = False) -> None:
        """The whole desired state of the lab, by chassis. Returns when done; what failed is told by ChassisState.
        `anew`: somebody wishes it just now, and what of guests has failed is tried again at once; where it is what was
        wished before, everything is looked at, whatever is known to be right."""
        async with self._turn:
            if anew and specs == self._specs:
                self._findings.doubt("")
                self._host.doubt()
            self._specs = specs
            await self._make_true(specs, anew=anew)

    async def _restore(self) -> Mapping[str, tuple[str, ...]]:
        """The same as was wished for last."""
        async with self._turn:
            await self._make_true(self._specs, anew=False)
            return {each.name: each.troubles or ((LATE,) if each.late else ()) for each in self._roster}

    async def run(self) -> None:
        """Until cancelled, or until something fails in a way that nobody foresaw: puts right what others change, and
        renews what expires unused. Deaths are attended to whenever the loop runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._restorer.run(), name="restore")
            group.create_task(self._renew(), name="renew")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(control.NEIGHBOUR_LIFETIME / 2)
            for chassis in self._roster:
                await chassis.switch.renew(chassis.spec)

    def close(self) -> None:
        """Lets go; the lab goes on as it is."""
        self._hearing.close()
        self._guests.close()
        self._turns.close()
        self._reports.close()
        self._roster.close()
        asyncio.get_running_loop().remove_reader(self._uplinks.fileno())
        self._uplinks.close()
        self._host.close()

    # The road of a wish

    async def _make_true(self, specs: Mapping[str, HostSpec], *, anew: bool) -> None:
        await self._catch_up()
        daemons.template(self.run_dir)
        await self._roster.remove_unwanted(specs)
        self._hearing.watch_names()
        foundations, homes = _foundations(self.lab, specs), _homes(specs)
        failed = self._host.ensure(foundations)
        every = [self._wish(spec) for spec in specs.values()]
        starts = self._start_switches(every, failed)
        await asyncio.sleep(0)  # the threads begin
        failed |= self._host.ensure(homes)
        unsettled = [chassis for chassis in every if not chassis.is_right()]
        self._remove_unwanted(every, unsettled, {each.name for each in (*foundations, *homes)})
        self._uplinks.settle(specs)
        self._note_uplinks()
        begun = await self._build(unsettled, starts, failed)
        await self._turns.wait(begun, alone=len(every) == 1)
        self._guests.settle(every, anew=anew)
        self._conclude(every, unsettled, anew)

    async def _catch_up(self) -> None:
        """With what the kernel has told meanwhile, and what switches have done."""
        await asyncio.sleep(0)
        self._turns.collect()
        self._hearing.catch_up()
        self._restorer.look()

    def _wish(self, spec: HostSpec) -> Chassis:
        is_new = spec.chassis not in self._roster
        chassis = self._roster.wish(spec)
        if is_new:
            self._reports.introduce(chassis)
        return chassis

    def _start_switches(
        self, every: Sequence[Chassis], failed: Mapping[str, SdnError]
    ) -> dict[Chassis, Awaitable[None]]:
        """Those that are not at work still."""
        free = self._turns.free(every)
        return {chassis: asyncio.ensure_future(self._start(chassis, failed)) for chassis in free}

    async def _start(self, chassis: Chassis, failed: Mapping[str, SdnError]) -> None:
        if chassis.is_settled:
            return
        spec, home = chassis.spec, self._host.namespaces.get(chassis.spec.namespace)
        try:
            if home is None:
                raise failed[spec.namespace]
            await chassis.switch.start(spec, home)
        except SdnError as error:
            chassis.errors["start"] = (str(error),)
        else:
            chassis.errors["start"] = ()

    def _remove_unwanted(self, every: Sequence[Chassis], unsettled: Sequence[Chassis], wanted: set[str]) -> None:
        """Devices first, then namespaces that are not among the `wanted`, and what is remembered of who had them."""
        specs = {chassis.name: chassis.spec for chassis in every}
        self._cabling.clear(every, unsettled)
        self._host.remove(self._host.namespaces.keys() - wanted)
        nodes = {interface.node for spec in specs.values() for interface in spec.interfaces}
        self._roster.keep(wanted)
        self._cabling.keep(nodes)
        self._reports.keep(every, nodes)
        self._cabling.raise_bridges(every)

    async def _build(
        self, unsettled: Sequence[Chassis], starts: Mapping[Chassis, Awaitable[None]], failed: Mapping[str, SdnError]
    ) -> list[Chassis]:
        """Those whose switches have set to work; one that is at work still gets what is wished now by a later look."""
        begun = []
        for chassis in unsettled:
            chassis.unsettle()
            is_cabled = self._cabling.connect(chassis, failed)
            if not is_cabled:
                self._restorer.ask_later()
            if started := starts.get(chassis):
                self._turns.begin(chassis, self._configure(started, chassis, failed, is_cabled))
                begun.append(chassis)
            await asyncio.sleep(0)  # it sets to work while the devices of the next chassis are made
        return begun

    async def _configure(
        self, started: Awaitable[None], chassis: Chassis, failed: Mapping[str, SdnError], is_cabled: bool
    ) -> None:
        """What the switch does once it has started and its devices are there. It lets go of those that are not known to
        be ours, which is any of them where `connect` broke."""
        await started
        if is_cabled and not chassis.errors.get("start"):
            lacking = {node.name for node in chassis.spec.nodes if node.namespace in failed}
            await chassis.switch.configure(chassis.spec, lacking)

    def _conclude(self, every: Sequence[Chassis], unsettled: Sequence[Chassis], anew: bool) -> None:
        """Facts out; what others did meanwhile is found and put right by the next look."""
        for chassis in every:
            self._conclude_one(chassis, chassis in unsettled, anew)
        self._hearing.look_back()
        for chassis in every:
            self._findings.take(chassis)

    def _conclude_one(self, chassis: Chassis, looked_at: bool, anew: bool) -> None:
        is_tried_again = anew and bool(chassis.errors.get(GUESTS))
        if looked_at or chassis.stirred or is_tried_again:
            self._reports.report(chassis)
        home = self._host.namespaces.get(chassis.spec.namespace)
        if looked_at and home is not None and not home.devices.touched:
            chassis.settle()

    def _ended_late(self, chassis: Chassis) -> None:
        """Its switch has answered after all, or will not: it is told, and looked at again, or its successor is."""
        if (now := self._roster.get(chassis.name)) is not None:
            self._reports.report(now)
            self._restorer.ask()

    # What is told at any time

    def _watch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().add_reader(watched.channel.fileno(), self._hearing.hear, watched)
        self._roster.stir(watched)

    def _unwatch(self, watched: Namespace) -> None:
        asyncio.get_running_loop().remove_reader(watched.channel.fileno())

    def _tell(self, chassis: Chassis, node: Node | None) -> None:
        """The kernel has told of a change, in a node or in a chassis' own namespace."""
        if node is None and not self._turn.locked() and self._guests.has_other_taps(chassis):
            self._guests.follow(self._roster)
        if self._is_told_later(chassis):
            return
        if node is not None:
            for interface in node.interfaces:
                self._reports.report_port(chassis, interface)
        elif not self._turn.locked():
            self._reports.report(chassis)

    def _hear_switch(self, name: str, port: str) -> None:
        """It says something of a port, or ('') of itself."""
        chassis = self._roster.get(name)
        if chassis is None:
            return
        if not self._turn.locked():
            self._findings.take(chassis)
        if port:
            chassis.stir()
        if self._is_told_later(chassis):
            return
        if not port:
            self._reports.report(chassis)
        elif (interface := chassis.interfaces.get(port)) is not None and not self._turn.locked():
            self._reports.report_port(chassis, interface)
            if chassis.is_guests(interface):
                self._guests.follow(self._roster)

    def _is_told_later(self, chassis: Chassis) -> bool:
        """Where somebody fights it is told when it is put right, or when that is over: who hears of a port that is gone
        has it looked at, and that would be at once."""
        is_fought = self._restorer.is_fought(chassis.name)
        if is_fought:
            self._reports.report_later(chassis, self._restorer.hold)
        return is_fought

    def _hear_guests(self, name: str) -> None:
        chassis = self._roster.get(name)
        if chassis is not None:
            self._guests.note(chassis)
            self._reports.report(chassis)

    def _hear_machine(self) -> None:
        if self._uplinks.hear() and not self._turn.locked():
            self._note_uplinks()
            self._report_all()

    def _note_uplinks(self) -> None:
        for chassis in self._roster:
            chassis.errors[UPLINKS] = self._uplinks.errors.get(chassis.name, ())
            chassis.notes[UPLINKS] = self._uplinks.notes.get(chassis.name, ())

    def _notes(self, chassis: str) -> tuple[str, ...]:
        return *self._hearing.notes, *self._restorer.notes(chassis)

    def _report_all(self) -> None:
        for chassis in self._roster:
            self._reports.report(chassis)


def _foundations(lab: str, specs: Mapping[str, HostSpec]) -> list[Wanted]:
    """The namespaces of the lab itself and of its chassis."""
    return [Wanted(namespace(lab), "", "lab"), *(Wanted(s.namespace, s.chassis, "chassis") for s in specs.values())]


def _homes(specs: Mapping[str, HostSpec]) -> list[Wanted]:
    """The namespaces of nodes."""
    return [Wanted(node.namespace, node.name, "node") for spec in specs.values() for node in spec.nodes]
