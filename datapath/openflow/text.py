"""Flows as text, in two forms: what ovs-ofctl reads, and what people read.

In: flows and parts of flows, and optionally `Names` for what the numbers mean. Out: one line each. Never parses: flows
are made by the pipeline and read back from switches, not from text.
Without names, `ovs-ofctl add-flow` makes of a line the flow that the line was made of. With names it is for people.
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
from datapath.openflow.oxm import ANY, CONTROLLER, FIELDS, IN_PORT, LOCAL, VLAN_PRESENT


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


PORT_NAMES: Final = {IN_PORT: "IN_PORT", CONTROLLER: "CONTROLLER", LOCAL: "LOCAL", ANY: "ANY"}
HASHES: Final = {0: "eth_src", 1: "symmetric_l4"}
_OVS_NAMES: Final = {
    "ipv4_src": "ip_src",
    "ipv4_dst": "ip_dst",
    "ip_proto": "nw_proto",
    "ip_ecn": "nw_ecn",
    "nxm_in_port": "in_port",
}
_OVS_BITS: Final = {"ct_state": 32, "vlan_vid": 12}  # how wide ovs-ofctl takes the whole field to be
_ETHERTYPES: Final = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ipv6"}
_PROTOCOLS: Final = {
    (0x0800, 1): "icmp",
    (0x0800, 6): "tcp",
    (0x0800, 17): "udp",
    (0x86DD, 58): "icmp6",
    (0x86DD, 6): "tcp6",
    (0x86DD, 17): "udp6",
}


def format_flow(flow: Flow, names: Names | None = None) -> str:
    """One line; with names, what the flow is about comes last."""
    if names is None:
        return f"{_ovs_head(flow)} actions={format_actions(flow)}"
    about = names.cookie(flow.cookie)
    end = f"  # {about}" if about else ""
    wanted = format_match(flow.match, names) or "any"
    timeouts = _timeouts(flow).replace(",", " ")
    return f"{names.table(flow.table)} {flow.priority}{timeouts} {wanted} → {format_actions(flow, names)}{end}"


def _ovs_head(flow: Flow) -> str:
    wanted = "," + format_match(flow.match) if flow.match else ""
    return f"cookie={flow.cookie:#x},table={flow.table},priority={flow.priority}{_timeouts(flow)}{wanted}"


def _timeouts(flow: Flow | Learn) -> str:
    idle = f",idle_timeout={flow.idle_timeout}" if flow.idle_timeout else ""
    return idle + (f",hard_timeout={flow.hard_timeout}" if flow.hard_timeout else "")


def format_actions(flow: Flow, names: Names | None = None) -> str:
    """The actions and the goto; `drop` where there is neither."""
    parts = [format_action(action, names) for action in flow.actions]
    if flow.goto is not None:
        parts.append(f"goto_table:{flow.goto}" if names is None else f"goto {names.table(flow.goto)}")
    return ("," if names is None else ", ").join(parts) or "drop"


# --- match -----------------------------------------------------------------------------------------------------------


def format_match(match: Match, names: Names | None = None) -> str:
    """`field=value/mask` with commas; with names, also `arp`, `tcp6`, `untagged` and the like. Empty: any packet."""
    if names is None:
        return ",".join(map(_ovs_field, match))
    shown, left = _shorthand(match)
    return ",".join(shown + [_friendly_field(item, names) for item in left])


def _ovs_field(item: MatchField) -> str:
    name, value, _ = item
    if name == "in_port":
        return f"in_port={PORT_NAMES.get(value, value)}"
    return str(item).replace(name, _OVS_NAMES.get(name, name), 1)


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


def _friendly_field(item: MatchField, names: Names) -> str:
    name, value, mask = item
    if name == "vlan_vid":
        return _friendly_vlan(item)
    label = names.fields.get(name, name)
    if mask is None:
        return f"{label}={_friendly_value(name, value, names)}"
    if name in names.flags:
        return f"{label}={_friendly_flags(value, mask, names.flags[name])}"
    if prefix := _prefix_length(item):
        return f"{label}={FIELDS[name].format(value)}/{prefix}"
    return str(item).replace(name, label, 1)


def _friendly_vlan(item: MatchField) -> str:
    if item.mask is None:
        return f"vlan={item.value ^ VLAN_PRESENT}" if item.value & VLAN_PRESENT else "untagged"
    if item.mask == VLAN_PRESENT:
        return "tagged" if item.value else "untagged"
    return str(item)


def _friendly_flags(value: int, mask: int, bits: Mapping[int, str]) -> str:
    known = [("+" if value & bit else "-") + name for bit, name in sorted(bits.items()) if mask & bit]
    rest = mask & ~sum(bits)
    return "".join(known) + (f"+{value & rest:#x}/{rest:#x}" if rest else "")


def _friendly_value(name: str, value: int, names: Names) -> str:
    if name in ("in_port", "nxm_in_port"):
        return _friendly_port(value, names)
    if name in names.flags:
        bits = names.flags[name]
        shown = [label for bit, label in sorted(bits.items()) if value & bit]
        rest = value & ~sum(bits)
        return "+".join(shown + ([f"{rest:#x}"] if rest else [])) or "0"
    spec = FIELDS.get(name)
    return names.value(name, value) or (spec.format(value) if spec else f"{value:#x}")


def _friendly_port(number: int, names: Names) -> str:
    return PORT_NAMES.get(number, "").lower() or names.port(number) or str(number)


def _prefix_length(item: MatchField) -> int | None:
    """The length of an address prefix, None where the mask is another one."""
    spec = FIELDS.get(item.field)
    if spec is None or spec.shows not in ("ipv4", "ipv6") or item.mask is None:
        return None
    holes = spec.all_ones ^ item.mask
    return None if holes & (holes + 1) else spec.bits - holes.bit_length()


# --- actions ---------------------------------------------------------------------------------------------------------


def format_action(action: Action, names: Names | None = None) -> str:
    """As ovs-ofctl reads it, or for people. An `Unknown` is shown as bytes, which ovs-ofctl does not read."""
    return _ovs(action) if names is None else _friendly(action, names)


def subfield(name: str, offset: int, bits: int) -> str:
    """`NXM_NX_REG0[0..15]`, or `[]` for a whole field."""
    spec = FIELDS[name]
    return f"{spec.nxm}{_range(offset, bits) if bits != _OVS_BITS.get(name, spec.bits) else '[]'}"


def _range(offset: int, bits: int) -> str:
    return f"[{offset}]" if bits == 1 else f"[{offset}..{offset + bits - 1}]"


@singledispatch
def _ovs(action: Action) -> str:
    raise TypeError(f"{action!r} is not an action")


@_ovs.register
def _(action: Output) -> str:
    if action.port == CONTROLLER:
        return f"CONTROLLER:{action.max_len}"
    return PORT_NAMES.get(action.port) or f"output:{action.port}"


@_ovs.register
def _(action: SetField) -> str:
    name = action.field
    return f"set_field:{FIELDS[name].format(action.value)}->{_OVS_NAMES.get(name, name)}"


@_ovs.register
def _(action: Load) -> str:
    return f"load:{action.value:#x}->{subfield(action.field, action.offset, action.bits)}"


@_ovs.register
def _(action: Move) -> str:
    source, target, bits, source_offset, target_offset = action
    return f"move:{subfield(source, source_offset, bits)}->{subfield(target, target_offset, bits)}"


@_ovs.register
def _(action: PushVlan) -> str:
    return f"push_vlan:{action.ethertype:#x}"


@_ovs.register
def _(_: PopVlan) -> str:
    return "pop_vlan"


@_ovs.register
def _(action: Multipath) -> str:
    where = subfield(action.target, action.offset, action.bits)
    return f"multipath({HASHES[action.fields]},{action.basis},modulo_n,{action.links},0,{where})"


@_ovs.register
def _(action: Resubmit) -> str:
    return f"resubmit(,{action.table})"


@_ovs.register
def _(action: Learn) -> str:
    head = f"table={action.table},priority={action.priority},cookie={action.cookie:#x}{_timeouts(action)}"
    return f"learn({','.join([head, *map(_ovs_spec, action.specs)])})"


@_ovs.register
def _(action: Unknown) -> str:
    return f"unknown({action.raw.hex()})"


def _ovs_spec(spec: LearnMatch | LearnMatchValue | LearnLoad | LearnOutput) -> str:
    match spec:
        case LearnMatch(target, source, bits):
            return f"{subfield(target, 0, bits)}={subfield(source, 0, bits)}"
        case LearnMatchValue(target, value, bits) if bits == FIELDS[target].bits:
            return _ovs_field(MatchField(target, value))
        case LearnMatchValue(target, value, bits):
            return f"{subfield(target, 0, bits)}={value:#x}"
        case LearnLoad(target, value, bits):
            return f"load:{value:#x}->{subfield(target, 0, bits)}"
        case LearnOutput(source, bits):
            return f"output:{subfield(source, 0, bits)}"


@singledispatch
def _friendly(action: Action, _: Names) -> str:
    raise TypeError(f"{action!r} is not an action")


@_friendly.register
def _(action: Output, names: Names) -> str:
    return f"output {_friendly_port(action.port, names)}"


@_friendly.register
def _(action: SetField, names: Names) -> str:
    if action.field == "vlan_vid" and action.value & VLAN_PRESENT:
        return f"vlan={action.value ^ VLAN_PRESENT}"
    label = names.fields.get(action.field, action.field)
    return f"{label}={_friendly_value(action.field, action.value, names)}"


@_friendly.register
def _(action: Load, names: Names) -> str:
    if action.bits == FIELDS[action.field].bits:
        return _friendly(SetField(action.field, action.value), names).replace("nxm_in_port", "in_port")
    return f"{_friendly_subfield(action.field, action.offset, action.bits, names)}={action.value:#x}"


@_friendly.register
def _(action: Move, names: Names) -> str:
    source, target, bits, source_offset, target_offset = action
    into = _friendly_subfield(target, target_offset, bits, names)
    return f"{into}:={_friendly_subfield(source, source_offset, bits, names)}"


@_friendly.register
def _(_: PushVlan, __: Names) -> str:
    return "push_vlan"


@_friendly.register
def _(_: PopVlan, __: Names) -> str:
    return "pop_vlan"


@_friendly.register
def _(action: Multipath, names: Names) -> str:
    where = _friendly_subfield(action.target, action.offset, action.bits, names)
    return f"{where}:=hash({HASHES.get(action.fields, action.fields)})%{action.links}"


@_friendly.register
def _(action: Resubmit, names: Names) -> str:
    return f"resubmit {names.table(action.table)}"


@_friendly.register
def _(action: Learn, names: Names) -> str:
    specs = ", ".join(_friendly_spec(spec, names) for spec in action.specs)
    timeouts = _timeouts(action).replace(",", " ")
    return f"learn into {names.table(action.table)} {action.priority}{timeouts} ({specs})"


@_friendly.register
def _(action: Unknown, _: Names) -> str:
    return f"unknown {action.raw.hex()}"


def _friendly_spec(spec: LearnMatch | LearnMatchValue | LearnLoad | LearnOutput, names: Names) -> str:
    match spec:
        case LearnMatch(target, source, bits):
            return f"{_friendly_subfield(target, 0, bits, names)} is {_friendly_subfield(source, 0, bits, names)}"
        case LearnMatchValue(target, value, _):
            return f"{names.fields.get(target, target)} is {_friendly_value(target, value, names)}"
        case LearnLoad(target, value, _):
            return f"set {names.fields.get(target, target)}={_friendly_value(target, value, names)}"
        case LearnOutput(source, _):
            return f"output {names.fields.get(source, source)}"


def _friendly_subfield(name: str, offset: int, bits: int, names: Names) -> str:
    label = names.fields.get(name, name)
    return label if bits == FIELDS[name].bits else f"{label}{_range(offset, bits)}"
