"""The namespaces of one lab on this host, each with a Channel and what is known of its devices.

Enters: which namespaces there shall be. Leaves: Namespace objects; an error for each that is somebody else's. Never: a
namespace without our mark is changed or held on to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Literal

from datapath.addr import IPAddress, IPInterface, Mac
from datapath.errors import ConflictError, SdnError
from datapath.linux import connected, namespaces
from datapath.linux.connected import Connected, Lost
from datapath.linux.devices import LINK_LOCAL, Device, Devices, raw
from datapath.linux.forwarding import Forwarding
from datapath.linux.netlink import GROUP_NEIGH, Channel, Message, Notice, Refusal
from datapath.linux.ways import Ways
from datapath.spec import MARK, alias, namespace

Role = Literal["lab", "chassis", "node"]

_SIOCGSKNS: Final = 0x894C

_IPV6: Final = "/proc/sys/net/ipv6/conf"
SETTINGS: Final[dict[Role, dict[str, str]]] = {
    # The kernel sees the frames of every device of a switch. It must neither answer nor announce itself there.
    "lab": {f"{_IPV6}/all/disable_ipv6": "1", f"{_IPV6}/default/disable_ipv6": "1"},
    "chassis": {f"{_IPV6}/all/disable_ipv6": "1", f"{_IPV6}/default/disable_ipv6": "1"},
    # Addresses are unique by allotment, so they are usable at once. They survive `ip link set down` and the removal of
    # another one of their subnet.
    "node": {
        f"{_IPV6}/default/accept_dad": "0",
        f"{_IPV6}/default/keep_addr_on_down": "1",
        "/proc/sys/net/ipv4/conf/all/promote_secondaries": "1",
    },
}
"""Written before the first device exists, which inherits them."""

ANNOUNCING: Final = {
    "/proc/sys/net/ipv4/conf/all/arp_notify": "1",  # gratuitous ARP (RFC 5227 section 3) when a link is set up
    f"{_IPV6}/all/ndisc_notify": "1",  # unsolicited advertisements (RFC 4861 section 7.2.6)
}
"""Written into a node whose addresses change their MACs: its peers would believe their caches for half a minute.

Not from the start: a thousand new nodes that all announce themselves to a thousand others tell nobody anything.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A namespace of the lab; `owner` is the friendly name of its chassis or node, '' for the lab's own."""

    name: str
    owner: str
    role: Role


class Namespace:
    """A namespace that is ours, by its Channel: it stays the same one whatever happens to its name."""

    def __init__(self, name: str) -> None:
        """In the thread that is inside.

        `neighbours` (permanent ones) and `computing` (checksums) are what is known to be set, by device index. `ours`
        are the indexes of devices that are known to be so, whatever alias somebody gives them.
        """
        self.name = name
        self.devices = Devices()
        self.neighbours: dict[int, dict[IPAddress, Mac]] = {}
        self.computing: set[int] = set()
        self.ours: set[int] = set()
        self.forwarding: Forwarding | None = None
        self.connected = Connected()
        self.ways = Ways()
        self._has_way = False
        self.lost = False
        self.sent = 0
        self.journal: list[Message] | None = None
        """What is sent, while somebody wants to know."""
        self.inode = os.stat("/proc/thread-self/ns/net").st_ino
        self._cookie = namespaces.cookie()
        self.channel = Channel(self._notice, self._overrun)
        self.channel.screen(connected.SCREEN)

    def _notice(self, notice: Notice) -> None:
        if gone := self.devices.fold(notice):
            self._forget(gone)
        if self.forwarding is not None:
            self.forwarding.fold(notice)
        device = self.connected.fold(notice) or (self.ways.has_changed(notice) if self._has_way else 0)
        if device:
            self.devices.touch(device)

    def _forget(self, index: int) -> None:
        """Of a device that has gone: another one may get it."""
        self.ours.discard(index)
        self.computing.discard(index)
        self.neighbours.pop(index, None)

    def _overrun(self) -> None:
        self.lost = True

    def identity(self, device: str) -> int:
        """Of a device, among all that this machine has had since it started: indexes begin anew in each namespace. 0:
        there is none."""
        found = self.devices.by_name.get(device)
        return self._cookie << 32 | found.index if found else 0

    @property
    def mark(self) -> str:
        lo = self.devices.by_name.get("lo")
        return lo.alias if lo else ""

    def hear(self) -> None:
        """Takes in what has changed, without waiting."""
        self.channel.hear()
        if self.lost:
            self.lost = False  # before it is read: what is lost meanwhile is read again
            try:
                self.connected.forget()
                self.devices.read(self.channel)
                for gone in (self.ours | self.computing | self.neighbours.keys()) - self.devices.indexes:
                    self._forget(gone)
                if self.forwarding is not None:
                    self.forwarding.read(self.channel)
            except BaseException:
                self.lost = True
                raise

    def watch_forwarding(self) -> Forwarding:
        """What its bridges have is kept from now on, and counts as a change of their devices."""
        if self.forwarding is None:
            self.channel.join(GROUP_NEIGH)
            self.forwarding = Forwarding(self._forwards_otherwise)
            self.forwarding.read(self.channel)
        return self.forwarding

    def lead(self, about: str, device: int, gateway: IPv4Address | None) -> Iterator[Message]:
        """What makes the gateway the way out by the device, None: no way of ours. From then on it is watched."""
        self._has_way |= gateway is not None
        if self._is_in_vrf(device):
            return
        yield from self.ways.changes(self.channel, self.devices.version, about, device, gateway)

    def lost_routes(self, device: Device, addresses: Iterable[IPInterface]) -> list[Lost]:
        """Connected routes that a device which is up lacks: those of `addresses` and of its link-local one."""
        if self._is_in_vrf(device.index):
            return []
        wanted = {raw(address) for address in addresses}
        has = [each for each in self.devices.addresses(device) if each in wanted or each[0].startswith(LINK_LOCAL)]
        return self.connected.missing(self.channel, device.index, has)

    def _is_in_vrf(self, device: int) -> bool:
        """The main table has no routes of such a one: the kernel moves them to the table of the VRF, and in the main
        one they would lead others into it."""
        master = self.devices.master(device)
        return master is not None and master.kind == "vrf"

    def _forwards_otherwise(self, index: int) -> None:
        self.neighbours.pop(index, None)
        self.devices.touch(index)

    def send(self, batch: list[Message]) -> list[Refusal]:
        """Carries the batch out; what it brought about is known afterwards."""
        self.sent += len(batch)
        if self.journal is not None:
            self.journal += batch
        refusals = self.channel.send(batch)
        self.hear()
        return refusals

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor of this very namespace, for messages and setns()."""
        descriptor = fcntl.ioctl(self.channel.fileno(), _SIOCGSKNS)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self.channel.close()


def _write(settings: Mapping[str, str]) -> None:
    """Of the namespace that this thread is in."""
    for file, value in settings.items():
        with suppress(FileNotFoundError):  # a kernel without IPv6 is silent anyway
            Path(file).write_text(value)


def _made(wanted: Wanted, mark: str) -> Namespace:
    """Complete before its name appears. In a thread that comes home again."""
    from datapath.linux import messages  # the encoder is slow to import, and who only removes needs none

    namespaces.new()
    _write(SETTINGS[wanted.role])
    made = Namespace(wanted.name)
    try:
        made.send([messages.set_link("lo", "lo", up=True, alias=mark)])
        made.devices.read(made.channel)
        made.ways.none_yet()
        made.connected.none_yet()
        namespaces.publish(wanted.name, mark)
    except BaseException:
        made.close()
        raise
    return made


def _opened(name: str) -> Namespace:
    """In a thread that comes home again. Raises OSError if the name leads to no namespace."""
    descriptor = os.open(namespaces.DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(descriptor):
            opened = Namespace(name)
    finally:
        os.close(descriptor)
    opened.devices.read(opened.channel)
    return opened


def _ours(lab: str) -> list[Namespace]:
    """Every namespace on this host that carries the lab's mark. In a worker thread."""
    found = []
    for name in namespaces.names(namespace(lab)):
        with suppress(OSError):  # gone meanwhile, or no namespace
            opened = _opened(name)
            if opened.mark.startswith(alias(lab, "")):
                found.append(opened)
            else:
                opened.close()
    return found


class Host:
    """All namespaces of a lab. `watch` and `unwatch` are told of each Namespace that comes and goes."""

    def __init__(self, lab: str, watch: Callable[[Namespace], None], unwatch: Callable[[Namespace], None]) -> None:
        self.lab = lab
        self.namespaces: dict[str, Namespace] = {}
        self._watch = watch
        self._unwatch = unwatch
        self._discovered = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="namespaces")

    @property
    def sent(self) -> int:
        """Netlink requests made so far."""
        return sum(held.sent for held in self.namespaces.values())

    def ensure(self, wanted: Iterable[Wanted]) -> dict[str, SdnError]:
        """Opens or makes each one. Errors are by name; the others are there."""
        if not self._discovered:
            namespaces.prepare()
            for found in self._worker.submit(_ours, self.lab).result():
                self._hold(found)
            self._discovered = True
        missing = [each for each in wanted if not self._holds(each)]
        if not missing:
            return {}
        made, errors = self._worker.submit(self._make, missing).result()
        for each in made:
            self._hold(each)
        return errors

    def doubt(self) -> None:
        """What nobody may have told of is read anew by the next look."""
        for held in self.namespaces.values():
            held.connected.forget()

    def visit(self, namespace: Namespace, errand: Callable[[], None]) -> None:
        """Runs the errand inside the namespace: /proc/sys shows each namespace to those within it only."""
        with namespace.descriptor() as descriptor:
            self._worker.submit(_run_inside, descriptor, errand).result()

    def try_out(self, batch: list[Message]) -> list[Refusal]:
        """What the kernel refuses of a batch, in a namespace that goes again."""
        return self._worker.submit(_tried, batch).result()

    def announce(self, namespace: Namespace) -> None:
        """From now on the node tells its peers when a link of it is set up or has another MAC."""
        self.visit(namespace, partial(_write, ANNOUNCING))

    def _holds(self, wanted: Wanted) -> bool:
        """False too if the name has vanished or now leads elsewhere: somebody removed it, so it is made anew."""
        held = self.namespaces.get(wanted.name)
        if held is None:
            return False
        if namespaces.inode(wanted.name) == held.inode and held.mark == alias(self.lab, wanted.owner):
            return True
        self._release(held)
        return False

    def _make(self, wanted: list[Wanted]) -> tuple[list[Namespace], dict[str, SdnError]]:
        made: list[Namespace] = []
        errors: dict[str, SdnError] = {}
        with namespaces.home_again():
            for each in wanted:
                try:
                    made.append(_made(each, alias(self.lab, each.owner)))
                except SdnError as error:
                    errors[each.name] = error
                except OSError as error:
                    errors[each.name] = ConflictError(f"namespace {each.name}: {error}")
        return made, errors

    def _hold(self, namespace: Namespace) -> None:
        self.namespaces[namespace.name] = namespace
        self._watch(namespace)

    def _release(self, namespace: Namespace) -> None:
        del self.namespaces[namespace.name]
        self._unwatch(namespace)
        namespace.close()

    def remove(self, names: Iterable[str]) -> None:
        """Takes the names away, unless they lead to something else by now."""
        for name in names:
            held = self.namespaces[name]
            if namespaces.inode(name) == held.inode:
                namespaces.withdraw(name)
            self._release(held)

    def close(self) -> None:
        """Lets go of everything; all of it stays as it is."""
        for held in list(self.namespaces.values()):
            self._release(held)
        self._worker.shutdown()


def _run_inside(descriptor: int, errand: Callable[[], None]) -> None:
    with namespaces.inside(descriptor):
        errand()


def _tried(batch: list[Message]) -> list[Refusal]:
    with namespaces.home_again():
        namespaces.new()
        channel = Channel(lambda _: None, lambda: None, groups=())
        try:
            return channel.send(batch)
        finally:
            channel.close()


def drop_all(lab: str) -> list[str]:
    """Removes every namespace of the lab from this host; the names. In a worker thread."""
    dropped = []
    for found in _ours(lab):
        found.close()
        namespaces.withdraw(found.name)
        dropped.append(found.name)
    return dropped + _sweep(lab)


def _sweep(lab: str) -> list[str]:
    """Files of interrupted creations, which carry the mark as their content."""
    swept = []
    for name in namespaces.names(namespace(lab)):
        path = namespaces.DIRECTORY / name
        if not namespaces.is_namespace(path) and path.read_bytes().startswith(f"{MARK}:{lab}:".encode()):
            path.unlink()
            swept.append(name)
    return swept
