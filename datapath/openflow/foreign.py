"""What other controllers' flows do, and ours never: in ovs-ofctl's words, as far as there are such for it here.

Enters: the wire bytes of an `Unknown`. Leaves: text. Never: an error, whatever the bytes are; something that is done.
OpenFlow 1.3 sections 7.2.4 and 7.2.5; Nicira's as in Open vSwitch's `ofp-actions.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from datapath.openflow.actions import NICIRA, decode_actions
from datapath.openflow.flow import Action, Unknown
from datapath.openflow.tlv import DecodeError

Say = Callable[[Action], str]

_METADATA, _WRITE, _APPLY, _CLEAR = 2, 3, 4, 5
_EXPERIMENTER, _CT = 0xFFFF, 35
_NO_TABLE: Final = 0xFF

_HEAD = Struct("!HH")
_NX_HEAD = Struct("!HHIH")
_NUMBER = Struct("!4xI")
_METADATA_BODY = Struct("!8xQQ")
_CT_BODY = Struct("!10xHIHB3xH")

_NUMBERED: Final = {6: "meter", 21: "set_queue", 22: "group"}
_NAMES: Final = {
    11: "copy_ttl_out",
    12: "copy_ttl_in",
    15: "set_mpls_ttl",
    16: "dec_mpls_ttl",
    19: "push_mpls",
    20: "pop_mpls",
    23: "mod_nw_ttl",
    24: "dec_ttl",
    25: "set_field",
    26: "push_pbb",
    27: "pop_pbb",
}
_NICIRA_NAMES: Final = {
    6: "move",
    7: "load",
    8: "note",
    10: "multipath",
    14: "resubmit",
    15: "output",
    16: "learn",
    17: "exit",
    18: "dec_ttl",
    19: "fin_timeout",
    20: "controller",
    27: "push",
    28: "pop",
    32: "output",
    33: "load",
    34: "conjunction",
    37: "controller",
    39: "output",
    42: "clone",
    43: "ct_clear",
    45: "learn",
}


def foreign(raw: bytes, say: Say) -> str:
    """An instruction or an action, whose types have no number in common: `group:7`, `write_actions(output:2)`,
    `ct(commit)`; else its name, if it has one here, and the bytes, if they say more. `say` is for what we know."""
    if len(raw) < _HEAD.size:
        return _bytes(raw)
    kind = _kind(raw)
    if kind in (_WRITE, _APPLY):
        return _with_actions("write_actions" if kind == _WRITE else "apply_actions", raw, say)
    if kind == _METADATA and len(raw) == _METADATA_BODY.size:
        value, mask = _METADATA_BODY.unpack(raw)
        return f"write_metadata:{value:#x}/{mask:#x}"
    return "clear_actions" if kind == _CLEAR else _action(raw)


def _with_actions(name: str, raw: bytes, say: Say) -> str:
    try:
        inside = decode_actions(raw[8:])
    except DecodeError:
        return _bytes(raw, name)
    told = (_action(action.raw) if isinstance(action, Unknown) else say(action) for action in inside)
    return f"{name}({','.join(told)})"


def _action(raw: bytes) -> str:
    kind = _kind(raw)
    if kind in _NUMBERED and len(raw) == _NUMBER.size:
        return f"{_NUMBERED[kind]}:{_NUMBER.unpack(raw)[0]}"
    subtype = _of_nicira(raw)
    if subtype == _CT and len(raw) >= _CT_BODY.size:
        return _ct(raw)
    name = _NAMES.get(kind) or _NICIRA_NAMES.get(subtype)
    return name if name and not any(raw[_HEAD.size if subtype < 0 else _NX_HEAD.size :]) else _bytes(raw, name)


def _ct(raw: bytes) -> str:
    """NXAST_CT. A zone that comes out of a field, an ALG and the actions inside are the dots."""
    flags, zone_field, zone, table, alg = _CT_BODY.unpack_from(raw)
    parts = [word for bit, word in ((1, "commit"), (2, "force")) if flags & bit]
    parts += [f"table={table}"] if table != _NO_TABLE else []
    parts += [f"zone={zone}"] if zone and not zone_field else []
    parts += ["..."] if zone_field or alg or len(raw) > _CT_BODY.size else []
    return f"ct({','.join(parts)})"


def _kind(raw: bytes) -> int:
    return int(_HEAD.unpack_from(raw)[0])


def _of_nicira(raw: bytes) -> int:
    """The subtype; -1 where it is no action of theirs."""
    if len(raw) < _NX_HEAD.size:
        return -1
    kind, _, vendor, subtype = _NX_HEAD.unpack_from(raw)
    return int(subtype) if (kind, vendor) == (_EXPERIMENTER, NICIRA) else -1


def _bytes(raw: bytes, name: str | None = None) -> str:
    return f"{name or 'unknown'} {raw.hex()}"
