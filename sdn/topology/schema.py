"""The topology file as pydantic models: one class per kind of mapping in it, and its JSON schema.

Enters: plain values. Leaves: a `Topology`, every scalar parsed, no reference resolved yet. Never: a default that
depends on another object (those are filled in by `build`).

`python -m sdn.topology.schema > topologies/schema.json` writes the schema that editors complete from.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from sdn.topology.parts import (
    ISOLATED,
    LOCAL,
    VLAN,
    VNI,
    VSID,
    Chassis,
    Forward,
    Network,
    Part,
    Physnet,
    Segment,
    Underlay,
)
from sdn.topology.values import (
    Allowed,
    Bounded,
    InterfaceName,
    Ip,
    LabName,
    MacAddress,
    Name,
    OneOrMany,
    TrunkKey,
    Within,
)

__all__ = [
    "ISOLATED",
    "LOCAL",
    "VLAN",
    "VNI",
    "VSID",
    "AllowedAddress",
    "Chassis",
    "Forward",
    "Gateway",
    "Guest",
    "Network",
    "Node",
    "Part",
    "Physnet",
    "Port",
    "Router",
    "Rule",
    "Segment",
    "Tagged",
    "Test",
    "Topology",
    "Underlay",
    "json_schema",
]

TCP_UDP: Final = Bounded("port", 1, 65535)


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
        _check_macvlan(self)
        return self


_OF_ONE_PORT: Final = frozenset({"ip", "mac", "allowed_addresses", "spoof_guard", "macvlan", "macvtap", "groups"})


class Node(Part):
    """A network namespace with one port (`network` or `trunk`) or several (`ports`)."""

    network: Name | None = Field(None, description="The network of its only interface.")
    trunk: _Trunk | None = Field(None, min_length=1, description="The networks of its only interface, by VLAN id.")
    ports: list[Port] | None = Field(None, min_length=1, description="Its interfaces, where there are several.")
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
    macvlan: Macvlan | None = Field(
        None, description="A device on the chassis' uplink instead of a port of its switch."
    )
    macvtap: Macvlan | None = Field(None, description="As macvlan, with a character device for a virtual machine.")
    groups: list[Name] = Field([], description="Security groups.")

    @model_validator(mode="after")
    def _attachment(self) -> Node:
        given = [key for key in ("network", "trunk", "ports") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"this node has {' and '.join(given) or 'no network'}; expected one of 'network', 'trunk' and 'ports'"
            )
        if self.chassis is not None and self.place is not None:
            raise ValueError("'chassis' and 'place' are both given; expected one of them")
        if self.trunk is not None and self.ip is not None:
            raise ValueError("'ip' of a trunk is unclear; expected {native: {network: web, ip: …}}")
        misplaced = sorted(self.model_fields_set & _OF_ONE_PORT)
        if self.ports is not None and misplaced:
            raise ValueError(f"'{misplaced[0]}' stands beside 'ports'; expected it inside one of the ports")
        _check_macvlan(self)
        return self

    def interfaces(self) -> list[Port]:
        """Its ports, however they are written."""
        if self.ports is not None:
            return self.ports
        shared = self.model_fields_set & Port.model_fields.keys()
        return [Port.model_construct(_fields_set=None, **{key: getattr(self, key) for key in shared})]


class Gateway(Part):
    """A router's way out."""

    network: Name = Field(description="The external network.")
    snat: bool = Field(False, description="Whether addresses are translated on the way out.")


class Router(Part):
    """A distributed router."""

    networks: list[Name] = Field(description="The networks that it joins.")
    gateway: Gateway | None = Field(None, description="Its external network.")


class Rule(Part):
    """What a security group lets through."""

    in_: str | None = Field(None, alias="in", description="To the guest, such as tcp/80 or icmp.")
    out: str | None = Field(None, description="From the guest, such as tcp/443.")
    from_: Name | None = Field(None, alias="from", description="Only from members of this group.")
    to: Name | None = Field(None, description="Only to members of this group.")


class Guest(Part):
    """A QEMU/KVM machine."""

    chassis: Name | None = Field(None, description="Where it runs.")
    place: Literal["spread", "pack"] | None = Field(None, description="How it is placed where no chassis is given.")
    memory: str = Field("256M", description="Its memory, such as 256M.")
    cpus: Annotated[int, Bounded("cpus", 1, 255)] = Field(1, description="Its virtual processors.")
    image: str | None = Field(None, description="The image that it starts from.")
    nics: list[Port] = Field([], description="Its interfaces.")


class Test(Part):
    """Every `from` against every `to` by one probe."""

    from_: Annotated[list[str], OneOrMany()] = Field(
        alias="from", min_length=1, description="Nodes: names, ranges or patterns such as web*."
    )
    to: Annotated[list[str], OneOrMany()] = Field(
        min_length=1, description="Nodes: names, ranges or patterns such as web*."
    )
    ping: Literal["ok", "fail"] | None = Field(None, description="ICMP echo must get through, or must not.")
    tcp: Annotated[int, TCP_UDP] | None = Field(None, description="Destination port of a TCP connection.")
    udp: Annotated[int, TCP_UDP] | None = Field(None, description="Destination port of a UDP exchange.")
    expect: Literal["allowed", "denied", "ok", "fail"] | None = Field(
        None, description="Whether tcp or udp must get through; allowed where it is not given."
    )
    within: Within = Field(10.0, description="Seconds until which it is tried again.")

    @model_validator(mode="after")
    def _one_probe(self) -> Test:
        given = [probe for probe in ("ping", "tcp", "udp") if getattr(self, probe) is not None]
        if len(given) != 1:
            raise ValueError(f"this test has {' and '.join(given) or 'no probe'}; expected one of 'ping', 'tcp', 'udp'")
        if self.ping is not None and self.expect is not None:
            raise ValueError(
                "'expect' stands beside 'ping', which says it already; "
                "expected 'ping: ok' or 'ping: fail' alone ('expect' goes with tcp and udp)"
            )
        return self


class Topology(Part):
    """One virtual network: what runs where, what it is attached to, and what must hold."""

    name: LabName = Field(description="Name of the lab; several labs run side by side.")
    chassis: dict[Name, Chassis | None] = Field(
        min_length=1, description="Hosts by name; hv[1-20] makes twenty of them."
    )
    underlay: Underlay = Field(Underlay(), description="Addresses and MTU between the chassis.")
    physnets: dict[Name, Physnet | None] | None = Field(
        None, description="Physical networks by name; where this is left out, those that segments name."
    )
    networks: dict[Name, Network] = Field({}, description="Tenant networks by name.")
    routers: dict[Name, Router] = Field({}, description="Routers by name.")
    security_groups: dict[Name, list[Rule]] = Field({}, description="Security groups by name.")
    nodes: dict[Name, Node] = Field({}, description="Network namespaces by name; web[1-4] makes four of them.")
    guests: dict[Name, Guest] = Field({}, description="QEMU/KVM machines by name.")
    tests: dict[str, Test] = Field({}, description="What must hold, by name.")


def json_schema() -> dict[str, Any]:
    """The file's JSON schema, draft 2020-12, for editors."""
    schema = Topology.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sdn topology", **_tidy(schema)}


def _tidy(node: Any) -> Any:
    """Leave out what does not help an editor: generated titles, null as a way to say nothing."""
    if isinstance(node, list):
        return [_tidy(item) for item in node if item != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    named = {key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if named.get("default", 0) is None:
        del named["default"]
    if "patternProperties" in named:
        named["additionalProperties"] = False
    if len(named.get("anyOf", ())) == 1 and {"type": "null"} in node["anyOf"]:
        named.update(named.pop("anyOf")[0])
    return named


if __name__ == "__main__":
    import json

    print(json.dumps(json_schema(), indent=2))
