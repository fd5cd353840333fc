"""Makes the bridges of a chassis what `bridging` says, in a few batches, and touches nothing that is right.

Enters: a Bridging value, the chassis' namespace as it is. Leaves: the kernel so; refusals. Never: a device of another's
changed; what is new waits for what is old to go: devices, filtering entries and VLANs come first, and go last.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

from datapath.linux import bridge_messages, messages
from datapath.linux.announce import Moved
from datapath.linux.bridge_messages import traits
from datapath.linux.bridging import Bridge, Bridging, Flags, Known, Neighbour, Port, Remote, Tunnel, TunnelDevice
from datapath.linux.devices import Device
from datapath.linux.forwarding import Bridged, Forwarding
from datapath.linux.host import Namespace
from datapath.linux.netlink import Message
from datapath.linux.wires import Wires
from datapath.linux.wiring import End
from datapath.plan import diff
from datapath.spec import MARK

_FEATURES: dict[TunnelDevice, str] = {"vxlan": "VXLAN (vxlan)", "gretap": "GRE (gretap)"}
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

    def _is_in_the_way(self, name: str) -> bool:
        """Whether somebody else's device has the name of one of ours."""
        wish = self._made.bridges.get(name) or self._made.tunnels.get(name)
        return wish is not None and not self._is_there(wish)

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
        come, gone = self._ports()
        for more, less in (self._own_vlans(), self._known(), self._remotes(), self._neighbours()):
            come += more
            gone += less
        self._send([*come, *self._set_up(self._made.ports), *gone])

    def _set_up(self, names: Iterable[str]) -> Iterator[Message]:
        for name in names:
            device = self._home.devices.by_name.get(name)
            # the kernel does not tell of an alias that a device gets while it is down
            if device is None or self._is_in_the_way(name):
                continue
            if not device.up and (not device.alias or self._is_ours(device)):
                yield bridge_messages.set_up(device.alias or name, device.index)

    def _ports(self) -> tuple[list[Message], list[Message]]:
        come: list[Message] = []
        gone: list[Message] = []
        names = self._home.devices.by_name
        wanted = {
            name: port
            for name, port in self._made.ports.items()
            if name in names and port.bridge in names and not self._is_in_the_way(name)
        }
        for step in diff(wanted, self._observed()):
            device = names[step.key]
            if step.desired is None:
                gone.append(bridge_messages.set_master(device.alias, device.index, 0))
                continue
            was = step.observed or Port("", Flags())
            if step.desired.bridge != was.bridge:
                come.append(bridge_messages.set_master(device.alias, device.index, names[step.desired.bridge].index))
                was = Port("", Flags(learning=True, flood=True))  # as a bridge takes it
            if step.desired.flags != was.flags:
                come.append(bridge_messages.set_flags(device.alias, device.index, step.desired.flags))
            more, less = _vlans(device, step.desired.vlans, was.vlans)
            come += more
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
            if device is not None:
                state = self._forwarding.ports.get(device.index, Bridged(None, frozenset()))
                more, less = _vlans(device, vlans, state.vlans, own=True)
                come += more
                gone += less
        return come, gone

    def _known(self) -> tuple[list[Message], list[Message]]:
        names = self._home.devices.by_name
        by_index = {device.index: name for name, device in names.items()}
        observed = {
            Known(bridge, vid, mac): by_index.get(port, "")
            for bridge in self._made.bridges.keys() & names.keys()
            for (vid, mac), port in self._forwarding.known.get(names[bridge].index, {}).items()
        }
        come, gone = [], []
        for step in diff({key: port for key, port in self._made.known.items() if port in names}, observed):
            device = names.get(step.desired or step.observed or "")
            if device is not None and step.desired is not None:
                come.append(bridge_messages.set_known(device.alias, device.index, step.key.vid, step.key.mac))
            elif device is not None:
                gone.append(bridge_messages.delete_known(device.alias, device.index, step.key.vid, step.key.mac))
        return come, gone

    def _remotes(self) -> tuple[list[Message], list[Message]]:
        names = self._home.devices.by_name
        ours = [name for name, tunnel in self._made.tunnels.items() if tunnel.remote is None and name in names]
        observed = {
            Remote(name, mac, among): vtep
            for name in ours
            for (mac, among), vtep in self._forwarding.remotes.get(names[name].index, {}).items()
        }
        come, gone = [], []
        for step in diff({key: vtep for key, vtep in self._made.remotes.items() if key.device in names}, observed):
            device = names[step.key.device]
            if step.desired is not None:
                come.append(bridge_messages.set_remote(device.alias, device.index, step.key.mac, step.desired))
            elif step.observed is not None:
                gone.append(bridge_messages.delete_remote(device.alias, device.index, step.key.mac, step.observed))
        return come, gone

    def _neighbours(self) -> tuple[list[Message], list[Message]]:
        names = self._home.devices.by_name
        observed = {
            Neighbour(name, address): mac
            for name in set(self._made.homes.values()) & names.keys()
            for address, mac in self._forwarding.neighbours.get(names[name].index, {}).items()
        }
        come, gone = [], []
        for step in diff({key: mac for key, mac in self._made.neighbours.items() if key.device in names}, observed):
            device = names[step.key.device]
            if step.desired is not None:
                come.append(bridge_messages.set_neighbour(device.alias, device.index, step.key.address, step.desired))
                if step.verb == "change" and step.key in self._made.here:
                    self.moved.append(Moved(step.key.address, step.desired, self._tunnels_of(step.key.device)))
            else:
                gone.append(bridge_messages.delete_neighbour(device.alias, device.index, step.key.address))
        return come, gone

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
        return End(namespace, wish.device, wish.alias, wish.mtu, up=False, arp=False)
    return End(namespace, wish.device, wish.alias, wish.mtu, mac=wish.mac, addresses=wish.addresses)


def _vlans(
    device: Device, wanted: frozenset[tuple[int, int]], observed: frozenset[tuple[int, int]], *, own: bool = False
) -> tuple[list[Message], list[Message]]:
    """Those to add or to have other flags, and those to go."""
    kept = {vid for vid, _ in wanted}
    more = wanted - observed
    less = frozenset(vlan for vlan in observed if vlan[0] not in kept)
    come = [bridge_messages.add_vlans(device.alias, device.index, more, own=own)] if more else []
    gone = [bridge_messages.delete_vlans(device.alias, device.index, less, own=own)] if less else []
    return come, gone
