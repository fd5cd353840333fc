"""A guest as a QEMU of our own, driven over QMP.

Enters: a Guest and a Place; taps that are there. Leaves: a process that outlives us, as an Instance; what happens to
it. Never: a poll: QEMU tells of itself by events, the kernel of its end by a pidfd, the next agent finds all of it in
the guest's directory and in QEMU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.instance import OnHappening, Place
from datapath.guest.qemu import command, outfit, plugs, process
from datapath.guest.qemu.command import Ports
from datapath.guest.qemu.qmp import Event, OnEvent, Qmp
from datapath.guest.qemu.saved import Saved
from datapath.spec import Accelerator, Guest, Interface, Machine
from datapath.words import FIXED, with_the_next_start

State = Literal["prepared", "running", "paused", "off", "incoming"]

_PANICKED: Final = "guest-panicked"
_STATES: Final[dict[str, State]] = {
    "prelaunch": "prepared",
    "inmigrate": "incoming",
    "running": "running",
    "shutdown": "off",
    _PANICKED: "running",  # until its end, which is near
}
"""By what query-status says; whatever else, the CPUs stand still."""
_IN_A_MOMENT: Final = ("save-vm", "restore-vm")
"""The CPUs stand still for as long as a snapshot takes."""

_QUITS: Final = 5.0
"""Seconds that QEMU has to write what it has not written of the guest's disks."""
_GREETS: Final = 60.0
"""Seconds that QEMU has to greet, on a machine where others boot. One that has another client does not."""
_AGAIN: Final = (0.05, 0.5, 2.0, 5.0, 10.0)
"""Seconds before a lost monitor is tried again: QEMU has one thread for it, which may be busy with a snapshot."""


class QemuMachine:
    """`directory` may get another name while it runs (`relocate`)."""

    def __init__(
        self,
        saved: Saved,
        place: Place,
        process: process.Process,
        on_happening: OnHappening,
        applied: bytes | None = None,
    ) -> None:
        """`applied`: the settings that the built-in guest has, where that is known."""
        self.guest = saved.guest
        self.place = place
        self.ports = saved.ports
        self._saved = saved
        self._process = process
        self._on_happening = on_happening
        self._booted_with = self._applied = applied
        self._state: State = "prepared"
        self._answers = False
        self._qmp: Qmp | None = None
        self._subscribers: list[OnEvent] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._trouble = ""
        self._has_panicked = False

    # What it is

    @property
    def chassis(self) -> str:
        return self.place.chassis

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def accelerator(self) -> Accelerator:
        return self._saved.accelerator

    @property
    def started(self) -> int:
        return self._saved.started

    @property
    def state(self) -> State:
        return self._state

    @property
    def answers(self) -> bool:
        return self._answers

    # What it is told

    async def start(self) -> None:
        await self.execute("cont")
        self._state = "running"

    async def pause(self) -> None:
        await self.execute("stop")
        self._state = "paused"

    async def resume(self) -> None:
        await self.execute("cont")
        self._state = "running"

    async def shutdown(self) -> None:
        with suppress(TransientError):  # one whose monitor has gone meanwhile ends anyhow, or is ended in its time
            await self.execute("system_powerdown")

    async def reset(self) -> None:
        await self.execute("system_reset")

    async def set_link(self, interface: str, up: bool) -> None:
        """The carrier that the guest sees."""
        await self.execute("set_link", {"name": command.nic_id(interface), "up": up})

    async def kill(self) -> None:
        """It writes its disks first, if it still can."""
        with suppress(SdnError, TimeoutError):
            async with asyncio.timeout(_QUITS):
                await self.execute("quit")
                await self._process.ended()
        await self._process.end()

    async def end(self) -> None:
        """At once, by SIGKILL. One that ends by itself removes its sockets by the names that they once had, which are
        another's now if it has moved and moves again."""
        await self._process.end()

    async def execute(self, name: str, arguments: Mapping[str, object] | None = None) -> Any:
        """A command of QMP. Raises RefusedError with what QEMU said; TransientError where it has gone."""
        return await self._monitor.issue(name, arguments or {})

    def subscribe(self, on_event: OnEvent) -> Callable[[], None]:
        """`on_event` gets each event as QMP has it. What is returned ends that."""
        self._subscribers.append(on_event)
        return lambda: self._subscribers.remove(on_event)

    def relocate(self, directory: Path) -> None:
        """Its directory has another name now."""
        self.place = replace(self.place, directory=directory)

    def close(self) -> None:
        """Lets go; it runs on."""
        self._process.close()
        for task in self._tasks:
            task.cancel()
        if self._qmp is not None:
            self._in_background(self._qmp.close())
            self._qmp = None

    @property
    def _monitor(self) -> Qmp:
        if self._qmp is None:
            raise TransientError(f"the monitor of guest {self.guest.name} is not connected")
        return self._qmp

    # Connected

    async def connect(self) -> None:
        """To a QEMU that runs. Raises TransientError, or RefusedError with its words where it has ended."""
        qmp = await self._greeted()
        self._qmp = qmp
        status = (await qmp.execute("query-status"))["status"]
        lines = await qmp.execute("query-chardev")
        self._state = _STATES.get(status, "paused")
        self._has_panicked |= status == _PANICKED
        self._answers = any(line["label"] == "agent" and line["frontend-open"] for line in lines)
        self._know(await plugs.seen(qmp))

    async def _greeted(self) -> Qmp:
        connecting = asyncio.ensure_future(
            Qmp.connect(self.place.directory / command.QMP, self._on_event, self._reconnect)
        )
        ending = asyncio.ensure_future(self._process.ended())
        try:
            await asyncio.wait((connecting, ending), timeout=_GREETS, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() and not ending.done():
                raise TransientError("QEMU does not greet on its monitor; somebody else may have it")
            if connecting.done() and connecting.exception() is None:
                return connecting.result()
            if connecting.done():  # it hangs up before its end is known
                await asyncio.wait((ending,), timeout=1.0)
            if ending.done():
                raise RefusedError(f"QEMU did not start: {self._last_words()}")
            return connecting.result()
        finally:
            connecting.cancel()
            ending.cancel()

    def watch(self) -> None:
        """From now on its end is told."""
        self._process.watch(self._ended)
        if self._has_panicked:
            self._panicked()
        elif self._state == "off":
            self._switched_off()
        elif self._answers:
            self._in_background(self._configure())

    def _reconnect(self) -> None:
        """Its monitor has gone, and perhaps it too."""
        self._qmp = None
        self._in_background(self._connect_again())

    async def _connect_again(self) -> None:
        for delay in (*_AGAIN, None):
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._process.ended()
            if self._process.has_ended:
                return
            with suppress(SdnError):
                await self.connect()
                if self._has_panicked:
                    self._panicked()
                self._on_happening("resumed" if self._state == "running" else "paused", "")
                return

    def _ended(self, _: str) -> None:
        self._answers = False
        self._on_happening("ended", self._last_words())

    def _last_words(self) -> str:
        directory = self.place.directory
        console, log = directory / command.CONSOLE_LOG, directory / command.QEMU_LOG
        if self._has_panicked:
            return "its kernel panicked" + process.last_words(console, log, process.PANIC)
        return (self._process.exit or "it has ended") + process.last_words(console, log)

    # What happens

    def _on_event(self, event: Event) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(event)
        data = event.get("data", {})
        match event["event"]:
            case "VSERPORT_CHANGE" if data["id"] == command.AGENT_DEVICE:
                self._agent(data["open"])
            case "STOP":
                self._in_background(self._stopped())
            case "RESUME":
                self._resumed()
            case "MIGRATION" if self._state == "incoming" and data["status"] == "completed":
                self._state = "paused"
            case "RESET":
                self._applied = self._booted_with
                self._on_happening("reset", "")
            case "SHUTDOWN" if data["guest"]:
                self._switched_off()
            case "GUEST_PANICKED":
                self._panicked()

    def _agent(self, is_there: bool) -> None:
        self._answers = is_there
        self._applied = self._applied if is_there else None  # it may come back as it was at a snapshot
        self._on_happening("agent-up" if is_there else "agent-down", "")
        if is_there:
            self._in_background(self._configure())

    async def _stopped(self) -> None:
        with suppress(SdnError):
            status = (await self.execute("query-status"))["status"]
            if status in (*_IN_A_MOMENT, _PANICKED, "running"):
                return
            self._state = _STATES.get(status, "paused")
            if self._state == "paused":
                self._on_happening("paused", "")

    def _resumed(self) -> None:
        before, self._state = self._state, "running"
        if before != "running":
            self._on_happening("resumed", "")

    def _switched_off(self) -> None:
        """QEMU stays, for whoever was away; who has seen it needs it no more."""
        self._state = "off"
        self._answers = False
        self._on_happening("shutdown", "")
        self._in_background(self._quit())

    def _panicked(self) -> None:
        """It has died; its process follows."""
        self._has_panicked = True
        self._answers = False
        self._in_background(self.kill())

    async def _quit(self) -> None:
        with suppress(SdnError):
            await self.execute("quit")

    def _in_background(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(errand, name=f"guest {self.guest.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Hardware

    async def adapt(self, guest: Guest, ready: Sequence[Interface]) -> tuple[str, ...]:
        async with self._changing:
            await self._unplug(guest, {interface.name for interface in ready})
            await self._plug(guest, ready)
            self._keep(replace(guest, machine=_as_it_is(self.guest.machine, guest.machine)), self._plugged(guest))
        await self._configure()
        words = with_the_next_start(_later(self.guest.machine, guest.machine))
        return (*words, *((self._trouble,) if self._trouble else ()))

    async def _unplug(self, guest: Guest, ready: set[str]) -> None:
        """An interface that is another now stays until its successor is ready."""
        wanted = {interface.name: interface for interface in guest.interfaces}
        for had in self.guest.interfaces:
            successor = wanted.get(had.name)
            is_other = successor is not None and not _is_same(had, successor) and had.name in ready
            if successor is None or is_other:
                self._may_unplug(had.name)
                self._know(await plugs.unplug_nic(self._monitor, self.ports, had.name, self._is_fresh))
        for volume in self.guest.machine.volumes:
            if volume not in guest.machine.volumes:
                self._may_unplug(volume)
                self._know(await plugs.unplug_disk(self._monitor, self.ports, volume, self._is_fresh))

    def _plugged(self, guest: Guest) -> list[Interface]:
        """Those of `guest`, but as they are plugged where that could not be changed yet."""
        had = {interface.name: interface for interface in self.guest.interfaces}
        pairs = [(had.get(wanted.name, wanted), wanted) for wanted in guest.interfaces]
        return [replace(wanted, tap=now.tap or wanted.tap) if _is_same(now, wanted) else now for now, wanted in pairs]

    def _may_unplug(self, name: str) -> None:
        if self._state == "paused":
            raise RefusedError(f"{name} cannot be unplugged while the guest is paused")

    @property
    def _is_fresh(self) -> bool:
        return self._state == "prepared"

    async def _plug(self, guest: Guest, ready: Sequence[Interface]) -> None:
        for interface in ready:
            if interface.name not in self.ports.nics:
                await self._plug_nic(interface)
        for volume in guest.machine.volumes:
            if volume not in self.ports.disks:
                self._know(await plugs.plug_disk(self._monitor, self.ports, outfit.volume(volume)))
                self._keep(_with_volume(self.guest, volume), self.guest.interfaces)

    async def _plug_nic(self, interface: Interface) -> None:
        cpus = self.guest.machine.cpus
        descriptors = await asyncio.to_thread(plugs.open_tap, self.place, interface, cpus)
        try:
            vhost = plugs.has_vhost(self.accelerator)
            self.ports = await plugs.plug_nic(self._monitor, self.ports, interface, descriptors, cpus, vhost)
        finally:
            plugs.close_all(descriptors)
        self._applied = None  # in the guest it is a new one, also where it replaces its like
        self._keep(self.guest, (*self.guest.interfaces, interface))

    def _know(self, ports: Ports) -> None:
        """What is plugged."""
        self.ports = ports
        self._keep(self.guest, self.guest.interfaces)

    def _keep(self, guest: Guest, interfaces: Sequence[Interface]) -> None:
        """It is this guest, with those of its interfaces and volumes that are plugged. Also for the next agent."""
        machine = guest.machine
        volumes = tuple(name for name in machine.volumes if name in self.ports.disks)
        plugged = tuple(each for each in interfaces if each.name in self.ports.nics)
        self.guest = replace(guest, machine=replace(machine, volumes=volumes), interfaces=plugged)
        fresh = replace(self._saved, guest=self.guest, ports=self.ports)
        if fresh != self._saved:
            self._saved = fresh
            fresh.write(self.place.directory)

    # Inside

    async def _configure(self) -> None:
        """The built-in guest gets its addresses from us. One that does not answer yet gets them when it does."""
        if not (self.guest.machine.builtin and self._answers and self._state == "running"):
            return
        async with self._changing:
            wanted = await asyncio.to_thread(outfit.settings, self.guest)
            if wanted == self._applied:
                return
            try:
                await outfit.apply(self.place.directory, wanted)
            except SdnError as error:
                self._trouble = f"its interfaces could not be configured: {error.message}"
                return
            self._applied, self._trouble = wanted, ""


def _is_same(now: Interface, wanted: Interface) -> bool:
    """In what is settled when it is plugged: the guest is told its MTU then, and QEMU gets the queues of its tap, which
    lead nowhere when somebody removes that, whatever has its name afterwards."""
    same = (now.mac, now.mtu, now.bridge_port) == (wanted.mac, wanted.mtu, wanted.bridge_port)
    return same and (now.tap == wanted.tap or not now.tap or not wanted.tap)


def _later(now: Machine, wanted: Machine) -> list[str]:
    return [field for field in FIXED if getattr(now, field) != getattr(wanted, field)]


def _as_it_is(now: Machine, wanted: Machine) -> Machine:
    """`wanted`, with what cannot change."""
    return replace(wanted, **{field: getattr(now, field) for field in FIXED})


def _with_volume(guest: Guest, volume: str) -> Guest:
    return replace(guest, machine=replace(guest.machine, volumes=(*guest.machine.volumes, volume)))
