"""The topology file's interfaces as pydantic models: how nodes and guests are attached to networks.

Enters: plain values. Leaves: parts of a `Topology` (`schema`), every scalar parsed. Never: a reference resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from sdn.topology.parts import Part
from sdn.topology.values import Allowed, InterfaceName, Ip, MacAddress, Name, OneOrMany, TrunkKey


class AllowedAddress(Part):
    """An address beyond its own that a port may send from."""

    ip: Allowed = Field(description="Address or subnet.")
    mac: MacAddress | None = Field(None, description="With this MAC; the port's own where it is not given.")


def _allowed(value: Any) -> Any:
    return {"ip": value} if isinstance(value, str) else value


def _tagged(value: Any) -> Any:
    return {"network": value} if isinstance(value, str) else value


_Allowed = Annotated[AllowedAddress, BeforeValidator(_allowed, json_schema_input_type=Allowed | AllowedAddress)]


class Tagged(Part):
    """A network that a trunk carries."""

    network: Name = Field(description="The network; a range of them for a range of tags.")
    ip: Annotated[list[Ip], OneOrMany()] | None = Field(None, description="Fixed address, or one per family.")
    allowed_addresses: list[_Allowed] = Field([], description="Further addresses that it may send from.")


_Trunk = dict[TrunkKey, Annotated[Tagged, BeforeValidator(_tagged, json_schema_input_type=Name | Tagged)]]


Macvlan = Literal["bridge", "private", "vepa", "passthru"]


def _check_macvlan(port: Port | Node) -> None:
    """What does not go with a device on the uplink, where no switch of ours is passed."""
    given = [key for key in ("macvlan", "macvtap") if getattr(port, key) is not None]
    if len(given) == 2:
        raise ValueError("'macvlan' and 'macvtap' are both given; expected one of them")
    for key in given:
        if port.trunk is not None:
            raise ValueError(f"{key} of a trunk is not possible; expected a port on one network")
        if port.allowed_addresses:
            raise ValueError(f"'allowed_addresses' have no meaning with {key}, where nothing is checked; expected none")
        if port.spoof_guard:
            raise ValueError(f"{key} cannot be guarded against spoofing; expected 'spoof_guard: false' beside it")


class Port(Part):
    """The attachment of one interface: to one `network`, or to several by a `trunk`."""

    network: Name | None = Field(None, description="The network of an access port.")
    trunk: _Trunk | None = Field(
        None, min_length=1, description="Networks by VLAN id, such as {native: web, 20: db, 100-102: 'net[1-3]'}."
    )
    name: InterfaceName | None = Field(None, description="Name of the interface; eth0, eth1 and so on by default.")
    ip: Annotated[list[Ip], OneOrMany()] | None = Field(
        None, description="Fixed address, or one per family; in a range of nodes it counts up."
    )
    mac: MacAddress | None = Field(None, description="Fixed MAC; in a range of nodes it counts up.")
    allowed_addresses: list[_Allowed] = Field([], description="Further addresses that it may send from.")
    spoof_guard: bool = Field(True, description="Whether it sends only from its own and its allowed addresses.")
    macvlan: Macvlan | None = Field(
        None, description="A device on the chassis' uplink instead of a port of its switch."
    )
    macvtap: Macvlan | None = Field(None, description="As macvlan, with a character device for a virtual machine.")
    groups: list[Name] = Field([], description="Security groups.")

    @model_validator(mode="after")
    def _one_attachment(self) -> Port:
        if (self.network is None) == (self.trunk is None):
            raise ValueError("a port is on a network or is a trunk; expected one of 'network' and 'trunk'")
        if self.trunk is not None and self.ip is not None:
            raise ValueError("'ip' of a trunk is unclear; expected {native: {network: web, ip: …}}")
        self.check_device()
        return self

    def check_device(self) -> None:
        _check_macvlan(self)


class Nic(Port):
    """An interface of a guest."""

    dhcp: bool = Field(False, description="Whether the guest asks for its addresses by DHCP instead of being told.")

    def check_device(self) -> None:
        for key in ("macvlan", "macvtap"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key} of a guest is not possible yet; expected a port of the chassis' switch")
        if self.dhcp and self.trunk is not None:
            raise ValueError("'dhcp' of a trunk is not possible yet; expected it on one network")


_OF_ONE_PORT: Final = frozenset(
    {"ip", "mac", "allowed_addresses", "spoof_guard", "macvlan", "macvtap", "dhcp", "groups"}
)


class Attached(Part):
    """What has one interface (`network` or `trunk`), or several by a key of its own."""

    several: ClassVar[str]
    """The key of a list of interfaces."""

    network: Name | None = Field(None, description="The network of its only interface.")
    trunk: _Trunk | None = Field(None, min_length=1, description="The networks of its only interface, by VLAN id.")
    chassis: Name | None = Field(None, description="Where it runs.")
    place: Literal["spread", "pack"] | None = Field(
        None, description="Where no chassis is given: spread over all of them by number, or pack on the first."
    )
    ip: Annotated[list[Ip], OneOrMany()] | None = Field(
        None, description="Fixed address, or one per family; in a range of nodes it counts up."
    )
    mac: MacAddress | None = Field(None, description="Fixed MAC; in a range of nodes it counts up.")
    allowed_addresses: list[_Allowed] = Field([], description="Further addresses that it may send from.")
    spoof_guard: bool = Field(True, description="Whether it sends only from its own and its allowed addresses.")
    groups: list[Name] = Field([], description="Security groups.")

    def listed(self) -> Sequence[Port] | None:
        """Its interfaces, where they are a list."""
        found: Sequence[Port] | None = getattr(self, self.several)
        return found

    def interfaces(self) -> Sequence[Port]:
        """Its interfaces, however they are written."""
        listed = self.listed()
        if listed is not None:
            return listed
        shared = self.model_fields_set & Nic.model_fields.keys()
        return [Nic.model_construct(_fields_set=None, **{key: getattr(self, key) for key in shared})]

    def check_attachment(self, kind: str) -> None:
        given = [key for key in ("network", "trunk", self.several) if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"this {kind} has {' and '.join(given) or 'no network'}; "
                f"expected one of 'network', 'trunk' and '{self.several}'"
            )
        if self.chassis is not None and self.place is not None:
            raise ValueError("'chassis' and 'place' are both given; expected one of them")
        if self.trunk is not None and self.ip is not None:
            raise ValueError("'ip' of a trunk is unclear; expected {native: {network: web, ip: …}}")
        misplaced = sorted(self.model_fields_set & _OF_ONE_PORT)
        if self.listed() is not None and misplaced:
            raise ValueError(
                f"'{misplaced[0]}' stands beside '{self.several}'; expected it inside one of the {self.several}"
            )


class Node(Attached):
    """A network namespace with one port (`network` or `trunk`) or several (`ports`)."""

    several = "ports"

    ports: list[Port] | None = Field(None, min_length=1, description="Its interfaces, where there are several.")
    macvlan: Macvlan | None = Field(
        None, description="A device on the chassis' uplink instead of a port of its switch."
    )
    macvtap: Macvlan | None = Field(None, description="As macvlan, with a character device for a virtual machine.")

    @model_validator(mode="after")
    def _attachment(self) -> Node:
        self.check_attachment("node")
        _check_macvlan(self)
        return self
