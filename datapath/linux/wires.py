"""Makes the devices of a lab what `wiring` says, in as few batches as there are namespaces.

Enters: pairs, bridges and ends as they shall be, the Host's namespaces as they are. Leaves: the kernel so; refusals by
namespace. Never: a device without our alias is deleted, one that is right is touched.

Order: unwanted and wrong devices go first (a veth end keeps its name taken, also in the other namespace), then
bridges, pairs with their near ends, far ends; the addresses of a device come once its index is known.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_interface
from itertools import groupby

from datapath.addr import IPAddress, Mac
from datapath.drift import instead
from datapath.linux import link_local, messages, offload
from datapath.linux.devices import LINK_LOCAL, Device, Devices, permanent_neighbours, raw
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import Message, Refusal
from datapath.linux.wiring import MACVLANS, TAP, Bridge, End, Pair
from datapath.spec import alias


class Wires:
    """One round of changes. `refusals` and `notes` are by namespace."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.refusals: dict[str, list[Refusal]] = defaultdict(list)
        self.notes: dict[str, list[str]] = defaultdict(list)

    def clear(self, namespace: str, wanted: set[str], kinds: Sequence[str] = ("veth",)) -> None:
        """Deletes our devices of `kinds` in the namespace whose names are not wanted."""
        home = self._host.namespaces.get(namespace)
        if home is None:
            return
        mark = alias(self._host.lab, "")
        unwanted = [
            (f"remove {device.alias}", device.index)
            for device in home.devices.by_name.values()
            if device.kind in kinds and device.alias.startswith(mark) and device.name not in wanted
        ]
        self._send(home, list(messages.delete_links(unwanted)))

    def raise_bridges(self, bridges: Iterable[Bridge]) -> None:
        """Makes those that are missing, and sets them up. Where a name was taken the device that has it is left
        alone."""
        for bridge in bridges:
            home = self._host.namespaces.get(bridge.namespace)
            if home is None:
                continue
            end = End(bridge.namespace, bridge.device, bridge.alias, 0, kinds=("bridge",))
            self._look_for_aliases([end])
            found = home.devices.by_name.get(bridge.device)
            if found is None or not self.may_be_ours(end, found):
                self._send(home, [messages.add_bridge(f"add bridge {bridge.device}", bridge.device)])
            self.settle([end])

    def connect(self, pairs: Sequence[Pair]) -> None:
        """Makes the pairs that are missing, remakes those that lead elsewhere, sets what differs at both ends.

        Where a name was taken the device that has it is left alone.
        """
        pairs = [pair for pair in pairs if {pair.near.namespace, pair.far.namespace} <= self._host.namespaces.keys()]
        absent = [pair for pair in pairs if not self._connected(pair)]
        self._clear_the_way([end for pair in absent for end in (pair.near, pair.far)])
        taken = [pair for pair in absent if self._device(pair.near) or self._device(pair.far)]
        self._add(absent)
        ours = [pair for pair in pairs if pair not in taken] if taken else pairs
        self.settle(pair.near for pair in ours)
        self.settle(pair.far for pair in ours)

    def connected(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those that are there."""
        return [pair for pair in pairs if self._connected(pair)]

    def hold(self, taps: Sequence[End]) -> None:
        """Makes the taps that are missing, sets what differs at those that are there. Where a name was taken the
        device that has it is left alone."""
        taps = [tap for tap in taps if tap.namespace in self._host.namespaces]
        self._look_for_aliases(taps)
        absent = [tap for tap in taps if (device := self._device(tap)) is None or not self.may_be_ours(tap, device)]
        self._clear_the_way(absent)
        for namespace, missing in groupby(absent, lambda tap: tap.namespace):
            self._make_taps(self._host.namespaces[namespace], list(missing))
        self.settle(taps)

    def _make_taps(self, home: Namespace, missing: list[End]) -> None:
        from datapath.linux import taps

        def make() -> None:
            for tap in missing:
                try:
                    if tap.device in home.devices.by_name:
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                    taps.make(tap.device)
                except OSError as error:
                    text = f"a tap of this name cannot be made: {error.strerror}"
                    self.refusals[home.name].append(Refusal(tap.alias, error.errno or 0, text))

        self._host.visit(home, make)
        home.hear()

    def _device(self, end: End) -> Device | None:
        return self._host.namespaces[end.namespace].devices.by_name.get(end.device)

    def may_be_ours(self, end: End, device: Device) -> bool:
        """Whether the device that has the name is of its kind and was given no alias by another."""
        if device.index in self._host.namespaces[end.namespace].ours:
            return True
        mark = alias(self._host.lab, "")
        return device.kind in end.kinds and (device.alias in ("", end.alias) or device.alias.startswith(mark))

    def _connected(self, pair: Pair) -> bool:
        near, far = self._device(pair.near), self._device(pair.far)
        if near is None or far is None or not near.kind == far.kind == "veth":
            return False
        if (near.peer, far.peer) != (far.index, near.index):
            return False
        self._host.namespaces[pair.near.namespace].ours.add(near.index)
        self._host.namespaces[pair.far.namespace].ours.add(far.index)
        return True

    def _clear_the_way(self, ends: Sequence[End]) -> None:
        """Removes ends without their other end, and those that became of another kind, also those of an interrupted
        creation.

        What we would not have made or has another's alias stays, and the kernel refuses ours: the name is taken.
        """
        mark = alias(self._host.lab, "")
        wrong: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._look_for_aliases(ends)
        for end in ends:
            device = self._device(end)
            if (
                device
                and device.kind in ("veth", TAP, *MACVLANS)
                and (not device.alias or device.alias.startswith(mark))
            ):
                wrong[end.namespace].append((f"remove {end.alias}", device.index))
        for name, devices in wrong.items():
            self._send(self._host.namespaces[name], list(messages.delete_links(devices)))
        for namespace in self._host.namespaces.values() if wrong else ():
            namespace.hear()  # the other ends are gone too

    def _look_for_aliases(self, ends: Iterable[End]) -> None:
        """The kernel does not tell of an alias that a device gets while it is down: it is read before it decides."""
        doubtful = {end.namespace for end in ends if (device := self._device(end)) and not device.alias}
        for namespace in (self._host.namespaces[name] for name in doubtful):
            namespace.devices.read(namespace.channel)

    def _add(self, pairs: Iterable[Pair]) -> None:
        by_chassis: dict[str, list[Pair]] = defaultdict(list)
        for pair in pairs:
            by_chassis[pair.near.namespace].append(pair)
        for namespace, of_chassis in by_chassis.items():
            home = self._host.namespaces[namespace]
            with ExitStack() as stack:
                made = [tuple(self._creation(pair, stack)) for pair in of_chassis]
                self._create(home, made)
        for far in {pair.far.namespace for pairs in by_chassis.values() for pair in pairs}:
            self._host.namespaces[far].hear()

    def _create(self, home: Namespace, made: Sequence[Sequence[Message]]) -> None:
        """Each is a creation, and what follows it by name: where the creation was refused, the name is another's."""
        refusals = home.send([create for create, *_ in made])
        refused = {refusal.about for refusal in refusals}
        self.refusals[home.name] += refusals
        self._send(home, [each for create, *then in made if create.about not in refused for each in then])

    def _creation(self, pair: Pair, stack: ExitStack) -> Iterator[Message]:
        """Two batches make all pairs of a chassis. The near end is marked and set up at once."""
        near, far = pair.near, pair.far
        descriptor = stack.enter_context(self._host.namespaces[far.namespace].descriptor())
        about = f"connect {near.alias}"
        yield messages.add_veth(about, near.device, near.mtu, far.device, descriptor, far.mac)
        yield messages.set_link(about, near.device, up=near.up, arp=near.arp, alias=near.alias, mac=near.mac)

    def settle(self, ends: Iterable[End]) -> None:
        """Sets what differs at devices that are there and are not somebody else's, one batch per namespace."""
        batches: dict[str, list[Message]] = defaultdict(list)
        for end in ends:
            namespace = self._host.namespaces.get(end.namespace)
            device = namespace.devices.by_name.get(end.device) if namespace else None
            if namespace is None or device is None or not self.may_be_ours(end, device):
                continue
            namespace.ours.add(device.index)
            self._checksums(namespace, end, device)
            batches[end.namespace] += self._changes(namespace, end, device)
        for name, batch in batches.items():
            self._send(self._host.namespaces[name], batch)

    def _changes(self, namespace: Namespace, end: End, device: Device) -> Iterator[Message]:
        about = end.alias
        mtu = end.mtu if end.mtu not in (0, device.mtu) else None
        if mtu is not None:  # a link has no IPv6 addresses below 1280 octets (RFC 8200 section 5)
            link = messages.set_link(about, device.index, mtu=mtu)
            yield link._replace(undoes=(instead("mtu", device.mtu, mtu),))
        if end.addresses is not None and (device.up or not end.is_loopback):
            yield from _addresses(namespace, device, end)
        if end.neighbours is not None:
            yield from _neighbours(namespace, device, end)
        master = self._bridge(namespace, end)
        up = True if end.up and not device.up else None
        arp = end.arp if end.arp != device.arp else None
        # A link that is up keeps its MAC until the flows of the new one are confirmed: the announcement gets through
        address = end.mac if _has_another_mac(end, device) else None
        mark = end.alias if end.alias != device.alias else None
        index = master.index if master and master.index != device.master else None
        if any(value is not None for value in (up, arp, address, mark, index)):
            link = messages.set_link(about, device.index, up=up, arp=arp, mac=address, alias=mark, master=index)
            told = changes(end, device, namespace.devices) if namespace.journal is not None else ()
            yield link._replace(undoes=tuple(told) or (instead("alias", device.alias, end.alias),))
        if end.addresses is not None and device.up and not end.is_loopback:
            for lost in namespace.lost_routes(device, end.addresses):
                yield lost.message(f"{about} route {lost.route.prefix} dev {end.device}")
        if end.leads and (end.up or device.up):
            yield from namespace.lead(about, device.index, end.gateway)

    def _bridge(self, namespace: Namespace, end: End) -> Device | None:
        """Of the lab's wire that it is on."""
        found = namespace.devices.by_name.get(end.master) if end.master else None
        if found is None:
            return None
        of = End(end.namespace, end.master, "", 0, kinds=("bridge",))
        return found if self.may_be_ours(of, found) else None

    def _checksums(self, namespace: Namespace, end: End, device: Device) -> None:
        """Looked at once for each device: nothing notifies of it, and nothing but `ethtool` changes it back."""
        if end.offload or device.index in namespace.computing:
            return
        try:
            offload.switch_off(namespace.channel.fileno(), end.device)
        except OSError as error:
            text = f"its checksum offload cannot be switched off: {error.strerror}"
            self.refusals[end.namespace].append(Refusal(end.alias, error.errno or 0, text))
        else:
            namespace.computing.add(device.index)

    def _send(self, namespace: Namespace, batch: list[Message]) -> None:
        if batch:
            self.refusals[namespace.name] += namespace.send(batch)


def changes(end: End, device: Device, devices: Devices) -> Iterator[str]:
    """How a device is not as it shall be, in words. That it has no alias may just not have been told."""
    if end.up and not device.up:
        yield instead("", "down", "up")
    if end.mtu not in (0, device.mtu):
        yield instead("mtu", device.mtu, end.mtu)
    if _has_another_mac(end, device):
        yield instead("mac", device.mac, end.mac)
    if end.arp != device.arp:
        yield instead("arp", "on" if device.arp else "off", "on" if end.arp else "off")
    if device.alias not in ("", end.alias):
        yield instead("alias", device.alias, end.alias)
    master = devices.by_name.get(end.master) if end.master else None
    if master is not None and master.index != device.master:
        found = next((each.name for each in devices.by_name.values() if each.index == device.master), "")
        yield instead("bridge", found, end.master)


def _has_another_mac(end: End, device: Device) -> bool:
    return end.mac not in (None, device.mac) and (end.up or not device.up)


def _addresses(namespace: Namespace, device: Device, end: End) -> Iterator[Message]:
    """Ours are added, others removed, except link-local ones: that of the kernel is only put back."""
    wanted = {raw(address): address for address in end.addresses or ()}
    observed = namespace.devices.addresses(device)
    for key, address in wanted.items():
        if key not in observed:
            add = messages.add_address(f"{end.alias} address {address}", device.index, address)
            yield add._replace(tolerated=(*add.tolerated, *link_local.NO_IPV6)) if end.is_loopback else add
    if lost := link_local.lacking(namespace, device, end):
        add = messages.add_address(f"{end.alias} address {lost}", device.index, lost)
        yield add._replace(tolerated=(*add.tolerated, *link_local.NO_IPV6))
    for packed, length in () if end.is_loopback else observed - wanted.keys():
        if not packed.startswith(LINK_LOCAL):
            address = ip_interface((packed, length))
            yield messages.delete_address(f"{end.alias} address {address}", device.index, address)


def _neighbours(namespace: Namespace, device: Device, end: End) -> Iterator[Message]:
    """Exactly ours are permanent; those that were there before are read once for each device."""
    known = namespace.neighbours.get(device.index)
    if known is None:
        known = namespace.neighbours[device.index] = permanent_neighbours(namespace.channel, device.index)
    wanted: dict[IPAddress, Mac] = dict(end.neighbours or ())
    for neighbour, mac in wanted.items():
        if known.get(neighbour) != mac:
            known[neighbour] = mac
            yield messages.set_neighbour(f"{end.alias} neighbour {neighbour}", device.index, neighbour, mac)
    for neighbour in known.keys() - wanted.keys():
        del known[neighbour]
        yield messages.delete_neighbour(f"{end.alias} neighbour {neighbour}", device.index, neighbour)
