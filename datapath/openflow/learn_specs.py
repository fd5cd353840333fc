"""The specs of a learn action, between their wire bytes and values.

In: one spec, or all bytes after the head of a learn action. Out: bytes, or specs; None where a spec has no word in
flow.py (part of a field, a load from a field). Format: `flow_mod_spec` in Open vSwitch's `nicira-ext.h`.
"""

from __future__ import annotations

from struct import Struct

from datapath.openflow.flow import LearnLoad, LearnMatch, LearnMatchValue, LearnOutput, LearnSpec
from datapath.openflow.oxm import FIELDS
from datapath.openflow.tlv import HAS_MASK, HEADERS, DecodeError

_IMMEDIATE, _TO_LOAD, _TO_OUTPUT = 1 << 13, 1 << 11, 2 << 11
_FIELD = Struct("!IH")


def encode_spec(spec: LearnSpec) -> bytes:
    """16 bits of header, then where the value comes from and where it goes."""
    match spec:
        case LearnMatch(target, source, bits):
            return bits.to_bytes(2, "big") + _subfield(source) + _subfield(target)
        case LearnMatchValue(target, value, bits):
            return (_IMMEDIATE | bits).to_bytes(2, "big") + _immediate(value, bits) + _subfield(target)
        case LearnLoad(target, value, bits):
            header = _IMMEDIATE | _TO_LOAD | bits
            return header.to_bytes(2, "big") + _immediate(value, bits) + _subfield(target)
        case LearnOutput(source, bits):
            return (_TO_OUTPUT | bits).to_bytes(2, "big") + _subfield(source)


def _subfield(name: str) -> bytes:
    return _FIELD.pack(FIELDS[name].header, 0)


def _immediate(value: int, bits: int) -> bytes:
    return value.to_bytes((bits + 15) // 16 * 2, "big")


def decode_specs(data: bytes) -> tuple[LearnSpec, ...] | None:
    """Raises DecodeError where the bytes end too soon; zeros pad the end."""
    specs: list[LearnSpec] = []
    offset = 0
    while offset + 2 <= len(data) and (header := int.from_bytes(data[offset : offset + 2], "big")):
        kind, bits = header & ~0x7FF, header & 0x7FF
        source_size = (bits + 15) // 16 * 2 if kind & _IMMEDIATE else 6
        target_size = 0 if kind == _TO_OUTPUT else 6
        middle = offset + 2 + source_size
        end = middle + target_size
        if end > len(data):
            raise DecodeError("a learn action is cut short")
        spec = _decode_spec(kind, bits, data[offset + 2 : middle], data[middle:end])
        if spec is None:
            return None
        specs.append(spec)
        offset = end
    return tuple(specs)


def _decode_spec(kind: int, bits: int, source: bytes, target: bytes) -> LearnSpec | None:
    into = _field_at_zero(target) if target else ""
    origin = "" if kind & _IMMEDIATE else _field_at_zero(source)
    if into is None or origin is None:
        return None
    if kind == 0:
        return LearnMatch(into, origin, bits)
    if kind == _IMMEDIATE:
        return LearnMatchValue(into, int.from_bytes(source, "big"), bits)
    if kind == _IMMEDIATE | _TO_LOAD:
        return LearnLoad(into, int.from_bytes(source, "big"), bits)
    return LearnOutput(origin, bits) if kind == _TO_OUTPUT else None


def _field_at_zero(data: bytes) -> str | None:
    header, offset = _FIELD.unpack(data)
    field = HEADERS.get(header & ~HAS_MASK)
    return field.name if field and not offset else None
