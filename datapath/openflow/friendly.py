"""Parts of flows in the words of the people who read them.

In: matches and actions, and `Names` for what the numbers mean. Out: text, which nothing reads back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Final

from datapath.openflow.flow import (
    Action,
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    LearnSpec,
    Load,
    Match,
    MatchField,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Unknown,
)
from datapath.openflow.foreign import foreign
from datapath.openflow.oxm import ANY, BY_THE_SWITCH, CONTROLLER, FIELDS, IN_PORT, LOCAL, VLAN_PRESENT
from datapath.openflow.packet import ARP, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP


def _no_value(_field: str, _value: int) -> str | None:
    return None


def _no_port(_number: int) -> str | None:
    return None


def _no_cookie(_cookie: int) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Names:
    """What the numbers of one switch's flows are called. A part that is left out, or says None, shows the number."""

    table: Callable[[int], str] = str
    """Table id → its name."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field → what the pipeline keeps in it: {"reg0": "network"}."""
    value: Callable[[str, int], str | None] = _no_value
    """(field, value) → the object: ("reg0", 7) → "web"."""
    flags: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Field → bit → its name: {"reg3": {1: "from_tunnel"}}."""
    port: Callable[[int], str | None] = _no_port
    """OpenFlow port number → bridge port."""
    cookie: Callable[[int], str | None] = _no_cookie
    """Cookie → why the flow is there: "port web1:eth0 (overlay.yaml:12:3)"."""


PORT_NAMES: Final = {**BY_THE_SWITCH, IN_PORT: "IN_PORT", CONTROLLER: "CONTROLLER", LOCAL: "LOCAL", ANY: "ANY"}
HASHES: Final = {0: "eth_src", 1: "symmetric_l4"}
_ETHERTYPES: Final = {IPV4: "ip", ARP: "arp", IPV6: "ipv6"}
_PROTOCOLS: Final = {
    (IPV4, ICMP): "icmp",
    (IPV4, TCP): "tcp",
    (IPV4, UDP): "udp",
    (IPV6, ICMPV6): "icmp6",
    (IPV6, TCP): "tcp6",
    (IPV6, UDP): "udp6",
}


def friendly_match(match: Match, names: Names) -> str:
    """Empty for a match that takes any packet."""
    shown, left = _shorthand(match)
    return ",".join(shown + [_field(item, names) for item in left])


def _shorthand(match: Match) -> tuple[list[str], list[MatchField]]:
    """Take the protocol fields out of a match and say them in one word."""
    exact = {item.field: item.value for item in match if item.mask is None}
    ethertype, protocol = exact.get("eth_type"), exact.get("ip_proto")
    if ethertype is not None and protocol is not None and (ethertype, protocol) in _PROTOCOLS:
        left = [item for item in match if item.field not in ("eth_type", "ip_proto")]
        return [_PROTOCOLS[ethertype, protocol]], left
    if ethertype in _ETHERTYPES:
        return [_ETHERTYPES[ethertype]], [item for item in match if item.field != "eth_type"]
    return [], list(match)


def _field(item: MatchField, names: Names) -> str:
    name, value, mask = item
    if name == "vlan_vid":
        return _vlan(item)
    label = names.fields.get(name, name)
    if mask is None:
        return f"{label}={_value(name, value, names)}"
    if name in names.flags:
        return f"{label}={_flags(value, mask, names.flags[name])}"
    if prefix := _prefix_length(item):
        return f"{label}={FIELDS[name].format(value)}/{prefix}"
    return str(item).replace(name, label, 1)


def _vlan(item: MatchField) -> str:
    if item.mask is None:
        return f"vlan={item.value ^ VLAN_PRESENT}" if item.value & VLAN_PRESENT else "untagged"
    if item.mask == VLAN_PRESENT:
        return "tagged" if item.value else "untagged"
    return str(item)


def _flags(value: int, mask: int, bits: Mapping[int, str]) -> str:
    known = [("+" if value & bit else "-") + name for bit, name in sorted(bits.items()) if mask & bit]
    rest = mask & ~sum(bits)
    return "".join(known) + (f"+{value & rest:#x}/{rest:#x}" if rest else "")


def _value(name: str, value: int, names: Names) -> str:
    if name in ("in_port", "nxm_in_port"):
        return _port(value, names)
    if name in names.flags:
        bits = names.flags[name]
        shown = [label for bit, label in sorted(bits.items()) if value & bit]
        rest = value & ~sum(bits)
        return "+".join(shown + ([f"{rest:#x}"] if rest else [])) or "0"
    spec = FIELDS.get(name)
    return names.value(name, value) or (spec.format(value) if spec else f"{value:#x}")


def _port(number: int, names: Names) -> str:
    return PORT_NAMES.get(number, "").lower() or names.port(number) or str(number)


def _prefix_length(item: MatchField) -> int | None:
    """The length of an address prefix, None where the mask is another one."""
    spec = FIELDS.get(item.field)
    if spec is None or spec.shows not in ("ipv4", "ipv6") or item.mask is None:
        return None
    holes = spec.all_ones ^ item.mask
    return None if holes & (holes + 1) else spec.bits - holes.bit_length()


@singledispatch
def friendly_action(action: Action, _: Names) -> str:
    """One action; never fails for any that flow.py has."""
    raise TypeError(f"{action!r} is not an action")


@friendly_action.register
def _(action: Output, names: Names) -> str:
    return f"output {_port(action.port, names)}"


@friendly_action.register
def _(action: SetField, names: Names) -> str:
    if action.field == "vlan_vid" and action.value & VLAN_PRESENT:
        return f"vlan={action.value ^ VLAN_PRESENT}"
    label = names.fields.get(action.field, action.field)
    return f"{label}={_value(action.field, action.value, names)}"


@friendly_action.register
def _(action: Load, names: Names) -> str:
    if action.bits == FIELDS[action.field].bits:
        return friendly_action(SetField(action.field, action.value), names).replace("nxm_in_port", "in_port")
    return f"{_subfield(action.field, action.offset, action.bits, names)}={action.value:#x}"


@friendly_action.register
def _(action: Move, names: Names) -> str:
    source, target, bits, source_offset, target_offset = action
    into = _subfield(target, target_offset, bits, names)
    return f"{into}:={_subfield(source, source_offset, bits, names)}"


@friendly_action.register
def _(_: PushVlan, __: Names) -> str:
    return "push_vlan"


@friendly_action.register
def _(_: PopVlan, __: Names) -> str:
    return "pop_vlan"


@friendly_action.register
def _(action: Multipath, names: Names) -> str:
    where = _subfield(action.target, action.offset, action.bits, names)
    return f"{where}:=hash({HASHES.get(action.fields, action.fields)})%{action.links}"


@friendly_action.register
def _(action: Resubmit, names: Names) -> str:
    return f"resubmit {names.table(action.table)}"


@friendly_action.register
def _(action: Learn, names: Names) -> str:
    specs = ", ".join(_spec(spec, names) for spec in action.specs)
    expiry = timeouts(action).replace(",", " ")
    return f"learn into {names.table(action.table)} {action.priority}{expiry} ({specs})"


@friendly_action.register
def _(action: Unknown, names: Names) -> str:
    return foreign(action.raw, lambda inside: friendly_action(inside, names))


def _spec(spec: LearnSpec, names: Names) -> str:
    match spec:
        case LearnMatch(target, source, bits):
            return f"{_subfield(target, 0, bits, names)} is {_subfield(source, 0, bits, names)}"
        case LearnMatchValue(target, value, _):
            return f"{names.fields.get(target, target)} is {_value(target, value, names)}"
        case LearnLoad(target, value, _):
            return f"set {names.fields.get(target, target)}={_value(target, value, names)}"
        case LearnOutput(source, _):
            return f"output {names.fields.get(source, source)}"


def _subfield(name: str, offset: int, bits: int, names: Names) -> str:
    label = names.fields.get(name, name)
    return label if bits == FIELDS[name].bits else f"{label}{bit_range(offset, bits)}"


def timeouts(flow: Flow | Learn) -> str:
    idle = f",idle_timeout={flow.idle_timeout}" if flow.idle_timeout else ""
    return idle + (f",hard_timeout={flow.hard_timeout}" if flow.hard_timeout else "")


def bit_range(offset: int, bits: int) -> str:
    return f"[{offset}]" if bits == 1 else f"[{offset}..{offset + bits - 1}]"
