"""Makes the bridges of a chassis what `bridging` says, in a few batches, and touches nothing that is right.

Enters: a Bridging value, the chassis' namespace as it is. Leaves: the kernel so; refusals. Never: a device of another's
changed; what is new waits for what is old to go: devices, filtering entries and VLANs come first, and go last.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from datapath.addr import Mac
from datapath.drift import instead
from datapath.linux import bridge_messages, messages
from datapath.linux.announce import Moved
from datapath.linux.bridge_messages import traits
from datapath.linux.bridging import (
    ANYONE,
    UNTAGGED,
    Bridge,
    Bridging,
    Flags,
    Known,
    Neighbour,
    Port,
    Remote,
    Tunnel,
    TunnelDevice,
    Vlans,
)
from datapath.linux.devices import Device
from datapath.linux.forwarding import Bridged, Forwarding
from datapath.linux.host import Namespace
from datapath.linux.netlink import Message
from datapath.linux.wires import Wires
from datapath.linux.wiring import End
from datapath.plan import diff
from datapath.spec import MARK

_FEATURES: dict[TunnelDevice, str] = {"vxlan": "VXLAN (vxlan)", "gretap": "GRE (gretap)"}
_PORTS = ("veth", "tun", "vlan")
"""Kinds of device that are ports, beside tunnels."""
_TOGETHER = 512
"""Messages after which what they caused is heard, before it is too much for the socket's buffer."""


class Bridges:
    """Of one chassis, for one round of changes."""

    def __init__(self, lab: str, chassis: str, home: Namespace, made: Bridging, wires: Wires) -> None:
        self._lab = lab
        self._chassis = chassis
        self._home = home
        self._made = made
        self._wires = wires
        self._forwarding: Forwarding = home.watch_forwarding()
        self._names: dict[str, Device] = {}
        """Devices as they are before ports are joined, without those of others."""
        self.moved: list[Moved] = []
        """Addresses of nodes here that have another MAC now."""

    # Devices

    def lay(self) -> tuple[str, ...]:
        """The bridges and tunnel devices; what the kernel has no kind of device for."""
        wanted: dict[str, Bridge | Tunnel] = {**self._made.bridges, **self._made.tunnels}
        lacking = self._make({name: wish for name, wish in wanted.items() if not self._is_there(wish)})
        there = [wish for wish in wanted.values() if self._is_there(wish)]  # else somebody else's is in the way
        self._wires.settle(_end(self._home.name, wish) for wish in there)
        return lacking

    def _is_there(self, wish: Bridge | Tunnel) -> bool:
        device = self._home.devices.by_name.get(wish.device)
        kind = "bridge" if isinstance(wish, Bridge) else wish.kind
        return device is not None and device.kind == kind and traits(wish) <= device.traits

    def _is_in_the_way(self, device: Device) -> bool:
        """Whether it is somebody else's, with the name of one of ours."""
        if device.alias and not self._is_ours(device) and device.index not in self._home.ours:
            return True
        wish = self._made.bridges.get(device.name) or self._made.tunnels.get(device.name)
        return not self._is_there(wish) if wish else device.kind not in _PORTS

    def _devices(self) -> dict[str, Device]:
        """By name, without those of others that have names of ours."""
        return {name: each for name, each in self._home.devices.by_name.items() if not self._is_in_the_way(each)}

    def _make(self, missing: dict[str, Bridge | Tunnel]) -> tuple[str, ...]:
        """What is there otherwise, and is ours, goes first."""
        if not missing:
            return ()
        found = [self._home.devices.by_name[name] for name in missing if name in self._home.devices.by_name]
        wrong = [(f"remove {each.alias}", each.index) for each in found if self._is_ours(each)]
        self._send(list(messages.delete_links(wrong)))
        made = [tuple(_creation(wish)) for wish in missing.values()]
        refusals = self._home.send([create for create, *_ in made])
        in_the_way = {refusal.about for refusal in refusals}  # the name is another's, which gets no mark of ours
        refusals += self._home.send([each for create, *more in made if create.about not in in_the_way for each in more])
        lacking = {r.about for r in refusals if r.errno == errno.EOPNOTSUPP}
        said = []
        for wish in missing.values():
            if isinstance(wish, Tunnel) and wish.alias in lacking:
                said.append(f"the kernel has no {_FEATURES[wish.kind]}: network {wish.network} on {self._chassis}")
            else:
                self._wires.refusals[self._home.name] += [r for r in refusals if r.about == wish.alias]
        return tuple(dict.fromkeys(said))

    def _is_ours(self, device: Device) -> bool:
        return device.alias.startswith(f"{MARK}:{self._lab}:")

    # Ports, and what bridges and tunnels know

    def open_trunks(self) -> None:
        """Devices whose VLAN devices are to be set up are so themselves."""
        self._send([*self._set_up(self._made.trunks)])

    def join(self) -> None:
        """The ports as they shall be, then entries, then what is too many goes."""
        self._names = self._devices()
        come, gone = self._ports()
        for more, less in (self._own_vlans(), self._known(), self._remotes(), self._neighbours()):
            come += more
            gone += less
        self._send([*come, *self._set_up(self._made.ports), *gone])

    def _set_up(self, names: Iterable[str]) -> Iterator[Message]:
        for name in names:
            device = self._home.devices.by_name.get(name)
            if device is not None and not device.up and not self._is_in_the_way(device):
                # the kernel does not tell of an alias that a device gets while it is down
                yield self._undoing(bridge_messages.set_up(device.alias or name, device.index), "", "", "down", "up")

    def _ports(self) -> tuple[list[Message], list[Message]]:
        come: list[Message] = []
        gone: list[Message] = []
        names = self._names
        wanted = {name: port for name, port in self._made.ports.items() if name in names and port.bridge in names}
        for step in diff(wanted, self._observed()):
            device = self._home.devices.by_name[step.key]
            was = step.observed or Port("", Flags())
            if step.desired is None:
                message = bridge_messages.set_master(device.alias, device.index, 0)
                gone.append(self._undoing(message, "bridge", "", was.bridge, ""))
                continue
            comes = step.desired.bridge != was.bridge
            if comes:
                message = bridge_messages.set_master(device.alias, device.index, names[step.desired.bridge].index)
                come.append(self._undoing(message, "bridge", "", was.bridge, step.desired.bridge))
                was = Port("", Flags(learning=True, flood=True))  # as a bridge takes it
            if step.desired.flags != was.flags:
                flags = bridge_messages.set_flags(device.alias, device.index, step.desired.flags)
                come.append(flags if comes else flags._replace(undoes=_other_flags(was.flags, step.desired.flags)))
            more, less = self._vlans(device, step.desired.vlans, was.vlans)
            come += [each._replace(undoes=()) for each in more] if comes else more
            gone += less
        return come, gone

    def _observed(self) -> dict[str, Port]:
        """Devices of ours that a bridge has."""
        by_index = {device.index: device for device in self._home.devices.by_name.values()}
        found = {}
        for name, device in self._home.devices.by_name.items():
            bridge = by_index.get(device.master)
            if bridge is not None and bridge.kind == "bridge" and self._is_ours(device):
                state = self._forwarding.ports.get(device.index, Bridged(None, frozenset()))
                found[name] = Port(bridge.name, state.flags or Flags(True, True, True), state.vlans)
        return found

    def _own_vlans(self) -> tuple[list[Message], list[Message]]:
        come: list[Message] = []
        gone: list[Message] = []
        for name, vlans in self._made.own_vlans.items():
            device = self._home.devices.by_name.get(name)
            if device is not None and not self._is_in_the_way(device):
                state = self._forwarding.ports.get(device.index, Bridged(None, frozenset()))
                more, less = self._vlans(device, vlans, state.vlans, own=True)
                come += more
                gone += less
        return come, gone

    def _known(self) -> tuple[list[Message], list[Message]]:
        names = self._names
        by_index = {device.index: name for name, device in self._home.devices.by_name.items()}
        observed = {
            Known(bridge, vid, mac): by_index.get(port, "")
            for bridge in self._made.bridges.keys() & names.keys()
            for (vid, mac), port in self._forwarding.known.get(names[bridge].index, {}).items()
        }
        come: list[Message] = []
        gone: list[Message] = []
        for step in diff({key: port for key, port in self._made.known.items() if port in names}, observed):
            device = names.get(step.desired or step.observed or "")
            if device is None:
                continue
            known = bridge_messages.set_known if step.desired is not None else bridge_messages.delete_known
            message = known(device.alias, device.index, step.key.vid, step.key.mac)
            message = self._undoing(message, "port of", step.key.mac, step.observed, step.desired)
            (come if step.desired is not None else gone).append(message)
        return come, gone

    def _remotes(self) -> tuple[list[Message], list[Message]]:
        names = self._names
        ours = [name for name, tunnel in self._made.tunnels.items() if tunnel.remote is None and name in names]
        observed = {
            Remote(name, mac, among): vtep
            for name in ours
            for (mac, among), vtep in self._forwarding.remotes.get(names[name].index, {}).items()
        }
        come, gone = [], []
        for step in diff({key: vtep for key, vtep in self._made.remotes.items() if key.device in names}, observed):
            device, mac = names[step.key.device], step.key.mac
            if step.desired is not None:
                message = bridge_messages.set_remote(device.alias, device.index, mac, step.desired)
                come.append(self._undoing(message, "vtep of", mac, step.observed, step.desired))
            elif step.observed is not None:
                message = bridge_messages.delete_remote(device.alias, device.index, mac, step.observed)
                gone.append(self._undoing(message, "vtep of", mac, step.observed, step.desired))
        return come, gone

    def _neighbours(self) -> tuple[list[Message], list[Message]]:
        names = self._names
        observed = {
            Neighbour(name, address): mac
            for name in set(self._made.homes.values()) & names.keys()
            for address, mac in self._forwarding.neighbours.get(names[name].index, {}).items()
        }
        come, gone = [], []
        for step in diff({key: mac for key, mac in self._made.neighbours.items() if key.device in names}, observed):
            device, address = names[step.key.device], step.key.address
            if step.desired is not None:
                message = bridge_messages.set_neighbour(device.alias, device.index, address, step.desired)
                come.append(self._undoing(message, "neighbour", address, step.observed, step.desired))
                if step.verb == "change" and step.key in self._made.here:
                    self.moved.append(Moved(address, step.desired, self._tunnels_of(step.key.device)))
            else:
                message = bridge_messages.delete_neighbour(device.alias, device.index, address)
                gone.append(self._undoing(message, "neighbour", address, step.observed, step.desired))
        return come, gone

    def _vlans(
        self, device: Device, wanted: Vlans, observed: Vlans, *, own: bool = False
    ) -> tuple[list[Message], list[Message]]:
        """Those to add or to have other flags, and those to go."""
        kept = {vid for vid, _ in wanted}
        more = wanted - observed
        less = frozenset(vlan for vlan in observed if vlan[0] not in kept)
        come = [bridge_messages.add_vlans(device.alias, device.index, more, own=own)] if more else []
        gone = [bridge_messages.delete_vlans(device.alias, device.index, less, own=own)] if less else []

        def told(batch: list[Message]) -> list[Message]:
            return [self._undoing(each, "tag", "", _tags(observed), _tags(wanted)) for each in batch]

        return told(come), told(gone)

    def _undoing(self, message: Message, name: str, of: str | bytes, found: object, wanted: object) -> Message:
        """With what it undoes in words, while somebody wants to know."""
        if self._home.journal is None:
            return message
        return message._replace(undoes=(instead(f"{name} {_text(of)}".strip(), _text(found), _text(wanted)),))

    def _tunnels_of(self, home: str) -> tuple[str, ...]:
        """Those of the network that has its neighbours on this device."""
        return tuple(
            name
            for name, tunnel in self._made.tunnels.items()
            if self._made.homes[tunnel.network] == home and name in self._home.devices.by_name
        )

    def _send(self, batch: list[Message]) -> None:
        for start in range(0, len(batch), _TOGETHER):
            self._wires.refusals[self._home.name] += self._home.send(batch[start : start + _TOGETHER])


def _creation(wish: Bridge | Tunnel) -> Iterator[Message]:
    """A tunnel is set up when it is a port: until it has its flags, a port floods and learns."""
    yield bridge_messages.add_device(wish.alias, wish)
    bridge = isinstance(wish, Bridge)
    mac = wish.mac if isinstance(wish, Bridge) else None
    yield messages.set_link(wish.alias, wish.device, up=bridge, arp=bridge, mtu=wish.mtu, mac=mac, alias=wish.alias)


def _end(namespace: str, wish: Bridge | Tunnel) -> End:
    """A bridge has ARP, or it would not answer for neighbours."""
    if isinstance(wish, Tunnel):
        return End(namespace, wish.device, wish.alias, wish.mtu, up=False, arp=False, kinds=(wish.kind,))
    addresses, kinds = wish.addresses, ("bridge",)
    return End(namespace, wish.device, wish.alias, wish.mtu, mac=wish.mac, addresses=addresses, kinds=kinds)


def _text(value: object) -> object:
    """A MAC or an address as it is written."""
    if not isinstance(value, bytes):
        return value
    if value == ANYONE:
        return "all others"
    return Mac.from_bytes(value) if len(value) == len(ANYONE) else ip_address(value)


def _tags(vlans: Vlans) -> str:
    """`10, 20 untagged`."""
    return ", ".join(f"{vid}{' untagged' if flags & UNTAGGED else ''}" for vid, flags in sorted(vlans))


def _other_flags(found: Flags, wanted: Flags) -> tuple[str, ...]:
    pairs = zip(Flags._fields, found, wanted, strict=True)
    return tuple(instead(name, _on(is_), _on(shall_be)) for name, is_, shall_be in pairs if is_ != shall_be)


def _on(value: bool) -> str:
    return "on" if value else "off"
