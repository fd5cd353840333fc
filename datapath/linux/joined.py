"""The interfaces of this machine that the physical networks of a lab have: kept so, and given back.

Enters: HostSpecs, the whole desired state each time; what the kernel tells of these interfaces. Leaves: each one in a
bridge of the machine's namespace, wired to the physical network's bridge in the lab's; errors by chassis. Never: an
interface that is in use otherwise is touched; one that is right is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from datapath.errors import RefusedError, SdnError
from datapath.linux import messages
from datapath.linux.devices import Device
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import Message, Refusal
from datapath.linux.record import Record
from datapath.linux.takeover import Takeover, silence, taken, wire_name
from datapath.linux.uplink import Found, Machine, bridge_name, trouble
from datapath.linux.wires import Wires
from datapath.linux.wiring import End, machine_end
from datapath.spec import HostSpec, Uplink, alias, namespace

_NETFILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class MachineUplinks:
    """Of one lab. Made and used in the main thread, which is in the machine's own namespace.

    `errors` and `notes` are by chassis. When `fileno()` is readable the kernel has told of an interface: `hear()`.
    """

    def __init__(self, lab: str, run_dir: Path, host: Host) -> None:
        self.errors: dict[str, tuple[str, ...]] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self._lab = lab
        self._run_dir = run_dir
        self._host = host
        self._machine = Machine(self._stir)
        self._stirred = False
        self._specs: Mapping[str, HostSpec] = {}
        self._idle = False
        """Nothing is wanted, and nothing was there when last looked."""
        self._failed: dict[str, tuple[Uplink, Found, SdnError]] = {}
        """What went wrong half-way is not tried again while all is the same: each try moves addresses."""

    @property
    def sent(self) -> int:
        """Netlink requests made so far in the machine's namespace."""
        return self._machine.sent

    def settle(self, specs: Mapping[str, HostSpec]) -> None:
        """Gives back what is no longer wanted, takes what is, sets right what is not as it should be."""
        self._specs = specs
        wanted = {uplink.physnet: uplink for spec in specs.values() for uplink in spec.uplinks if uplink.interface}
        if not wanted and self._idle:
            return
        try:
            errors, kept = self._give_back(wanted)
            for uplink in wanted.values():
                if uplink.physnet not in errors:
                    errors[uplink.physnet] = self._tried(uplink, kept.get(uplink.physnet))
        except (OSError, SdnError) as error:  # what there is could not be read
            errors = dict.fromkeys(wanted or ("",), str(error))
        self._idle = not wanted and not any(errors.values())
        self._tell(wanted, errors)
        self._watch(wanted)

    def hear(self) -> bool:
        """Takes in what the kernel has told, and sets right what has changed. True if errors may have."""
        self._machine.channel.hear()
        if not self._stirred:
            return False
        self._stirred = False
        before = self.errors
        self.settle(self._specs)
        return self.errors != before

    def fileno(self) -> int:
        return self._machine.channel.fileno()

    def close(self) -> None:
        """Lets go; everything stays as it is."""
        self._machine.close()

    def _stir(self) -> None:
        self._stirred = True

    def _watch(self, wanted: Mapping[str, Uplink]) -> None:
        """The interfaces, the bridges and their wires; by number too, which stays when a name changes."""
        names = [uplink.interface for uplink in wanted.values()]
        names += [bridge_name(self._lab, physnet) for physnet in wanted]
        names += [wire_name(self._lab, physnet) for physnet in wanted]
        links = self._machine.links() if wanted else {}
        self._machine.watch(names, [links[name].index for name in names if name in links])

    def _tell(self, wanted: Mapping[str, Uplink], errors: Mapping[str, str]) -> None:
        """What is no chassis' own any more is told by all of them."""
        told: dict[str, list[str]] = defaultdict(list)
        for physnet, error in errors.items():
            having = [name for name, spec in self._specs.items() if any(u.physnet == physnet for u in spec.uplinks)]
            for name in (having if physnet in wanted else None) or self._specs or [""]:
                told[name] += [error] if error else []
        self.errors = {name: tuple(of_one) for name, of_one in told.items() if of_one}
        note = _netfilter() if wanted else ""
        uses = {name for name, spec in self._specs.items() if any(uplink.interface for uplink in spec.uplinks)}
        self.notes = {name: (note,) for name in uses if note}

    def _give_back(self, wanted: Mapping[str, Uplink]) -> tuple[dict[str, str], dict[str, Record]]:
        """Before anything is taken: an interface may have come to another network. Errors, and what is kept."""
        errors, kept = {}, {}
        for physnet, noted in taken(self._machine, self._lab, self._run_dir).items():
            uplink = wanted.get(physnet)
            if uplink and (uplink.interface, uplink.moves_addresses) == (noted.interface, noted.moves):
                kept[physnet] = noted
                continue
            try:
                self._takeover(physnet).give_back(noted)
            except (OSError, SdnError) as error:
                errors[physnet] = str(error)
        return errors, kept

    def _takeover(self, physnet: str) -> Takeover:
        return Takeover(self._machine, self._lab, physnet, self._run_dir)

    def _tried(self, uplink: Uplink, noted: Record | None) -> str:
        """Why the network does not have its interface, or ''."""
        found = self._machine.find(uplink.interface)
        failed = self._failed.get(uplink.physnet)
        if failed and failed[:2] == (uplink, found):
            return str(failed[2])
        self._failed.pop(uplink.physnet, None)
        problem = trouble(self._lab, uplink, found)
        if problem is not None:
            return str(problem)
        try:
            self._join(uplink, noted)
        except SdnError as error:
            self._failed[uplink.physnet] = uplink, self._machine.find(uplink.interface), error
            return str(error)
        return ""

    def _join(self, uplink: Uplink, noted: Record | None) -> None:
        takeover = self._takeover(uplink.physnet)
        if noted is None or not takeover.holds(noted):
            takeover.take(uplink, noted)
        bridge, home = takeover.bridge(), self._host.namespaces.get(namespace(self._lab))
        if bridge is None or home is None:
            raise SdnError(f"physnet {uplink.physnet}: the lab's own namespace is not there")
        self._wire(uplink, bridge, home)

    # The wire between the bridge and the lab

    def _wire(self, uplink: Uplink, bridge: Device, home: Namespace) -> None:
        name, end = wire_name(self._lab, uplink.physnet), machine_end(self._lab, uplink)
        near, far = self._machine.links().get(name), home.devices.by_name.get(end.device)
        if near is None or far is None or (near.peer, far.peer) != (far.index, near.index):
            self._lay(uplink, name, near, end, home)
            near = self._machine.links().get(name)
        if near is None or not (near.up and near.master == bridge.index):
            device = name if near is None else near.index
            self._do([messages.set_link(name, device, up=True, arp=False, master=bridge.index)])
        wires = Wires(self._host)
        wires.settle([end])
        _check([refusal for of_one in wires.refusals.values() for refusal in of_one])

    def _lay(self, uplink: Uplink, name: str, near: Device | None, end: End, home: Namespace) -> None:
        """A veth, of which an end that is left over goes first."""
        mark = alias(self._lab, uplink.physnet)
        if near is not None and _is_left_over(near, mark):
            self._do([messages.delete_link(f"remove {name}", near.index)])
        home.hear()
        left = home.devices.by_name.get(end.device)
        if left is not None and not left.alias:  # the kernel does not tell of one that it got while it was down
            home.devices.read(home.channel)
            left = home.devices.by_name.get(end.device)
        if left is not None and _is_left_over(left, end.alias):
            _check(home.send([messages.delete_link(f"remove {end.device}", left.index)]))
        with home.descriptor() as descriptor:
            self._do([messages.add_veth(mark, name, end.mtu, end.device, descriptor)])
        self._do([messages.set_link(mark, name, alias=mark)])  # by name, which the kernel has refused to another's
        silence(name)
        home.hear()

    def _do(self, batch: list[Message]) -> None:
        _check(self._machine.send(batch))


def _is_left_over(device: Device, mark: str) -> bool:
    """Else the kernel refuses ours: the name is taken."""
    return device.kind == "veth" and device.alias in ("", mark)


def _check(refusals: list[Refusal]) -> None:
    if refusals:
        raise RefusedError("; ".join(map(str, refusals)))


def _netfilter() -> str:
    """Where br_netfilter is on, a bridge asks iptables: a machine whose FORWARD chain drops (Docker's) drops there."""
    if _NETFILTER.exists() and _NETFILTER.read_text().strip() == "1":
        return (
            "bridge-nf-call-iptables is 1: frames to and from the machine's interface pass its iptables FORWARD chain"
        )
    return ""
