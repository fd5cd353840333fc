"""The scalars of the topology file: each parsed once, with an error that says what was expected.

Enters: plain values of the file, inside pydantic. Leaves: addresses, names, numbers. Never: a half-checked string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function, no_info_before_validator_function

from datapath.addr import IPAddress, IPNetwork, Mac
from sdn.topology import ranges

MAX_TEXT: Final = 256
"""Longer words are not names, addresses or patterns of anything."""
MAX_TAG: Final = 4094
"""VLAN ids 0 and 4095 are reserved (IEEE 802.1Q)."""


def expect_text(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not understood here; expected {expected}")
    if len(value) > MAX_TEXT:
        raise ValueError(f"this is too long; expected {expected}")
    return value


def shown(value: Any) -> str:
    """`value` as an error message names it: short, and in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value)
    return f"'{text if len(text) <= 60 else text[:57] + '...'}'"


def parse_ip(value: Any) -> IPAddress:
    text = expect_text(value, "an address such as 10.10.0.10")
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address; expected one such as 10.10.0.10 or fd00::10") from None
    return _no_scope(found, text)


def _no_scope(found: IPAddress, text: str) -> IPAddress:
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise ValueError(f"{shown(text)} has a zone; expected an address without '%'")
    return found


def parse_ipv4(value: Any) -> IPv4Address:
    found = parse_ip(value)
    if not isinstance(found, IPv4Address):
        raise ValueError(f"{found} is an IPv6 address; expected IPv4")
    return found


def parse_host(value: Any) -> IPv4Interface:
    """`203.0.113.2/24`: an address with the prefix length of its subnet."""
    text = expect_text(value, "an address with its prefix length such as 203.0.113.2/24")
    address, slash, length = text.partition("/")
    found = parse_ipv4(address)
    if not slash or not length.isdecimal() or int(length) > found.max_prefixlen:
        raise ValueError(f"{shown(text)} has no prefix length; expected one such as {found}/24")
    host = IPv4Interface(text)
    if host.network.prefixlen < 31 and host.ip in (host.network.network_address, host.network.broadcast_address):
        raise ValueError(f"{host.ip} is no host of {host.network}; expected one of its hosts")
    return host


def parse_subnet(value: Any) -> IPNetwork:
    """`10.10.0.0/24`; the prefix length is needed and no host bit may be set."""
    text = expect_text(value, "a subnet such as 10.10.0.0/24")
    if "/" not in text:
        raise ValueError(f"{shown(text)} has no prefix length; expected a subnet such as 10.10.0.0/24")
    return _network(text)


def parse_allowed(value: Any) -> IPNetwork:
    """An address or a subnet."""
    return _network(expect_text(value, "an address or a subnet such as 10.0.0.100 or 10.0.0.0/28"))


def _network(text: str) -> IPNetwork:
    address, slash, length = text.partition("/")
    try:
        if "%" in text or (slash and not length.isdecimal()):
            raise ValueError
        found = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an address or subnet; expected one such as 10.10.0.0/24") from None
    if ip_address(address) != found.network_address:
        raise ValueError(f"{shown(text)} has bits set beyond its prefix; did you mean '{found}'?")
    return found


def parse_underlay(value: Any) -> IPv4Network:
    found = parse_subnet(value)
    if not isinstance(found, IPv4Network):
        raise ValueError(f"the underlay {found} is IPv6; expected an IPv4 subnet such as 172.31.0.0/24")
    return found


def parse_mac(value: Any) -> Mac:
    found = Mac.parse(expect_text(value, "a MAC address such as 02:00:00:00:00:01"))
    if found.is_group or not found:
        raise ValueError(f"'{found}' is no station's address; expected a unicast MAC such as 02:00:00:00:00:01")
    return found


def parse_within(value: Any) -> float:
    """Seconds, to the millisecond: 10, 0.5 or "10s"."""
    if isinstance(value, str) and len(value) < 20:
        value = value.removesuffix("s").strip()
        value = float(value) if value.replace(".", "", 1).isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError("this is not a time; expected seconds from 0 to 86400 such as 10 or 10s")
    return max(round(float(value), 3), 0.001)


_LAB_NAME = re.compile(r"[a-z][a-z0-9_]{0,14}")


def parse_lab_name(value: Any) -> str:
    """Without `-`, which separates lab and node in the name of a namespace: no lab's names are another's."""
    text = expect_text(value, "a word")
    if not _LAB_NAME.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not the name of a lab; expected at most 15 of a-z, 0-9 and _, beginning with a letter"
        )
    return text


def parse_name(value: Any) -> str:
    return ranges.check_name(expect_text(value, "a name such as web or web[1-4]"))


def parse_interface(value: Any) -> str:
    """At most 10 characters: with `.4094` behind it the kernel's limit of 15 holds."""
    text = expect_text(value, "a name such as eth1")
    if text == "lo" or "[" in text or len(ranges.check_name(text)) > 10:
        raise ValueError(f"{shown(text)} cannot be an interface; expected a name of 10 characters at most, not lo")
    return text


_DEVICE_MOST: Final = 15
"""IFNAMSIZ less the terminating zero."""


def parse_device(value: Any) -> str:
    """The name of an interface of this machine, as the kernel allows it (dev_valid_name)."""
    text = expect_text(value, "the name of an interface of this machine such as eth1")
    if text in ("", ".", "..") or len(text.encode()) > _DEVICE_MOST or any(c in "/:" or c.isspace() for c in text):
        raise ValueError(
            f"{shown(text)} cannot be an interface; expected {_DEVICE_MOST} bytes at most, without '/', ':' and spaces"
        )
    if text == "lo":
        raise ValueError("'lo' leads nowhere; expected an interface to a network such as eth1")
    return text


def parse_trunk_key(value: str) -> str:
    """The key of a trunk: `native`, a VLAN id, or a range of them as in 100-102."""
    if value != "native":
        tags(value)
    return value


def tags(value: str) -> list[int]:
    """VLAN ids that a trunk's key stands for. Raises ValueError."""
    first, dash, last = value.partition("-")
    numbers = [first, last] if dash else [first]
    if not all(number.isascii() and number.isdecimal() and len(number) <= 4 for number in numbers):
        raise ValueError(f"{shown(value)} is not a VLAN id; expected native, a number such as 20, or 100-102")
    low, high = int(numbers[0]), int(numbers[-1])
    if not 1 <= low <= high <= MAX_TAG:
        raise ValueError(f"{shown(value)} is out of range; expected VLAN ids from 1 to {MAX_TAG}, the smaller first")
    return list(range(low, high + 1))


@dataclass(frozen=True)
class Bounded:
    """Annotates a whole number from `first` to `last`."""

    what: str
    first: int
    last: int
    why: str = ""

    def check(self, value: int) -> int:
        if not self.first <= value <= self.last:
            why = f" ({self.why})" if self.why else ""
            raise ValueError(f"{self.what} {value} is out of range; expected {self.first} to {self.last}{why}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "minimum": self.first, "maximum": self.last}


class OneOrMany:
    """Annotates a list that may be written as its only member."""

    @staticmethod
    def _as_list(value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(self._as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def written(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


LabName = Annotated[str, PlainValidator(parse_lab_name), written(pattern=f"^{_LAB_NAME.pattern}$")]
Name = Annotated[str, PlainValidator(parse_name), written(pattern=ranges.RANGED_NAME)]
InterfaceName = Annotated[str, PlainValidator(parse_interface), written(pattern="^[a-z][a-z0-9-]{0,9}$")]
Ip = Annotated[IPv4Address | IPv6Address, PlainValidator(parse_ip), written()]
Ipv4 = Annotated[IPv4Address, PlainValidator(parse_ipv4), written(format="ipv4")]
Ipv4Host = Annotated[IPv4Interface, PlainValidator(parse_host), written(pattern="/[0-9]+$")]
Device = Annotated[str, PlainValidator(parse_device), written(pattern=r"^[^/:\s]{1,15}$")]
Subnet = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_subnet), written(pattern="/[0-9]+$")]
UnderlaySubnet = Annotated[IPv4Network, PlainValidator(parse_underlay), written(pattern="/[0-9]+$")]
Allowed = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_allowed), written()]
MacAddress = Annotated[Mac, PlainValidator(parse_mac), written(pattern="^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")]
TrunkKey = Annotated[
    str, PlainValidator(parse_trunk_key), written(pattern="^(native|[1-9][0-9]{0,3}(-[1-9][0-9]{0,3})?)$")
]
Within = Annotated[
    float,
    PlainValidator(parse_within),
    WithJsonSchema({"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?s?$", "exclusiveMinimum": 0}),
]
