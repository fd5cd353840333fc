"""The driver of guests that are QEMUs of our own: launched, found again, received from another chassis, removed.

Enters: Guests and Places, taps that are there. Leaves: QemuMachines; the directory of each guest. Never: a process
ended that is not proven to be the guest's. What an earlier run left goes by name; the console's log goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from datapath.errors import MachineError, RefusedError, SdnError, TransientError
from datapath.guest.accel import accelerator
from datapath.guest.instance import OnHappening, Place
from datapath.guest.qemu import command, outfit, plugs, process, saved
from datapath.guest.qemu.command import Arrival, Descriptors
from datapath.guest.qemu.emulated import QemuMachine
from datapath.guest.qemu.process import Process
from datapath.guest.qemu.qmp import may_pass
from datapath.guest.qemu.saved import Saved
from datapath.spec import Guest

PROGRAM: Final = "qemu-system-x86_64"
SETTINGS: Final = "net"
"""File with what the built-in guest's init reads."""

_LEFT: Final = (*command.SOCKETS, command.PID, command.QEMU_LOG, saved.FILE, SETTINGS, outfit.SEED_FILE)
"""What an earlier run leaves in the directory."""


class QemuDriver:
    """Implements `instance.Driver` and `migration.Receiver`."""

    async def find(self, guest: Guest, place: Place, on_happening: OnHappening) -> QemuMachine | None:
        known = saved.read(place.directory)
        if known is not None and known.chassis != place.chassis:
            return None
        found = _adopted(place.directory, guest.uuid)
        if found is None:
            return None
        known = known or _guessed(guest, place, found.pid)
        machine = QemuMachine(known, place, found, on_happening)
        try:
            await machine.connect()
        except RefusedError:  # it has ended meanwhile
            machine.close()
            return None
        except BaseException:
            machine.close()
            raise
        machine.watch()
        return machine

    async def launch(self, guest: Guest, place: Place, on_happening: OnHappening) -> QemuMachine:
        """0.3 s until it answers."""
        return await self._run(guest, place, on_happening, None)

    async def receive(self, guest: Guest, place: Place, on_happening: OnHappening, memory: str) -> QemuMachine:
        """As `launch`, but the guest is awaited (`-incoming defer`) with the hardware that it has at its source, of
        which there is a machine.json in this directory or in the one beside it. `memory`: the path of a file that is
        its memory; '' if it gets memory of its own."""
        source = saved.read(place.directory) or saved.read(place.directory.with_name(guest.name))
        if source is None:
            raise RefusedError(f"what guest {guest.name} has at its source is not known: no {saved.FILE} of its own")
        arriving = _as_at(source.guest, guest)
        return await self._run(arriving, place, on_happening, Arrival(source.ports, memory))

    async def remove(self, guest: str, place: Place) -> None:
        """It does not run any more."""
        await asyncio.to_thread(outfit.remove, place.lab, guest)
        await asyncio.to_thread(shutil.rmtree, place.directory, ignore_errors=True)

    async def _run(
        self, guest: Guest, place: Place, on_happening: OnHappening, incoming: Arrival | None
    ) -> QemuMachine:
        known, settings, running = await _process(guest, place, incoming)
        machine = QemuMachine(known, place, running, on_happening, settings)
        try:
            await machine.connect()
        except BaseException as error:
            await _discard(machine, running, error, arrives=incoming is not None)
            if isinstance(error, SdnError):
                raise _worded(guest, error) from error
            raise
        machine.watch()
        return machine


async def _process(guest: Guest, place: Place, incoming: Arrival | None) -> tuple[Saved, bytes, Process]:
    """A thread cannot be called off: what it has launched when we are is ended, if it arrives."""
    starting = asyncio.get_running_loop().run_in_executor(None, _started, guest, place, incoming)
    try:
        known, settings, pid = await asyncio.shield(starting)
    except asyncio.CancelledError:
        if incoming is not None:
            await _to_its_end(_collected(starting))
        raise
    return known, settings, Process(pid, os.pidfd_open(pid))


async def _collected(starting: asyncio.Future[tuple[Saved, bytes, int]]) -> None:
    with suppress(SdnError, OSError):  # then nothing runs
        _, _, pid = await starting
        await Process(pid, os.pidfd_open(pid)).end()


async def _discard(machine: QemuMachine, running: Process, error: BaseException, *, arrives: bool) -> None:
    """Nobody looks again for one that was to arrive; a launched one that we are called off from is found again."""
    try:
        if arrives:
            await _to_its_end(running.end())
        elif isinstance(error, SdnError):
            await machine.kill()
    finally:
        machine.close()


async def _to_its_end(errand: Coroutine[Any, Any, None]) -> None:
    """Whoever is called off meanwhile ends it all the same, and is called off then."""
    task = asyncio.ensure_future(errand)
    called_off = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            called_off = True
    task.result()
    if called_off:
        raise asyncio.CancelledError


def _worded(guest: Guest, error: SdnError) -> SdnError:
    kind = TransientError if may_pass(error) else RefusedError
    return kind(f"guest {guest.name}: {error.message}")


# ── a start, in a thread ─────────────────────────────────────────────────────────────────────────────────────────────


def _started(guest: Guest, place: Place, incoming: Arrival | None) -> tuple[Saved, bytes, int]:
    """What it was launched with, its settings and its PID."""
    _clear(place.directory)
    made = outfit.make(guest, place)
    ports = incoming.ports if incoming else command.ports(guest, made.disks)
    known = Saved(guest, place.chassis, accelerator(), int(time.time()), ports)
    _write(place.directory / SETTINGS, made.settings)
    with ExitStack() as opened:
        descriptors = _descriptors(guest, place, opened)
        vhost = plugs.has_vhost(known.accelerator)
        arguments = command.arguments(
            guest,
            place.directory,
            made,
            ports,
            descriptors,
            known.accelerator.name,
            vhost=vhost,
            incoming=incoming,
        )
        known.write(place.directory)  # first: an agent that is killed now leaves a process that can be found
        inherited = [*descriptors.sockets.values(), *(each for tap in descriptors.taps.values() for each in tap)]
        pid = process.spawn(PROGRAM, arguments, place.directory, place.directory / command.QEMU_LOG, inherited)
    return known, made.settings, pid


def _clear(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _LEFT:
        (directory / name).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    if content:
        path.touch(mode=0o600)
        path.write_bytes(content)


def _descriptors(guest: Guest, place: Place, opened: ExitStack) -> Descriptors:
    """Our own copies are closed with `opened`, when QEMU has its own."""
    sockets = {name: opened.enter_context(_listening(place.directory / name)) for name in command.SOCKETS}
    taps = {}
    for interface in guest.interfaces:
        taps[interface.name] = plugs.open_tap(place, interface, guest.machine.cpus)
        opened.callback(plugs.close_all, taps[interface.name])
    return Descriptors(sockets, taps)


@contextmanager
def _listening(path: Path) -> Iterator[int]:
    """A socket that root alone may connect to, from its first moment on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        os.fchmod(made.fileno(), 0o600)
        try:
            made.bind(str(path))
        except OSError as error:
            raise MachineError("UNIX sockets", f"{path}: {error.strerror or error}", remedy="a shorter path") from error
        made.listen()
        yield made.fileno()


# ── one that runs ────────────────────────────────────────────────────────────────────────────────────────────────────


def _adopted(directory: Path, uuid: str) -> Process | None:
    with suppress(OSError, ValueError):
        return process.adopt(int((directory / command.PID).read_text()), uuid, directory)
    return None


def _guessed(guest: Guest, place: Place, pid: int) -> Saved:
    """Launched by an agent whose notes cannot be read: QEMU itself says which devices it has."""
    found = accelerator()
    return Saved(guest, place.chassis, found, int(os.stat(f"/proc/{pid}").st_ctime))


def _as_at(source: Guest, arriving: Guest) -> Guest:
    """The hardware of the source, with the interfaces as they are where it arrives. Raises RefusedError."""
    there = {interface.name: interface for interface in arriving.interfaces}
    missing = [interface.name for interface in source.interfaces if interface.name not in there]
    if missing:
        raise RefusedError(f"guest {source.name} has {', '.join(missing)}, which it would not have where it arrives")
    interfaces = tuple(there[interface.name] for interface in source.interfaces)
    machine = replace(source.machine, power=arriving.machine.power)
    return replace(arriving, interfaces=interfaces, machine=machine)
