"""A guest that libvirt runs, or is about to.

Enters: what the keeper asks, events of its domain, its pidfd. Leaves: calls of libvirt; happenings. Never: a signal to
QEMU, but where libvirt cannot end it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.instance import Happening, OnHappening, Place
from datapath.guest.libvirt import domain, hardware, libvirt_files
from datapath.guest.libvirt.libvirt_service import Service
from datapath.guest.libvirt.virt import BY_HOST, Connection, Event
from datapath.guest.qemu import outfit
from datapath.guest.qemu.command import AGENT, CONSOLE_LOG
from datapath.guest.qemu.process import PANIC, Process, last_words, taps_of
from datapath.spec import Accelerator, Guest, Interface

State = Literal["prepared", "running", "paused", "off", "incoming"]
_STATES: Final[dict[str, State]] = {"prelaunch": "prepared", "running": "running", "shutdown": "off"}
"""By the run state of QMP; in any other its CPUs stand still."""


@dataclass(frozen=True, slots=True)
class Domain:
    name: str
    uuid: str
    accelerator: Accelerator


class LibvirtInstance:
    """Made in the event loop. Calls raise SdnError."""

    can_migrate = False

    def __init__(
        self, service: Service, guest: Guest, place: Place, made: Domain, process: Process, on_happening: OnHappening
    ) -> None:
        self.guest = guest
        self.state: State = "prepared"
        self.answers = False
        self.applied = b""
        """The settings that its init has; unknown after an adoption, and then told again."""
        self._service = service
        self._place = place
        self._domain = made
        self._process = process
        self._started = _born(place.directory)
        self._on_happening = on_happening
        self._changing = asyncio.Lock()
        self._version = 0
        """Of what is known of its state."""
        self._trouble = ""
        self._has_panicked = False
        self._tasks: set[asyncio.Task[None]] = set()
        service.listen(made.uuid, self)
        process.watch(self._end)

    @property
    def chassis(self) -> str:
        return self._place.chassis

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def accelerator(self) -> Accelerator:
        return self._domain.accelerator

    @property
    def started(self) -> int:
        return self._started

    # What the keeper asks

    async def start(self) -> None:
        await self._call(Connection.resume)
        self._version += 1
        self.state = "running"

    async def pause(self) -> None:
        await self._call(Connection.suspend)

    async def resume(self) -> None:
        await self._call(Connection.resume)

    async def shutdown(self) -> None:
        await self._call(Connection.shutdown)

    async def reset(self) -> None:
        await self._call(Connection.reset)

    async def kill(self) -> None:
        try:
            await self._call(Connection.destroy)
        except SdnError:  # libvirtd does not answer, or the guest has just ended
            await self._process.end()
        await self._process.ended()

    async def adapt(self, guest: Guest, ready: Sequence[Interface]) -> tuple[str, ...]:
        async with self._changing:
            found = await self._hardware()
            todo = hardware.difference(found, guest, ready)
            volumes = {str(volume.path): volume for volume in libvirt_files.volumes(guest)}
            await self._unplug([*todo.unplug, *(each for path, each in found.volumes.items() if path not in volumes)])
            for interface in todo.plug:
                self.applied = b""  # in the guest it is a new one, also where it replaces its like
                await self._plug(domain.interface(interface, libvirt_files.tap(guest, interface, self._place)))
            for path in volumes.keys() - found.volumes.keys():
                await self._plug(domain.disk(volumes[path], hardware.free_place(await self._hardware())))
            found = await self._hardware()
            self.guest = hardware.as_it_is(found, guest)
        await self._configure()
        return (*hardware.later(found, guest.machine), *((self._trouble,) if self._trouble else ()))

    async def _hardware(self) -> hardware.Hardware:
        xml = await self._call(Connection.xml) or hardware.NOTHING
        return hardware.read(xml, await asyncio.to_thread(taps_of, self.pid))

    async def _plug(self, device: Element) -> None:
        await self._call(Connection.attach, domain.text(device))

    async def _unplug(self, devices: Sequence[Element]) -> None:
        """libvirt gives up to wait for the guest after a while, and says nothing."""
        names = {hardware.name(device) for device in devices}
        if names and self.state == "paused":
            raise RefusedError(f"{', '.join(sorted(names))} cannot be unplugged while the guest is paused")
        for device in devices:
            await self._call(Connection.detach, domain.text(device))
        left = names & hardware.names(await self._hardware()) if names else ()
        if left:
            raise TransientError(f"guest {self.guest.name} has not let go of {', '.join(sorted(left))}")

    async def _configure(self) -> None:
        """The built-in guest gets its addresses from us: those it was started with it reads itself. One that does not
        answer yet gets them when it does."""
        if not (self.guest.machine.builtin and self.answers and self.state == "running"):
            return
        async with self._changing:
            wanted = await asyncio.to_thread(outfit.settings, self.guest)
            if wanted == self.applied:
                return
            try:
                await _apply(self._place.directory / AGENT, wanted)
            except SdnError as error:
                self._trouble = f"its interfaces could not be configured: {error.message}"
            else:
                self.applied, self._trouble = wanted, ""

    async def _call(self, function: Any, *arguments: Any) -> Any:
        return await self._service.call(function, self._domain.uuid, *arguments)

    # What happens to it

    def hear(self, event: Event) -> None:
        """Of libvirt, in the event loop. The domain of one that is only prepared is suspended too."""
        self._version += 1
        if event.kind == "GUEST_PANICKED":
            self._has_panicked = True  # QEMU tells before it stops, and libvirt ends it then
        elif event.kind == "suspended" and self.state == "running" and not self._has_panicked:
            self._become("paused", "paused")
        elif event.kind == "resumed":
            self._become("running", "resumed")
        elif event.kind == "shutdown" and event.detail != BY_HOST:
            self._become("off", "shutdown")
        elif event.kind == "reboot":
            self._on_happening("reset", "")
        elif event.kind == "VSERPORT_CHANGE":
            change = json.loads(event.detail)
            if change["id"] == domain.AGENT_PORT:
                self._answer(change["open"])

    async def look(self) -> None:
        before, answered = self.state, self.answers
        await self.take_in()
        if self.state != before:
            self._on_happening("resumed" if self.state == "running" else "paused", "")
        if self.answers != answered:
            self._on_happening("agent-up" if self.answers else "agent-down", "")

    async def recall(self) -> None:
        """What it has and what it is like, of one that another agent has launched."""
        self.guest = hardware.as_it_is(await self._hardware(), self.guest)
        await self.take_in()

    async def take_in(self) -> None:
        """What it is like, without telling. What happened while libvirt was asked is newer than its answers."""
        version = -1
        while version != self._version:
            version = self._version
            status = await self._ask("query-status")
            ports = await self._ask("query-chardev")
        self.state = _STATES.get(status["status"], "paused")
        self.answers = any(port["label"] == domain.AGENT_DEVICE and port["frontend-open"] for port in ports)

    async def _ask(self, command: str) -> Any:
        return json.loads(await self._call(Connection.monitor, json.dumps({"execute": command})))["return"]

    def _become(self, state: State, what: Happening) -> None:
        self.state = state
        self._on_happening(what, "")

    def _answer(self, answers: bool) -> None:
        if answers != self.answers:
            self.answers = answers
            self._on_happening("agent-up" if answers else "agent-down", "")
            if answers:
                task = asyncio.get_running_loop().create_task(self._configure())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _end(self, how: str) -> None:
        """Its process has, which was libvirt's child."""
        self.close()
        self.answers = False
        self.state = "off"
        libvirt_files.note_end(self._place)
        console, log = self._place.directory / CONSOLE_LOG, self._service.log_of(self._domain.name)
        if self._has_panicked:
            self._on_happening("ended", "its kernel panicked" + last_words(console, log, PANIC))
        else:
            self._on_happening("ended", how + last_words(console, log))

    def close(self) -> None:
        """It runs on."""
        for task in self._tasks:
            task.cancel()
        self._service.forget(self._domain.uuid, self)
        self._process.close()


async def _apply(socket: Path, settings: bytes) -> None:
    from datapath.guest import qga

    done = await qga.Agent(socket).run(["/sbin/sdn-net"], settings)
    if done.code:
        raise RefusedError(f"sdn-net: {done.err.decode(errors='replace').strip() or done.code}")


def _born(directory: Path) -> int:
    """When its QEMU made its sockets, in seconds since the epoch."""
    try:
        return int((directory / AGENT).stat().st_mtime)
    except FileNotFoundError:
        return int(time.time())
