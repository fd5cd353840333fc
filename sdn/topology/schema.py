"""The topology file as pydantic models: one class per kind of mapping in it, and its JSON schema.

Enters: plain values. Leaves: a `Topology`, every scalar parsed, no reference resolved yet. Never: a default that
depends on another object (those are filled in by `build`).

`python -m sdn.topology.schema > topologies/schema.json` writes the schema that editors complete from.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from sdn.topology.attached import AllowedAddress, Attached, Nic, Node, Port, Tagged
from sdn.topology.machines import Cloud, Guest, Kernel
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
    Bounded,
    LabName,
    Name,
    OneOrMany,
    Within,
)

__all__ = [
    "ISOLATED",
    "LOCAL",
    "VLAN",
    "VNI",
    "VSID",
    "AllowedAddress",
    "Attached",
    "Chassis",
    "Cloud",
    "Forward",
    "Gateway",
    "Guest",
    "Kernel",
    "Network",
    "Nic",
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
