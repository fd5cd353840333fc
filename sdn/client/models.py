"""The things of a lab as the API answers them, as values. PURE.

Enters: JSON that was decoded. Leaves: Resource and its kinds; what happens to them is in `told`. Never: a field that is
dropped: `raw` has all that was answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

from datapath.addr import IPAddress, IPNetwork, Mac

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a write that waited came to: confirmed `seconds` after it was asked for, but for what is `missing`."""

    revision: int
    seconds: float
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: Raw) -> Applied:
        return cls(raw["revision"], raw["seconds"], tuple(raw["missing"]))


@dataclass(frozen=True, slots=True)
class Resource:
    """A thing of the lab, at `revision` of it. `raw` is as it was answered. `etag` is for `if_match`: only if it has
    not changed since, in this very lab. `changed` is False where a write found it so already."""

    kind: str
    name: str
    revision: int
    raw: Raw = field(repr=False)
    etag: str = ""
    changed: bool = True

    @property
    def status(self) -> Raw:
        found: Raw = self.raw.get("status", {})
        return found

    @property
    def source(self) -> str:
        return str(self.raw.get("source", ""))

    @property
    def applied(self) -> Applied | None:
        """None where the write did not wait."""
        return Applied.of(self.raw["applied"]) if "applied" in self.raw else None


class Port(Resource):
    """The attachment of a node's interface to a network."""

    __slots__ = ()

    @property
    def node(self) -> str:
        return str(self.raw["node"])

    @property
    def interface(self) -> str:
        return str(self.raw["interface"])

    @property
    def tag(self) -> int | None:
        found: int | None = self.raw["tag"]
        return found

    @property
    def network(self) -> str:
        return str(self.raw["network"])

    @property
    def mac(self) -> Mac:
        return Mac.parse(self.raw["mac"])

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return tuple(ip_address(text) for text in self.raw["ip"])

    @property
    def chassis(self) -> str:
        return str(self.status["chassis"])

    @property
    def up(self) -> bool:
        return bool(self.status["up"])

    @property
    def ofport(self) -> int:
        return int(self.status["ofport"])


class Chassis(Resource):
    __slots__ = ()

    @property
    def datapath(self) -> str:
        return str(self.raw["datapath"])

    @property
    def vtep(self) -> IPAddress:
        return ip_address(self.raw["vtep"])

    @property
    def physnets(self) -> tuple[str, ...]:
        return tuple(self.raw["physnets"])

    @property
    def connected(self) -> bool:
        return bool(self.status["flows"]["connected"])

    @property
    def errors(self) -> tuple[str, ...]:
        flows = self.status["flows"]["error"]
        return (*self.status["host"]["errors"], *([flows] if flows else []))


class Physnet(Resource):
    __slots__ = ()

    @property
    def mtu(self) -> int:
        return int(self.raw["mtu"])

    @property
    def interface(self) -> str:
        return str(self.raw.get("interface", ""))


class Network(Resource):
    __slots__ = ()

    @property
    def segment(self) -> Any:
        """As in the file: `{"vxlan": 10010}`, `local`."""
        return self.raw["segment"]

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        return tuple(ip_network(text) for text in self.raw["subnets"])

    @property
    def mtu(self) -> int:
        return int(self.raw["mtu"])


class Node(Resource):
    __slots__ = ()

    @property
    def chassis(self) -> str:
        return str(self.raw["chassis"])

    @property
    def up(self) -> bool:
        return bool(self.status["up"])

    @property
    def ports(self) -> tuple[str, ...]:
        return tuple(self.status["ports"])


class Guest(Node):
    __slots__ = ()

    @property
    def memory(self) -> int:
        """Bytes."""
        return int(self.raw["memory"])

    @property
    def phase(self) -> str:
        return str(self.status["phase"])

    @property
    def error(self) -> str:
        return str(self.status["error"])


class Test(Resource):
    __slots__ = ()

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.raw["from"])

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.raw["to"])


@dataclass(frozen=True, slots=True)
class Kind:
    """What commands call it, where it is, what it becomes. Those that are derived cannot be written."""

    noun: str
    path: str
    type: type[Resource] = Resource
    writable: bool = True


KINDS: Final = {
    kind.noun: kind
    for kind in (
        Kind("lab", "labs", writable=False),
        Kind("chassis", "chassis", Chassis),
        Kind("physnet", "physnets", Physnet),
        Kind("network", "networks", Network),
        Kind("port", "ports", Port),
        Kind("node", "nodes", Node),
        Kind("guest", "guests", Guest),
        Kind("test", "tests", Test),
        Kind("switch", "switches", writable=False),
        Kind("link", "links", writable=False),
        Kind("flow", "flows", writable=False),
        Kind("router", "routers"),
        Kind("security-group", "security-groups"),
        Kind("floating-ip", "floating-ips"),
    )
}
BY_WORD: Final = KINDS | {kind.path: kind for kind in KINDS.values()}
"""One and several: `port`, `ports`."""
