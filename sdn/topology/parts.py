"""The topology file's hosts and networks as pydantic models: what nodes are put on and plugged into.

Enters: plain values. Leaves: parts of a `Topology` (`schema`), every scalar parsed. Never: a reference resolved.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sdn.topology.machine_values import Bytes
from sdn.topology.values import (
    Bounded,
    Device,
    Ipv4,
    Ipv4Host,
    Name,
    Subnet,
    UnderlaySubnet,
    shown,
)

VNI: Final = Bounded("vni", 1, 0xFFFFFF, "24 bits")
VSID: Final = Bounded("vsid", 4096, 0xFFFFFE, "RFC 7637 reserves the others")
VLAN: Final = Bounded("vlan", 1, 4094, "IEEE 802.1Q reserves the others")
MTU: Final = Bounded("mtu", 576, 65535)


class Part(BaseModel):
    """A mapping of the file: no key is optional by accident, none is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Chassis(Part):
    """A host as tunnel endpoint; emulated in a namespace on this machine."""

    datapath: Literal["ovs", "linux", "vswitch", "external"] = Field(
        "ovs", description="The switch on this chassis; external where somebody else runs it."
    )
    vtep: Ipv4 | None = Field(None, description="Its address in the underlay; allotted where it is not given.")
    physnets: list[Name] | None = Field(
        None, description="The physical networks it has an uplink into; all where it is not given."
    )
    addresses: dict[Name, Ipv4Host] | None = Field(
        None,
        min_length=1,
        description="Its own address in physical networks, such as {office: 203.0.113.2/24}; in a range it counts up.",
    )
    memory: Bytes | None = Field(None, description="What its guests may have together, such as 8G.")
    cpus: Annotated[int, Bounded("cpus", 1, 4096)] | None = Field(
        None, description="Virtual processors that its guests may have together."
    )
    agent: str | None = Field(None, description="Address of the agent of a real hypervisor.")


class Underlay(Part):
    """The network between the chassis."""

    subnet: UnderlaySubnet = Field(default=IPv4Network("172.31.0.0/24"), description="Where vteps get their addresses.")
    mtu: Annotated[int, MTU] = Field(default=1500, description="Bytes of an IP packet that the underlay carries.")


class Physnet(Part):
    """A physical network that VLAN and flat segments run on."""

    mtu: Annotated[int, MTU] = Field(default=1500, description="Bytes of an IP packet that it carries.")
    interface: Device | None = Field(
        default=None,
        description="The interface of this machine that leads into it; without one it exists in the lab only.",
    )
    addresses: Literal["refuse", "move"] | None = Field(
        default=None,
        description="What becomes of addresses that the machine has on `interface`: refuse, or move until `down`.",
    )
    gateway: Ipv4 | None = Field(
        default=None, description="A router in it, the way out of chassis with an address there."
    )

    @model_validator(mode="after")
    def _addresses_of_an_interface(self) -> Physnet:
        if self.addresses is not None and self.interface is None:
            raise ValueError("'addresses' are those of an interface, and none is given; expected 'interface' beside it")
        return self


class Segment(Part):
    """The encapsulation of a network: exactly one kind and its id."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in ("vxlan", "nvgre", "geneve", "vlan", "flat")]}
    )

    vxlan: Annotated[int, VNI] | None = Field(None, description="VNI of a VXLAN segment (RFC 7348).")
    nvgre: Annotated[int, VSID] | None = Field(None, description="VSID of an NVGRE segment (RFC 7637).")
    geneve: Annotated[int, VNI] | None = Field(None, description="VNI of a Geneve segment (RFC 8926).")
    vlan: Annotated[int, VLAN] | None = Field(None, description="VLAN id on the physical network `physnet`.")
    flat: Name | None = Field(None, description="The physical network that carries this segment untagged.")
    physnet: Name | None = Field(None, description="The physical network of a `vlan` segment.")

    @model_validator(mode="after")
    def _one_kind(self) -> Segment:
        if self is LOCAL:
            return self
        given = [kind for kind in ("vxlan", "nvgre", "geneve", "vlan", "flat") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"this segment has {' and '.join(given) or 'no kind'}; expected one of vxlan, nvgre, geneve, vlan, flat"
            )
        if (self.vlan is not None) != (self.physnet is not None):
            raise ValueError("'vlan' and 'physnet' go together; expected both, as in {vlan: 120, physnet: office}")
        return self


LOCAL: Final = Segment.model_construct()
"""A segment on no wire: it has no kind that has an id."""


def _segment(value: Any) -> Any:
    if value == "local":
        return LOCAL
    if isinstance(value, str):
        hint = "; did you mean 'local'?" if value[:1].lower() == "l" else ""
        raise ValueError(f"{shown(value)} is no segment; expected one such as {{vxlan: 10010}}, or local{hint}")
    return value


class Forward(Part):
    """Where a local network's gateway leads: into one physical network."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [mode]} for mode in ("nat", "routed")]})

    nat: Name | None = Field(None, description="Into this physical network, behind the address of the chassis there.")
    routed: Name | None = Field(None, description="Into this physical network, with its own addresses.")

    @model_validator(mode="after")
    def _one_mode(self) -> Forward:
        if self is ISOLATED:
            return self
        if (self.nat is None) == (self.routed is None):
            given = "nat and routed" if self.nat is not None else "neither nat nor routed"
            raise ValueError(
                f"this network's forward is {given}; expected {{nat: office}}, {{routed: office}} or isolated"
            )
        return self


ISOLATED: Final = Forward.model_construct()
"""A gateway that leads nowhere."""


def _forward(value: Any) -> Any:
    if value == "isolated":
        return ISOLATED
    if isinstance(value, str):
        raise ValueError(
            f"{shown(value)} is not understood here; expected {{nat: office}}, {{routed: office}} or isolated"
        )
    return value


class Network(Part):
    """A tenant L2 domain. In a range (`net[1-3]`) segment ids and subnets count up."""

    segment: Annotated[Segment, BeforeValidator(_segment, json_schema_input_type=Literal["local"] | Segment)] = Field(
        description="Its encapsulation, such as {vxlan: 10010}; local for a network inside of one chassis."
    )
    subnet: Subnet | None = Field(None, description="The subnet whose addresses its ports get.")
    subnets: list[Subnet] | None = Field(
        None, max_length=2, description="In place of `subnet`: one IPv4 and one IPv6 subnet."
    )
    mtu: Annotated[int, Bounded("mtu", 68, 65535)] | None = Field(
        None, description="Bytes of an IP packet; computed from encapsulation and underlay where it is not given."
    )
    unknown_unicast: Literal["drop", "flood"] | None = Field(
        None, description="What becomes of frames to a MAC nobody has; flood on vlan and flat, else drop."
    )
    forward: (
        Annotated[Forward, BeforeValidator(_forward, json_schema_input_type=Literal["isolated"] | Forward)] | None
    ) = Field(None, description="A gateway of a local network: {nat: office}, {routed: office} or isolated.")
    gateway: Ipv4 | None = Field(
        None,
        description="The gateway's address with `forward`; the first host of the IPv4 subnet where it is not given.",
    )

    @model_validator(mode="after")
    def _gateway(self) -> Network:
        if self.gateway is not None and self.forward is None:
            raise ValueError("'gateway' is that of 'forward', which is not given; expected 'forward' beside it")
        return self

    @model_validator(mode="after")
    def _subnets(self) -> Network:
        if self.subnet is not None and self.subnets is not None:
            raise ValueError("'subnet' and 'subnets' are both given; expected one of them")
        versions = [subnet.version for subnet in self.subnets or ()]
        if len(versions) != len(set(versions)):
            raise ValueError(f"two subnets are IPv{versions[0]}; expected one IPv4 and one IPv6 subnet at most")
        return self
