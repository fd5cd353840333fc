"""Flows as text, in two forms: what ovs-ofctl reads, and what people read.

In: flows and parts of flows, and optionally `Names` for what the numbers mean. Out: one line each. Never parses: flows
are made by the pipeline and read back from switches, not from text.
Without names, `ovs-ofctl add-flow` makes of a line the flow that the line was made of. With names it is for people.
"""

from __future__ import annotations

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
from datapath.openflow.friendly import HASHES, PORT_NAMES, Names, bit_range, friendly_action, friendly_match, timeouts
from datapath.openflow.oxm import CONTROLLER, FIELDS

__all__ = ["Names", "format_action", "format_actions", "format_flow", "format_match"]

_OVS_NAMES: Final = {
    "ipv4_src": "ip_src",
    "ipv4_dst": "ip_dst",
    "ip_proto": "nw_proto",
    "ip_ecn": "nw_ecn",
    "nxm_in_port": "in_port",
}
_OVS_BITS: Final = {"ct_state": 32, "vlan_vid": 12}  # how wide ovs-ofctl takes the whole field to be


def format_flow(flow: Flow, names: Names | None = None) -> str:
    """One line; with names, what the flow is about comes last."""
    if names is None:
        return f"{_ovs_head(flow)} actions={format_actions(flow)}"
    about = names.cookie(flow.cookie)
    end = f"  # {about}" if about else ""
    wanted = format_match(flow.match, names) or "any"
    expiry = timeouts(flow).replace(",", " ")
    return f"{names.table(flow.table)} {flow.priority}{expiry} {wanted} → {format_actions(flow, names)}{end}"


def _ovs_head(flow: Flow) -> str:
    wanted = "," + format_match(flow.match) if flow.match else ""
    return f"cookie={flow.cookie:#x},table={flow.table},priority={flow.priority}{timeouts(flow)}{wanted}"


def format_actions(flow: Flow, names: Names | None = None) -> str:
    """The actions and the goto; `drop` where there is neither."""
    parts = [format_action(action, names) for action in flow.actions]
    if flow.goto is not None:
        parts.append(f"goto_table:{flow.goto}" if names is None else f"goto {names.table(flow.goto)}")
    return ("," if names is None else ", ").join(parts) or "drop"


def format_match(match: Match, names: Names | None = None) -> str:
    """`field=value/mask` with commas; with names, also `arp`, `tcp6`, `untagged` and the like. Empty: any packet."""
    if names is None:
        return ",".join(map(_ovs_field, match))
    return friendly_match(match, names)


def _ovs_field(item: MatchField) -> str:
    name, value, _ = item
    if name == "in_port":
        return f"in_port={PORT_NAMES.get(value, value)}"
    return str(item).replace(name, _OVS_NAMES.get(name, name), 1)


def format_action(action: Action, names: Names | None = None) -> str:
    """As ovs-ofctl reads it, or for people. An `Unknown` without words is shown as bytes, which it does not read."""
    return _ovs(action) if names is None else friendly_action(action, names)


def _subfield(name: str, offset: int, bits: int) -> str:
    """`NXM_NX_REG0[0..15]`, or `[]` for a whole field."""
    spec = FIELDS[name]
    return f"{spec.nxm}{bit_range(offset, bits) if bits != _OVS_BITS.get(name, spec.bits) else '[]'}"


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
    return f"load:{action.value:#x}->{_subfield(action.field, action.offset, action.bits)}"


@_ovs.register
def _(action: Move) -> str:
    source, target, bits, source_offset, target_offset = action
    return f"move:{_subfield(source, source_offset, bits)}->{_subfield(target, target_offset, bits)}"


@_ovs.register
def _(action: PushVlan) -> str:
    return f"push_vlan:{action.ethertype:#x}"


@_ovs.register
def _(_: PopVlan) -> str:
    return "pop_vlan"


@_ovs.register
def _(action: Multipath) -> str:
    where = _subfield(action.target, action.offset, action.bits)
    return f"multipath({HASHES.get(action.fields, action.fields)},{action.basis},modulo_n,{action.links},0,{where})"


@_ovs.register
def _(action: Resubmit) -> str:
    return f"resubmit(,{action.table})"


@_ovs.register
def _(action: Learn) -> str:
    head = f"table={action.table},priority={action.priority},cookie={action.cookie:#x}{timeouts(action)}"
    return f"learn({','.join([head, *map(_ovs_spec, action.specs)])})"


@_ovs.register
def _(action: Unknown) -> str:
    return foreign(action.raw, _ovs)


def _ovs_spec(spec: LearnSpec) -> str:
    match spec:
        case LearnMatch(target, source, bits):
            return f"{_subfield(target, 0, bits)}={_subfield(source, 0, bits)}"
        case LearnMatchValue(target, value, bits) if bits == FIELDS[target].bits:
            return _ovs_field(MatchField(target, value))
        case LearnMatchValue(target, value, bits):
            return f"{_subfield(target, 0, bits)}={value:#x}"
        case LearnLoad(target, value, bits):
            return f"load:{value:#x}->{_subfield(target, 0, bits)}"
        case LearnOutput(source, bits):
            return f"output:{_subfield(source, 0, bits)}"
