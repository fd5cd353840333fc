"""Guests run by libvirt: the second driver, for machines where libvirt rules.

Enters: Guests and Places, from the keeper. Leaves: domains `sdn-<lab>-<guest>` that run in the libvirtd of their
chassis; happenings. Never: a domain without our mark changed; a live migration.

The sockets and the console's log are at the same places as with QEMU's own driver, so `sdn console`, `sdn exec` and
`sdn guest` do not know the difference.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath.errors import ConflictError, TransientError
from datapath.guest import accel
from datapath.guest.instance import OnHappening, Place
from datapath.guest.libvirt import domain, hardware, libvirt_files, libvirtd
from datapath.guest.libvirt.libvirt_instance import Domain, LibvirtInstance
from datapath.guest.libvirt.libvirt_service import URI, Service
from datapath.guest.libvirt.libvirtd_home import home_of
from datapath.guest.libvirt.virt import Connection
from datapath.guest.qemu import outfit
from datapath.guest.qemu.process import Process
from datapath.spec import MARK, Accelerator, Guest

_LEFT: Final = ("agent.sock", "monitor.sock", "serial.sock")


def domain_name(lab: str, guest: str) -> str:
    return f"{MARK}-{lab}-{guest}"


class LibvirtDriver:
    """One for all chassis of a lab. Made and used in one event loop."""

    can_migrate = False

    def __init__(self) -> None:
        self._services: dict[Path, Service] = {}

    def close(self) -> None:
        for service in self._services.values():
            service.close()

    async def find(self, guest: Guest, place: Place, on_happening: OnHappening) -> LibvirtInstance | None:
        service = self._service(place)
        if not service.exists:
            return None
        name = domain_name(place.lab, guest.name)
        uuid = await service.call(Connection.uuid_of, name)
        if uuid is None:
            return None
        is_off = await service.call(Connection.state, uuid) == "off"
        if is_off and not libvirt_files.has_run(place):
            return None
        found = await _hardware(service, uuid)
        _claim(found, place.lab, name)
        made = Domain(name, uuid, _why(found.accelerator, await asyncio.to_thread(accel.accelerator)))
        instance = None if is_off else self._instance(service, guest, place, made, on_happening)
        if instance is not None:
            libvirt_files.note_start(place)
            await instance.recall()
        elif libvirt_files.has_run(place):
            return await _ended(service, guest, place, made, on_happening)
        return instance

    async def launch(self, guest: Guest, place: Place, on_happening: OnHappening) -> LibvirtInstance:
        service = self._service(place)
        service.busy += 1
        try:
            return await self._launch(service, guest, place, on_happening)
        finally:
            service.busy -= 1

    async def _launch(self, service: Service, guest: Guest, place: Place, on_happening: OnHappening) -> LibvirtInstance:
        name, chosen = domain_name(place.lab, guest.name), await asyncio.to_thread(accel.accelerator)
        await _clear(service, place.lab, name)
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = await asyncio.to_thread(libvirt_files.make, guest, place)
        for left in _LEFT:
            (place.directory / left).unlink(missing_ok=True)
        mark = {"lab": place.lab, "guest": guest.name, "chassis": place.chassis, **hardware.fixed(guest.machine)}
        plugs = [libvirt_files.tap(guest, interface, place) for interface in guest.interfaces]
        await service.call(Connection.define, domain.domain(guest, name, mark, chosen.name, files, plugs))
        await service.call(Connection.create_paused, guest.uuid)
        libvirt_files.note_start(place)
        instance = self._instance(service, guest, place, Domain(name, guest.uuid, chosen), on_happening)
        if instance is None:
            libvirt_files.note_end(place)
            raise TransientError(
                f"guest {guest.name} ended right after its start; see {service.home.directory}/log/qemu"
            )
        return instance

    def _instance(
        self, service: Service, guest: Guest, place: Place, made: Domain, on_happening: OnHappening
    ) -> LibvirtInstance | None:
        """None where its process has ended meanwhile."""
        process = _process(service, made.name, place.directory)
        return None if process is None else LibvirtInstance(service, guest, place, made, process, on_happening)

    async def remove(self, guest: str, place: Place) -> None:
        service = self._service(place)
        if place.chassis and service.exists:
            await _clear(service, place.lab, domain_name(place.lab, guest))
            await service.end_if_idle()
        await asyncio.to_thread(outfit.remove, place.lab, guest)
        shutil.rmtree(place.directory, ignore_errors=True)

    def _service(self, place: Place) -> Service:
        home = home_of(place.directory.parent.parent, place.chassis)
        if home.directory not in self._services:
            self._services[home.directory] = Service(home, place.namespace)
        return self._services[home.directory]


def remove_all(lab: str, run_dir: Path) -> None:
    """Everything that libvirt has of a lab, whose agent must have ended. Needs nothing that works, but where the
    environment names a libvirtd of somebody else's: that is asked to forget our domains."""
    libvirtd.remove_all(run_dir)
    foreign = os.environ.get(URI, "")
    if foreign:
        connection = Connection(foreign, lambda _: None)
        try:
            for uuid in connection.domains():
                if hardware.read(connection.xml(uuid) or hardware.NOTHING).mark.get("lab") == lab:
                    _forget(connection, uuid)
        finally:
            connection.close()


async def _ended(
    service: Service, guest: Guest, place: Place, made: Domain, on_happening: OnHappening
) -> LibvirtInstance:
    """One whose end nobody has watched: it is told now, and libvirt knows whether the guest switched itself off."""
    if await service.call(Connection.has_switched_off, made.uuid):
        on_happening("shutdown", "")
    process = Process(0, -1)
    process.exit = "while nobody watched"
    return LibvirtInstance(service, guest, place, made, process, on_happening)


async def _clear(service: Service, lab: str, name: str) -> None:
    """No domain of that name is there any more. Raises ConflictError where it is not ours."""
    uuid = await service.call(Connection.uuid_of, name)
    if uuid is not None:
        _claim(await _hardware(service, uuid), lab, name)
        await service.call(_forget, uuid)


async def _hardware(service: Service, uuid: str) -> hardware.Hardware:
    xml = await service.call(Connection.xml, uuid)
    return hardware.read(xml or hardware.NOTHING)


def _forget(connection: Connection, uuid: str) -> None:
    """libvirt learns of a guest's end a little later than we do."""
    try:
        if connection.state(uuid) != "off":
            connection.destroy(uuid)
    except TransientError:
        if connection.state(uuid) != "off":
            raise
    connection.undefine(uuid)


def _claim(found: hardware.Hardware, lab: str, name: str) -> None:
    if found.mark.get("lab") != lab:
        raise ConflictError(
            f"libvirt has a domain {name} that is not ours; it was left alone", remedy=f"virsh undefine {name}"
        )


def _why(name: str, chosen: Accelerator) -> Accelerator:
    """What a domain that runs was given; why, as long as that is what would be chosen now."""
    return chosen if chosen.name == name else Accelerator(name, "it was started so")


def _process(service: Service, domain: str, directory: Path) -> Process | None:
    """That of a domain, if it runs and really is the one of this directory."""
    for pid in service.candidates(domain):
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            if libvirtd.is_emulator(
                directory, libvirtd.arguments_of(pid)
            ):  # with the pidfd open: it cannot change hands
                return Process(pid, descriptor)
            os.close(descriptor)
    return None
