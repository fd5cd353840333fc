"""Flow, Match and actions: the values that the pipeline compiles, the codec encodes and the interpreter runs.

NamedTuples throughout: they hash and compare in C, which the codec's caches live on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from datapath.openflow.oxm import FIELDS


class MatchField(NamedTuple):
    """One field of a match; `mask` is None where all bits count."""

    field: str
    value: int
    mask: int | None = None

    def __str__(self) -> str:
        spec = FIELDS.get(self.field)
        if spec is None:  # another controller's; see tlv.py
            return (
                f"{self.field}={self.value:#x}" if self.mask is None else f"{self.field}={self.value:#x}/{self.mask:#x}"
            )
        value = spec.format(self.value)
        return f"{self.field}={value}" if self.mask is None else f"{self.field}={value}/{spec.format(self.mask)}"


Match = tuple[MatchField, ...]
"""Canonical: in `FIELDS` order, no field twice, value within mask, a full mask written None, an empty one left out."""

_Wanted = int | tuple[int, int]


def match(**fields: _Wanted) -> Match:
    """A canonical match from `field=value` or `field=(value, mask)`; raises KeyError for an unknown field."""
    return canonical(
        MatchField(name, int(wanted[0]), int(wanted[1])) if isinstance(wanted, tuple) else MatchField(name, int(wanted))
        for name, wanted in fields.items()
    )


def canonical(fields: Iterable[MatchField]) -> Match:
    """Sort the fields, drop empty masks, write full ones as None. `nxm_in_port` is `in_port`, as switches dump it."""
    result = []
    for name, value, mask in fields:
        if name == "nxm_in_port" and mask is None:
            result.append(MatchField("in_port", value | 0xFFFF0000 if value >= 0xFF00 else value))
            continue
        ones = FIELDS[name].all_ones
        if mask == 0:
            continue
        result.append(MatchField(name, value & (ones if mask is None else mask), None if mask == ones else mask))
    return tuple(sorted(result, key=lambda item: FIELDS[item.field].order))


class Output(NamedTuple):
    """Send the packet to an OpenFlow port number (OFPAT_OUTPUT); `max_len` matters for the controller only."""

    port: int
    max_len: int = 0


class SetField(NamedTuple):
    """Set a whole field (OFPAT_SET_FIELD)."""

    field: str
    value: int


class Load(NamedTuple):
    """Set `bits` bits of a field from bit `offset` (NXAST_REG_LOAD)."""

    field: str
    offset: int
    bits: int
    value: int


class Move(NamedTuple):
    """Copy `bits` bits between fields (NXAST_REG_MOVE)."""

    source: str
    target: str
    bits: int
    source_offset: int = 0
    target_offset: int = 0


class PushVlan(NamedTuple):
    """Push an empty 802.1Q tag (OFPAT_PUSH_VLAN); set `vlan_vid` afterwards, with VLAN_PRESENT."""

    ethertype: int = 0x8100


class PopVlan(NamedTuple):
    """Take the outermost VLAN tag off (OFPAT_POP_VLAN)."""

    tag: str = "pop_vlan"  # named tuples compare as tuples: this keeps it unequal to every other action


class Multipath(NamedTuple):
    """Hash header fields into a field (NXAST_MULTIPATH, modulo_n): target[offset:offset+bits] = hash % links.

    `fields` is 0 for NX_HASH_FIELDS_ETH_SRC, 1 for SYMMETRIC_L4 (Open vSwitch `nicira-ext.h`); `basis` is 16 bits.
    """

    fields: int
    basis: int
    links: int
    target: str
    offset: int
    bits: int


class LearnMatch(NamedTuple):
    """In the learned flow: match `target` against the packet's present value of `source` (whole fields)."""

    target: str
    source: str
    bits: int


class LearnMatchValue(NamedTuple):
    """In the learned flow: match `target` against a constant of `bits` bits."""

    target: str
    value: int
    bits: int


class LearnLoad(NamedTuple):
    """In the learned flow's actions: load a constant into `target` (whole field)."""

    target: str
    value: int
    bits: int
    tag: str = "load"  # keeps it unequal to a LearnMatchValue of the same numbers


class LearnOutput(NamedTuple):
    """In the learned flow's actions: output to the port number that `source` holds now."""

    source: str
    bits: int


LearnSpec = LearnMatch | LearnMatchValue | LearnLoad | LearnOutput


class Learn(NamedTuple):
    """Add or refresh a flow from the packet at hand (NXAST_LEARN)."""

    table: int
    priority: int
    cookie: int
    idle_timeout: int
    hard_timeout: int
    specs: tuple[LearnSpec, ...]


class Resubmit(NamedTuple):
    """Look the packet up in `table` and come back (NXAST_RESUBMIT_TABLE, in_port unchanged)."""

    table: int


class Unknown(NamedTuple):
    """What another controller's flow does and we have no word for: the wire bytes of the action or instruction."""

    raw: bytes


Action = Output | SetField | Load | Move | PushVlan | PopVlan | Multipath | Learn | Resubmit | Unknown


class Flow(NamedTuple):
    """One flow entry. `actions` are applied in order (OFPIT_APPLY_ACTIONS), then the packet goes to table `goto`.

    No actions and no `goto` drop the packet. Identity in a switch: (table, priority, match).
    """

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    cookie: int = 0
    idle_timeout: int = 0
    hard_timeout: int = 0

    @property
    def key(self) -> FlowKey:
        return FlowKey(self.table, self.priority, self.match)


class FlowKey(NamedTuple):
    """What a switch tells flows apart by (OpenFlow 1.4 section 5.1)."""

    table: int
    priority: int
    match: Match


DROP: Final[tuple[Action, ...]] = ()
