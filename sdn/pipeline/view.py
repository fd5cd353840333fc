"""The model as one chassis sees it: which networks are present there, which ports are local, who else has a network.

Enters: Model, actual ofports. Leaves: View, the only thing that a table's functions look at. Never: a flow. PURE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from datapath.addr import Mac
from sdn.model import Chassis, Model, Network, Port


class Places:
    """Where the ports of each network are: network → chassis → port name → Port. A chassis without a port is absent.

    A port whose guest moves is at both ends: the one where it arrives has the network before the guest does.
    """

    def __init__(self, ports: Iterable[Port] = ()) -> None:
        self._places: dict[str, dict[str, dict[str, Port]]] = {}
        for port in ports:
            self.add(port)

    def add(self, port: Port) -> None:
        for chassis in _ends(port):
            self._places.setdefault(port.network, {}).setdefault(chassis, {})[port.name] = port

    def remove(self, port: Port) -> None:
        places = self._places[port.network]
        for chassis in _ends(port):
            del places[chassis][port.name]
            if not places[chassis]:
                del places[chassis]
        if not places:
            del self._places[port.network]

    def chassis_of(self, network: str) -> Mapping[str, Mapping[str, Port]]:
        """The chassis that have the network, each with its ports of it."""
        return self._places.get(network, {})

    def present(self, chassis: str) -> Iterator[str]:
        """Names of the networks that the chassis has."""
        return (network for network, places in self._places.items() if chassis in places)

    def ports_of(self, network: str) -> Iterator[Port]:
        places = self.chassis_of(network).items()
        return (port for chassis, ports in places for port in ports.values() if port.chassis == chassis)


def _ends(port: Port) -> set[str]:
    """Of a guest that is said to be on its way to where it is, one."""
    return {port.chassis, port.arrives.chassis} if port.arrives else {port.chassis}


@dataclass(frozen=True, slots=True)
class View:
    """What the tables of one chassis are compiled from."""

    chassis: Chassis
    model: Model
    places: Places
    ofports: Mapping[str, int] = field(default_factory=dict)
    """Actual OpenFlow port numbers of ports that did not get the one in the model."""
    rewrites_nd: bool = True
    """Whether its switch can turn an ND question into an answer."""

    def ofport(self, port: Port) -> int:
        if self.awaits(port):
            assert port.arrives is not None
            return port.arrives.ofport
        return self.ofports.get(port.name, port.ofport)

    def networks(self) -> Iterator[Network]:
        """The networks that this chassis has, in the model's order."""
        present = set(self.places.present(self.chassis.name))
        return (network for name, network in self.model.networks.items() if name in present)

    def local_ports(self, network: Network) -> list[Port]:
        """The network's ports here, by id, so that flood lists come out in one order."""
        ports = self.places.chassis_of(network.name).get(self.chassis.name, {})
        return sorted(filter(self.is_local, ports.values()), key=lambda port: port.id)

    def is_local(self, port: Port) -> bool:
        return port.chassis == self.chassis.name

    def awaits(self, port: Port) -> bool:
        """Whether its guest is on the way here."""
        return port.arrives is not None and port.arrives.chassis == self.chassis.name

    def remote_chassis(self, network: Network) -> list[Chassis]:
        """The other chassis that have the network, by vtep: the head-end replication list."""
        names = (name for name in self.places.chassis_of(network.name) if name != self.chassis.name)
        return sorted((self.model.chassis[name] for name in names), key=lambda chassis: chassis.vtep)

    def uplink(self, network: Network) -> int | None:
        """The ofport of this chassis' uplink into the network's physical network; None where it has none."""
        physnet = network.segment.physnet
        return self.model.physnets[physnet].ofport if physnet in self.chassis.physnets else None

    def virtual_macs(self, network: Network) -> dict[Mac, list[Port]]:
        """MACs that ports may use beside their own (`allowed_addresses`), with the ports that may."""
        holders: dict[Mac, list[Port]] = {}
        for port in sorted(self.places.ports_of(network.name), key=lambda port: port.id):
            for mac in dict.fromkeys(allowed.mac for allowed in port.allowed if allowed.mac not in (None, port.mac)):
                if mac is not None:
                    holders.setdefault(mac, []).append(port)
        return holders
