"""The kernel's own bridges as the switch of one chassis.

Enters: a HostSpec. Leaves: bridges, ports, tunnels, filtering entries and neighbours so. Never: a daemon, a database:
everything is netlink, in the two turns that the kernel's devices have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from datapath.drift import Difference, changed
from datapath.errors import SdnError
from datapath.linux import form, wiring
from datapath.linux.announce import announce
from datapath.linux.bridge_messages import BR_MAX_LEARNED
from datapath.linux.bridges import Bridges
from datapath.linux.bridging import PVID, Bridging, access_vids, bridging
from datapath.linux.firewall import Firewall
from datapath.linux.form import Choice
from datapath.linux.host import Host, Namespace
from datapath.linux.vlan import Trunks
from datapath.linux.wires import Wires
from datapath.linux.wiring import DatapathType, End
from datapath.spec import HostSpec, Interface
from datapath.switch import Plugged

SETTINGS: Final = {
    # It answers for the addresses of the device that it is asked on, and takes packets from where it would send them:
    # a node reaches none of the chassis' other addresses.
    "/proc/sys/net/ipv4/conf/all/arp_ignore": "1",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "1",
    # What is bridged is not routed: no iptables, no connection tracking.
    "/proc/sys/net/bridge/bridge-nf-call-arptables": "0",
    "/proc/sys/net/bridge/bridge-nf-call-iptables": "0",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables": "0",
}
_ATTEMPTS: Final = 3
"""At what was changed behind our back: of a device that goes its entries do so first, and cannot be put back."""
_IPV6: Final = "/proc/sys/net/ipv6/conf"


class LinuxSwitch:
    """What the kernel tells of devices, the chassis' namespace hears. `on_change` is called with '' for the rest."""

    type: DatapathType = "linux"

    def __init__(self, host: Host, chassis: str, on_change: Callable[[str], None]) -> None:
        self.errors: dict[str, tuple[str, ...]] = {}
        self.found: list[Difference] = []
        self._host = host
        self._chassis = chassis
        self._on_change = on_change
        self._firewall = Firewall(host, self._firewall_changed)
        self._guarded = False
        self._choice: Choice | None = None
        self._home: Namespace | None = None
        """The namespace that has its settings."""
        self._made: tuple[HostSpec, Bridging] | None = None
        self._plugged: HostSpec | None = None
        """The spec that was carried out last."""
        self._remarks: tuple[str, ...] = ()
        self._trunks: set[str] | None = None
        """Devices that had tags when last looked at."""
        self._ipv6: set[int] = set()
        """Indexes of devices on which IPv6 is enabled."""

    @property
    def version(self) -> int:
        return self._firewall.version

    @property
    def transactions(self) -> int:
        return self._firewall.transactions

    @property
    def notes(self) -> tuple[str, ...]:
        return (self._choice.reason, *self._remarks) if self._choice else ()

    def devices(self, spec: HostSpec) -> set[str] | None:
        """Also VLAN devices of ports, and what makes them where the kernel has none."""
        home = self._host.namespaces.get(spec.namespace)
        made = self._bridging(spec, home) if home else None
        if made is None:
            return None
        found = {*made.bridges, *made.tunnels, *made.subs}
        return found | {wiring.tagger(parent, tag) for parent, tag in made.subs.values()}

    def is_right(self, spec: HostSpec) -> bool:
        """The settings of its namespace: where they are not, they are written anew when it is looked at."""
        home = self._host.namespaces.get(spec.namespace)
        if home is None or home is not self._home:
            return True  # it is looked at anyway
        wrong: list[str] = []
        wanted = SETTINGS | self._firewall.settings
        self._host.visit(home, lambda: wrong.extend(_differing(wanted)))
        if wrong:
            self._home = None
            self._firewall.forget_settings()
        return not wrong

    def doubt(self) -> None:
        """Nothing: it compares each time."""

    async def start(self, spec: HostSpec, home: Namespace) -> None:
        """Nothing: the kernel is up."""

    def lay(self, spec: HostSpec, wires: Wires) -> None:
        home = self._host.namespaces.get(spec.namespace)
        made = self._bridging(spec, home) if home else None
        if home is not None and made is not None:
            self._guarded = self._firewall.settle(spec, home, made)
            self.errors["firewall"] = self._firewall.errors
            self.errors["repair"] = ()
            self.errors["tunnels"] = self._bridges(home, made, wires).lay()

    def plug(self, spec: HostSpec, wires: Wires) -> None:
        """VLAN devices, the guard, and then ports: what is not guarded is in no bridge."""
        home = self._host.namespaces.get(spec.namespace)
        made = self._bridging(spec, home) if home else None
        if home is None or made is None or not self._guarded:
            return
        bridges = self._bridges(home, made, wires)
        bridges.open_trunks()
        self._settle_trunks(home, made, Trunks(self._host, wires))
        self._allow_ipv6_neighbours(home, made)
        bridges.join()
        self._announce(home, bridges)
        wires.refusals[home.name] += self._firewall.lead(spec, home, made)
        if wires.refusals[home.name]:
            self._ipv6.clear()  # an MTU that is too small for it, for one, takes IPv6 off a device for good
        self._plugged = spec
        self._remarks = tuple(self._remark(home, made, wires))

    def _settle_trunks(self, home: Namespace, made: Bridging, trunks: Trunks) -> None:
        """VLAN devices of those that went are gone already; programs that served them are left, if the kernel has no
        such devices. An agent that has just come looks at all ports."""
        trunks.settle(made.trunks.values())
        former = made.ports.keys() if self._trunks is None else self._trunks
        if made.form == "classic":
            devices = [
                home.devices.by_name[name] for name in former - made.trunks.keys() if name in home.devices.by_name
            ]
            veths = [device for device in devices if device.kind == "veth" and device.alias]
            trunks.forget(End(home.name, device.name, device.alias, device.mtu) for device in veths)
        self._trunks = set(made.trunks)

    def _bridges(self, home: Namespace, made: Bridging, wires: Wires) -> Bridges:
        return Bridges(self._host.lab, self._chassis, home, made, wires)

    def _bridging(self, spec: HostSpec, home: Namespace) -> Bridging | None:
        """Found once for a spec; None where it cannot be had, which is an error of the chassis then."""
        if self._made is not None and self._made[0] is spec and self._home is home:
            return self._made[1]
        try:
            self._settle_in(home)
            choice = self._choice = form.choose(self._host)
            pvids = _pvids(home) if choice.form == "aware" else {}
            made = bridging(spec, choice.form, access_vids(spec, pvids))
        except (OSError, SdnError) as error:
            self.errors["bridges"] = (f"bridges: {error}",)
            return None
        self.errors["bridges"] = ()
        self._made = spec, made
        return made

    def _settle_in(self, home: Namespace) -> None:
        if self._home is not home:
            home.watch_forwarding()
            self._host.visit(home, partial(_write, SETTINGS))
            self._home = home
            self._ipv6.clear()
            self._trunks = None

    def _allow_ipv6_neighbours(self, home: Namespace, made: Bridging) -> None:
        """A device has none while IPv6 is disabled on it. Without an address it does not speak it."""
        asked = {neighbour.device for neighbour in made.neighbours if len(neighbour.address) == 16}
        devices = [home.devices.by_name[name] for name in asked if name in home.devices.by_name]
        missing = [device for device in devices if device.index in home.ours - self._ipv6]
        if missing:
            self._host.visit(home, lambda: _write(_quiet_ipv6(device.name for device in missing)))
            self._ipv6 |= {device.index for device in missing}

    def _announce(self, home: Namespace, bridges: Bridges) -> None:
        self.errors["announcements"] = ()
        if bridges.moved:
            try:
                self._host.visit(home, lambda: announce(bridges.moved))
            except OSError as error:
                self.errors["announcements"] = (f"addresses that have another MAC are not announced: {error}",)

    def _remark(self, home: Namespace, made: Bridging, wires: Wires) -> list[str]:
        said = []
        if made.learns and not _limits_learning(home, made):
            said.append("MACs learned at uplinks have no limit: this kernel has none (before Linux 6.7)")
        devices = [home.devices.by_name.get(name) for name in made.subs]
        by_ebpf = [device for device in devices if device is not None and device.kind == "veth"]
        if by_ebpf:
            said.append(f"kernel lacks 8021q: {len(by_ebpf)} VLAN devices of ports are made with eBPF")
        self.errors["vlans"] = tuple(wires.notes.get(home.name, ())) if None in devices else ()
        return said

    async def configure(self, spec: HostSpec, without: set[str]) -> None:
        """Nothing: there is no database."""

    def hear(self, spec: HostSpec) -> None:
        """What was changed behind our back: the vtep's address, devices, ports, entries. Nodes are the agent's."""
        if self._plugged is not spec:
            return
        for _ in range(_ATTEMPTS):
            wires = Wires(self._host)
            wires.settle(pair.near for pair in wiring.chassis_pairs(spec, self.type))
            self.lay(spec, wires)
            self.plug(spec, wires)
            refused = wires.refusals.get(spec.namespace, ())
            if not refused:
                return
        self.errors["repair"] = tuple(dict.fromkeys(map(str, refused)))

    async def renew(self, spec: HostSpec) -> None:
        """Nothing: what is set here stays."""

    def plugged(self, interface: Interface) -> Plugged:
        if interface.macvlan is not None:
            return Plugged(True)
        device = self._home.devices.by_name.get(interface.bridge_port) if self._home else None
        return Plugged(device is not None and device.up)

    def _firewall_changed(self) -> None:
        self.found += changed(f"firewall of {self._chassis}", self._firewall.changes)
        if self._plugged is not None and self._made is not None and self._made[0] is self._plugged:
            self.hear(self._plugged)  # else another wish is being carried out, which looks at it
        self._on_change("")

    def close(self) -> None:
        self._firewall.close()

    async def remove(self) -> None:
        """All of it goes with the namespace."""
        self._firewall.close()


def _pvids(home: Namespace) -> dict[str, int]:
    """Of ports by name."""
    ports = home.watch_forwarding().ports
    found = {}
    for name, device in home.devices.by_name.items():
        state = ports.get(device.index)
        found[name] = next((vid for vid, flags in state.vlans if flags & PVID), 0) if state else 0
    return found


def _differing(settings: dict[str, str]) -> list[str]:
    """In a thread within the namespace."""
    return [file for file, value in settings.items() if Path(file).exists() and Path(file).read_text().strip() != value]


def _limits_learning(home: Namespace, made: Bridging) -> bool:
    bridges = [home.devices.by_name.get(name) for name in made.bridges]
    return all(bridge is None or BR_MAX_LEARNED in dict(bridge.traits) for bridge in bridges)


def _quiet_ipv6(devices: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in devices:
        found[f"{_IPV6}/{name}/addr_gen_mode"] = "1"  # no link-local address
        found[f"{_IPV6}/{name}/accept_ra"] = "0"
        found[f"{_IPV6}/{name}/disable_ipv6"] = "0"
    return found


def _write(settings: dict[str, str]) -> None:
    """In a thread within the namespace."""
    for file, value in settings.items():
        path = Path(file)
        if path.exists():  # what the kernel does not have cannot do harm
            path.write_text(value)
