"""Actions and instructions between their wire bytes and values.

In: an Action, or the bytes after the match of a flow. Out: bytes, or (actions, goto).
OpenFlow 1.4 section 7.2.5; the Nicira extensions as in Open vSwitch's `ofp-actions.c`. What has no word in flow.py
becomes `Unknown`: it makes a flow differ from any of ours, and cannot be encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from datapath.openflow.flow import (
    Action,
    Learn,
    Load,
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
from datapath.openflow.learn_specs import decode_specs, encode_spec
from datapath.openflow.oxm import FIELDS, IN_PORT
from datapath.openflow.tlv import HEADERS, UNKNOWN, DecodeError, decode_tlv, encode_tlv

NICIRA: Final = 0x2320

_OUTPUT, _PUSH_VLAN, _POP_VLAN, _SET_FIELD, _EXPERIMENTER = 0, 17, 18, 25, 0xFFFF
_REG_MOVE, _REG_LOAD, _MULTIPATH, _RESUBMIT_TABLE, _LEARN = 6, 7, 10, 14, 16
_GOTO, _APPLY = 1, 4

_OUTPUT_BODY = Struct("!HHIH6x")
_VLAN_BODY = Struct("!HHH2x")
_NX_HEAD = Struct("!HHIH")
_LOAD_BODY = Struct("!HHIHHIQ")
_MOVE_BODY = Struct("!HHIHHHHII")
_MULTIPATH_BODY = Struct("!HHIHHH2xHHI2xHI")
_RESUBMIT_BODY = Struct("!HHIHHB3x")
_LEARN_BODY = Struct("!HHIHHHHQHBxHH")
_TLV_HEAD = Struct("!HH")
_GOTO_BODY = Struct("!HHB3x")

_MODULO_N = 0


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_action(action: Action) -> bytes:
    """Raises ValueError for `Unknown`, KeyError for an unknown field, struct.error or OverflowError for a number."""
    return _ENCODERS[type(action)](action)


def _encode_output(action: Output) -> bytes:
    return _OUTPUT_BODY.pack(_OUTPUT, 16, action.port, action.max_len)


def _encode_set_field(action: SetField) -> bytes:
    tlv = encode_tlv(MatchField(action.field, action.value))
    size = 4 + len(tlv)
    return _padded(_TLV_HEAD.pack(_SET_FIELD, size + -size % 8) + tlv)


def _encode_load(action: Load) -> bytes:
    where = action.offset << 6 | action.bits - 1
    header = FIELDS[action.field].header
    return _LOAD_BODY.pack(_EXPERIMENTER, 24, NICIRA, _REG_LOAD, where, header, action.value)


def _encode_move(action: Move) -> bytes:
    source, target, bits, source_offset, target_offset = action
    headers = FIELDS[source].header, FIELDS[target].header
    return _MOVE_BODY.pack(_EXPERIMENTER, 24, NICIRA, _REG_MOVE, bits, source_offset, target_offset, *headers)


def _encode_push_vlan(action: PushVlan) -> bytes:
    return _VLAN_BODY.pack(_PUSH_VLAN, 8, action.ethertype)


def _encode_pop_vlan(_: PopVlan) -> bytes:
    return _VLAN_BODY.pack(_POP_VLAN, 8, 0)


def _encode_multipath(action: Multipath) -> bytes:
    fields, basis, links, target, offset, bits = action
    where = offset << 6 | bits - 1
    header = FIELDS[target].header
    return _MULTIPATH_BODY.pack(
        _EXPERIMENTER, 32, NICIRA, _MULTIPATH, fields, basis, _MODULO_N, links - 1, 0, where, header
    )


def _encode_resubmit(action: Resubmit) -> bytes:
    return _RESUBMIT_BODY.pack(_EXPERIMENTER, 16, NICIRA, _RESUBMIT_TABLE, IN_PORT & 0xFFFF, action.table)


def _encode_learn(action: Learn) -> bytes:
    specs = b"".join(map(encode_spec, action.specs))
    size = _LEARN_BODY.size + len(specs)
    table, priority, cookie, idle, hard, _ = action
    head = _LEARN_BODY.pack(
        _EXPERIMENTER, size + -size % 8, NICIRA, _LEARN, idle, hard, priority, cookie, 0, table, 0, 0
    )
    return _padded(head + specs)


def _encode_unknown(_: Unknown) -> bytes:
    raise ValueError("an action that was not understood cannot be sent")


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    Output: _encode_output,
    SetField: _encode_set_field,
    Load: _encode_load,
    Move: _encode_move,
    PushVlan: _encode_push_vlan,
    PopVlan: _encode_pop_vlan,
    Multipath: _encode_multipath,
    Resubmit: _encode_resubmit,
    Learn: _encode_learn,
    Unknown: _encode_unknown,
}

GOTO: Final = tuple(_GOTO_BODY.pack(_GOTO, 8, table) for table in range(256))
"""The goto instruction to each table."""

APPLY_HEAD: Final = Struct("!HH4x")
APPLY: Final = _APPLY


# --- decode ----------------------------------------------------------------------------------------------------------


def decode_instructions(data: bytes) -> tuple[tuple[Action, ...], int | None]:
    """Apply-actions and goto; any other instruction, or a second apply, is an Unknown at the end of the actions."""
    actions: list[Action] = []
    goto = None
    applied = False
    for kind, raw in _split(data):
        if kind == _APPLY and not applied and len(raw) >= 8:
            actions += decode_actions(raw[8:])
            applied = True
        elif kind == _GOTO and goto is None and len(raw) == 8:
            goto = raw[4]
        else:
            actions.append(Unknown(raw))
    return tuple(actions), goto


def decode_actions(data: bytes) -> list[Action]:
    """Raises DecodeError."""
    return [decode_action(kind, raw) for kind, raw in _split(data)]


def _split(data: bytes) -> list[tuple[int, bytes]]:
    """Cut (type, length) records apart: instructions or actions."""
    parts = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < 8:
            raise DecodeError(f"{len(data) - offset} bytes left over after the last action or instruction")
        kind, length = _TLV_HEAD.unpack_from(data, offset)
        if length < 8 or length % 8 or offset + length > len(data):
            raise DecodeError(f"an action or instruction of type {kind} says that it is {length} bytes long")
        parts.append((kind, data[offset : offset + length]))
        offset += length
    return parts


def decode_action(kind: int, raw: bytes) -> Action:
    """`raw` is one action with its header. Any that flow.py cannot say exactly is Unknown; raises DecodeError."""
    decoder = _DECODERS.get((kind, 0))
    if kind == _EXPERIMENTER and len(raw) >= 16:
        _, _, vendor, subtype = _NX_HEAD.unpack_from(raw)
        decoder = _DECODERS.get((kind, subtype)) if vendor == NICIRA else None
    return (decoder(raw) if decoder else None) or Unknown(raw)


def _decode_output(raw: bytes) -> Action | None:
    if len(raw) != 16:
        return None
    _, _, port, max_len = _OUTPUT_BODY.unpack(raw)
    return Output(port, max_len)


def _decode_set_field(raw: bytes) -> Action | None:
    end = 8 + raw[7]
    if end > len(raw):
        raise DecodeError("a set_field action is cut short")
    name, value, mask = decode_tlv(raw[4:end])[1]
    return None if name.startswith(UNKNOWN) or mask is not None else SetField(name, value)


def _decode_load(raw: bytes) -> Action | None:
    if len(raw) != 24:
        return None
    _, _, _, _, where, header, value = _LOAD_BODY.unpack(raw)
    field = HEADERS.get(header)
    return Load(field.name, where >> 6, (where & 63) + 1, value) if field else None


def _decode_move(raw: bytes) -> Action | None:
    if len(raw) != 24:
        return None
    _, _, _, _, bits, source_offset, target_offset, source, target = _MOVE_BODY.unpack(raw)
    if source not in HEADERS or target not in HEADERS:
        return None
    return Move(HEADERS[source].name, HEADERS[target].name, bits, source_offset, target_offset)


def _decode_push_vlan(raw: bytes) -> Action | None:
    return PushVlan(_VLAN_BODY.unpack(raw)[2]) if len(raw) == 8 else None


def _decode_pop_vlan(raw: bytes) -> Action | None:
    return PopVlan() if len(raw) == 8 else None


def _decode_multipath(raw: bytes) -> Action | None:
    if len(raw) != 32:
        return None
    _, _, _, _, fields, basis, algorithm, links, arg, where, header = _MULTIPATH_BODY.unpack(raw)
    if header not in HEADERS or algorithm != _MODULO_N or arg or links == 0xFFFF:
        return None
    return Multipath(fields, basis, links + 1, HEADERS[header].name, where >> 6, (where & 63) + 1)


def _decode_resubmit(raw: bytes) -> Action | None:
    if len(raw) != 16:
        return None
    _, _, _, _, in_port, table = _RESUBMIT_BODY.unpack(raw)
    return Resubmit(table) if in_port == IN_PORT & 0xFFFF and table != 0xFF else None


def _decode_learn(raw: bytes) -> Action | None:
    if len(raw) < _LEARN_BODY.size:
        return None
    _, _, _, _, idle, hard, priority, cookie, flags, table, fin_idle, fin_hard = _LEARN_BODY.unpack_from(raw)
    specs = decode_specs(raw[_LEARN_BODY.size :])
    if flags or fin_idle or fin_hard or specs is None:
        return None
    return Learn(table, priority, cookie, idle, hard, specs)


_DECODERS: Final[dict[tuple[int, int], Callable[[bytes], Action | None]]] = {
    (_OUTPUT, 0): _decode_output,
    (_PUSH_VLAN, 0): _decode_push_vlan,
    (_POP_VLAN, 0): _decode_pop_vlan,
    (_SET_FIELD, 0): _decode_set_field,
    (_EXPERIMENTER, _REG_MOVE): _decode_move,
    (_EXPERIMENTER, _REG_LOAD): _decode_load,
    (_EXPERIMENTER, _MULTIPATH): _decode_multipath,
    (_EXPERIMENTER, _RESUBMIT_TABLE): _decode_resubmit,
    (_EXPERIMENTER, _LEARN): _decode_learn,
}
