"""Takes an interface of the machine into a bridge, with what it has there, and gives all of it back.

Enters: an Uplink whose interface may be had (`uplink.trouble`), or the Record of one that was taken. Leaves: the
machine's network so, and the record on disk exactly as long as something is not as it was. Never: a moment in which an
address is neither there nor in the record; an alias on what is not ours.

The record is written before the first change. Addresses and routes change their device in one request, which the
kernel carries out to its end whatever becomes of this process. So each step can be done again, or undone, by whoever
comes next.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from datapath.errors import ConflictError, RefusedError, SdnError
from datapath.linux import belongings, messages, record
from datapath.linux.belongings import Belongings, address_text, giving, is_link_local, redirected, route_text, taking
from datapath.linux.devices import Device
from datapath.linux.netlink import HEADER, RTM_NEWLINK, Message, Refusal, attribute
from datapath.linux.record import Record
from datapath.linux.uplink import Machine, bridge_name
from datapath.spec import MARK, Uplink, alias, device_name

_CONF: Final = Path("/proc/sys/net")
_NOT_COPIED: Final = {"disable_ipv6", "addr_gen_mode", "stable_secret", "mtu"}
"""Settings of a device that are set otherwise, or are its own."""

_IFLA_AF_SPEC, _IFLA_INET6_ADDR_GEN_MODE, _NESTED = 26, 8, 0x8000
_NO_ADDRESS: Final = "1"  # IN6_ADDR_GEN_MODE_NONE


def taken(machine: Machine, lab: str, directory: Path) -> dict[str, Record]:
    """By physical network, all that a lab has of this machine, whoever took it."""
    found = record.read(directory)
    mark = alias(lab, "")
    for device in machine.links().values():
        physnet = device.alias.removeprefix(mark)
        if device.kind == "bridge" and device.alias.startswith(mark) and physnet not in found:
            guessed = Takeover(machine, lab, physnet, directory).guess()
            found |= {physnet: guessed} if guessed else {}
    return found


def give_all_back(lab: str, directory: Path) -> None:
    """Everything of this machine that the lab has. Raises SdnError with all that could not be given back."""
    machine = Machine()
    try:
        errors = []
        for physnet, noted in taken(machine, lab, directory).items():
            try:
                Takeover(machine, lab, physnet, directory).give_back(noted)
            except SdnError as error:
                errors.append(error)
    finally:
        machine.close()
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise RefusedError("\n".join(map(str, errors)))


def wire_name(lab: str, physnet: str) -> str:
    """Of the bridge's port to the lab."""
    return device_name("sdw-", lab, physnet)


class Takeover:
    """Of one physical network's interface. Raises SdnError; what could not be done has been undone then."""

    def __init__(self, machine: Machine, lab: str, physnet: str, directory: Path) -> None:
        self._machine = machine
        self._lab = lab
        self._physnet = physnet
        self._directory = directory
        self._bridge_name = bridge_name(lab, physnet)
        self._mark = alias(lab, physnet)

    # What is there

    def bridge(self) -> Device | None:
        """Ours. Raises ConflictError where another device has its name."""
        found = self._machine.links().get(self._bridge_name)
        if found is not None and found.alias != self._mark:
            raise ConflictError(
                f"device {self._bridge_name} is not ours; it was left alone",
                remedy=f"ip link del {self._bridge_name}, or give the lab another name",
            )
        return found

    def port(self, name: str, index: int) -> Device | None:
        """The interface by its name or, if it was renamed meanwhile, by its number in our bridge."""
        inside = (each for each in self._inside() if each.index == index)
        return self._machine.links().get(name) or next(inside, None)

    def _inside(self) -> list[Device]:
        """The bridge's ports that are not ours."""
        links, bridge = self._machine.links(), self.bridge()
        ports = [each for each in links.values() if bridge is not None and each.master == bridge.index]
        return [each for each in ports if not each.alias.startswith(f"{MARK}:")]

    def guess(self) -> Record | None:
        """Where the record is lost but the bridge is there: what that has now is what there was."""
        if self.bridge() is None:
            return None
        port = next(iter(self._inside()), None)
        name, index = (port.name, port.index) if port else ("", 0)
        return Record(self._physnet, name, index, True, True, _ipv6("default"), Belongings()).stamped()

    def holds(self, noted: Record) -> bool:
        """Everything is as `take` leaves it, and no address has come to the interface since."""
        port, bridge = self.port(noted.interface, noted.index), self.bridge()
        if port is None or bridge is None:
            return False
        if not (port.up and bridge.up and port.master == bridge.index and _ipv6(port.name)[0] in ("", "1")):
            return False
        return not self._machine.belongings(port.index).addresses

    # Take

    def take(self, uplink: Uplink, known: Record | None) -> Record:
        """The interface is a port of our bridge then, and the bridge has its addresses. Again: what is missing."""
        port = self.port(uplink.interface, known.index if known else 0)
        assert port is not None
        noted = self._note(uplink, port, known)
        try:
            self._take(port, noted)
        except OSError as error:  # /proc/sys may not be written
            self.give_back(noted)
            raise RefusedError(f"physnet {self._physnet}: {error}") from error
        except SdnError:
            self.give_back(noted)
            raise
        return noted

    def _note(self, uplink: Uplink, port: Device, known: Record | None) -> Record:
        has = self._machine.belongings(port.index)
        if known is None:
            noted = Record(
                self._physnet, port.name, port.index, port.up, uplink.moves_addresses, _ipv6(port.name), has
            ).stamped()
        else:  # what has come since is the machine's too, and nothing of before is forgotten
            before = redirected(known.now(), known.index, port.index)
            noted = replace(known, index=port.index, belongings=belongings.merged(before, has)).stamped()
        if known is None or noted.belongings != known.belongings:
            record.write(self._directory, noted)
        return noted

    def _take(self, port: Device, noted: Record) -> None:
        bridge = self.bridge() or self._make_bridge(port)
        fresh = not bridge.up
        if fresh:
            self._prepare(port, bridge, noted)
        if port.master != bridge.index or not port.up:
            self._do([messages.set_link(port.name, port.name, master=bridge.index, up=True)])
        batch = [messages.set_link(self._mark, bridge.name, up=True)] if fresh else []
        if noted.moves:
            batch += self._moving(port, bridge, noted, fresh)
        self._do(batch)
        _write(port.name, "disable_ipv6", "1")

    def _make_bridge(self, port: Device) -> Device:
        """With the interface's MAC and MTU."""
        name = self._bridge_name
        marked = messages.set_link(self._mark, name, alias=self._mark)
        alike = messages.set_link(self._mark, name, mac=port.mac, mtu=port.mtu)
        self._do([messages.add_bridge(self._mark, name), marked, alike])  # marked, also where it cannot be alike
        made = self.bridge()
        assert made is not None
        return made

    def _prepare(self, port: Device, bridge: Device, noted: Record) -> None:
        """Before it is up. Where the machine has no addresses, it shall have none of the bridge either: no IPv6, and no
        answer to ARP for those that it has elsewhere.

        A bridge that is up before it has a port has no carrier then, and sends nothing until a worker of the kernel has
        noticed that it has one (net/core/link_watch.c). So the interface is its port first.
        """
        if noted.moves:
            self._do(list(_address_mode(bridge, _NO_ADDRESS)))
            _copy_settings(port.name, bridge.name)
        _write(bridge.name, "disable_ipv6", noted.ipv6[0] if noted.moves else "1")
        self._do([messages.set_link(self._mark, bridge.name, arp=noted.moves)])

    def _moving(self, port: Device, bridge: Device, noted: Record, fresh: bool) -> list[Message]:
        """All that the interface has; what a bridge that was not there or not up lacks of the record too.

        An address that the interface has again, though the bridge has it, is one whose lease was renewed.
        """
        has = self._machine.belongings(port.index)
        wanted = came = redirected(has, port.index, bridge.index)
        if fresh:
            wanted = belongings.merged(wanted, redirected(noted.now(), noted.index, bridge.index))
        lacking = belongings.without(wanted, self._machine.belongings(bridge.index))
        lacking = belongings.merged(Belongings(came.addresses), lacking)
        if not has and not lacking:
            return []
        return [*taking(has), *giving(lacking, port.name, bridge.name), *_address_mode(bridge, noted.ipv6[1])]

    # Give back

    def give_back(self, noted: Record) -> None:
        """All is as it was, and what has come since is there too; then the record goes.

        Raises RefusedError with what the kernel refused; the record stays for another try.
        """
        if noted.place != record.place():
            raise ConflictError(
                f"interface {noted.interface} was taken in another network namespace than this one",
                remedy="run the command where the lab was brought up",
            )
        port, bridge = self.port(noted.interface, noted.index), self.bridge()
        if port is not None:
            self._restore(port, bridge, noted)
        self._remove_devices()
        record.drop(self._directory, self._physnet)

    def _restore(self, port: Device, bridge: Device | None, noted: Record) -> None:
        inside = bridge is not None and port.master == bridge.index
        if noted.ipv6[0] and _ipv6(port.name)[0] != noted.ipv6[0]:
            self._machine.send(list(_address_mode(port, _NO_ADDRESS)))
            _write(port.name, "disable_ipv6", noted.ipv6[0])
        moved = self._machine.belongings(bridge.index) if bridge else Belongings()
        back = redirected(moved, bridge.index, port.index) if bridge else moved
        wanted = belongings.merged(back, redirected(noted.now(), noted.index, port.index))
        old_name = bridge.name if bridge else port.name
        refusals = self._machine.send(
            [
                *taking(moved),
                *([messages.set_link(port.name, port.name, master=0)] if inside else []),
                *giving(belongings.without(wanted, self._machine.belongings(port.index)), old_name, port.name),
                *_address_mode(port, noted.ipv6[1]),
                *([] if noted.up else [messages.set_link(port.name, port.name, up=False)]),
            ]
        )
        lost = belongings.without(wanted, self._machine.belongings(port.index)) if noted.up else Belongings()
        self._complain(port.name, refusals, lost)

    def _complain(self, name: str, refusals: list[Refusal], lost: Belongings) -> None:
        said = [str(refusal) for refusal in refusals]
        said += [f"address {address_text(each)} is missing" for each in lost.addresses if not is_link_local(each)]
        said += [f"route {route_text(each)} is missing" for each in lost.routes]
        if said:
            kept = self._directory / f"{self._physnet}{record.SUFFIX}"
            raise RefusedError(
                f"interface {name} is not as it was: {'; '.join(said)}",
                remedy=f"try again, or add it by hand and remove {kept}",
            )

    def _remove_devices(self) -> None:
        """The bridge and its port to the lab, of which the other end goes too."""
        links = self._machine.links()
        ours = [links[name] for name in (wire_name(self._lab, self._physnet), self._bridge_name) if name in links]
        self._do(
            [messages.delete_link(f"remove {each.alias}", each.index) for each in ours if each.alias == self._mark]
        )

    def _do(self, batch: list[Message]) -> None:
        refusals = self._machine.send(batch)
        if refusals:
            raise RefusedError(f"physnet {self._physnet}: " + "; ".join(map(str, refusals)))


def _address_mode(device: Device, mode: str) -> Iterator[Message]:
    """How the kernel makes the link-local address of a device. Told by netlink it makes none at once."""
    if not mode:
        return
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, device.index, 0, 0)
    setting = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([int(mode)]))
    body += attribute(_IFLA_AF_SPEC | _NESTED, attribute(socket.AF_INET6 | _NESTED, setting))
    data = HEADER.pack(HEADER.size + len(body), RTM_NEWLINK, 0, 0, 0) + body
    yield Message(f"address mode of {device.name}", data, (errno.EAFNOSUPPORT,))


def _ipv6(device: str) -> tuple[str, str]:
    return _read(device, "disable_ipv6"), _read(device, "addr_gen_mode")


def _read(device: str, setting: str) -> str:
    try:
        return (_CONF / "ipv6/conf" / device / setting).read_text().strip()
    except FileNotFoundError:  # no IPv6
        return ""


def _write(device: str, setting: str, value: str) -> None:
    if value and _read(device, setting) not in ("", value):
        (_CONF / "ipv6/conf" / device / setting).write_text(value)


def silence(device: str) -> None:
    """It has nothing to say itself."""
    _write(device, "disable_ipv6", "1")


def _copy_settings(source: str, target: str) -> None:
    """What the machine does with packets of the interface (forwarding, reverse path filter, router advertisements)."""
    for family in ("ipv4", "ipv6"):
        here, there = _CONF / family / "conf" / source, _CONF / family / "conf" / target
        for setting in sorted(here.iterdir()) if here.is_dir() and there.is_dir() else ():
            if setting.name in _NOT_COPIED:
                continue
            with suppress(OSError):  # some can only be read, or not even that: they are no settings
                value = setting.read_text()
                if (there / setting.name).read_text() != value:
                    (there / setting.name).write_text(value)
