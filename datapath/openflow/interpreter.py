"""Flow tables, run in Python: which flows a packet meets, what they do to it, and where it leaves.

In: the flows of one switch and a packet's fields. Out: a Walk: every step, every copy that is sent, and why it ended.
Never changes the tables: what a learn action would add is in the walk. The results are Open vSwitch's, by test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Final, NamedTuple

from datapath.openflow.flow import (
    Action,
    Flow,
    FlowKey,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    Load,
    MatchField,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    canonical,
)
from datapath.openflow.hashing import hash_fields
from datapath.openflow.oxm import BY_THE_SWITCH, CONTROLLER, FIELDS, IN_PORT, VLAN_PRESENT
from datapath.openflow.packet import Packet, present, read, read_bits, write, write_bits
from datapath.openflow.text import Names, format_action, format_flow

MAX_DEPTH: Final = 64
MAX_LOOKUPS: Final = 4096
"""Limits of Open vSwitch (`ofproto-dpif-xlate.c`): resubmits nested, and table lookups of one packet."""

_Mask = tuple[tuple[str, int], ...]
_EVERY_BIT: Final = -1


def _bits(item: MatchField) -> int:
    """The bits that a match looks at; all of a field that oxm.py does not know, which no packet here has."""
    if item.mask is not None:
        return item.mask
    known = FIELDS.get(item.field)
    return known.all_ones if known else _EVERY_BIT


@dataclass(slots=True)
class _Group:
    """The flows of a table whose matches look at the same bits: one dict lookup finds the right one."""

    mask: _Mask
    priority: int = -1
    flows: dict[tuple[int, ...], Flow] = field(default_factory=dict)

    def find(self, packet: Packet) -> Flow | None:
        get = packet.get
        return self.flows.get(tuple([get(name, 0) & mask for name, mask in self.mask]))


class Tables:
    """The flow tables of one switch (tuple space search, as in Open vSwitch's classifier)."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        groups: dict[tuple[int, int, _Mask], _Group] = {}
        for flow in flows:
            mask = tuple([(item.field, _bits(item)) for item in flow.match])
            # One group per priority too: no two flows of a group can then match the same packet.
            group = groups.setdefault((flow.table, flow.priority, mask), _Group(mask, flow.priority))
            group.flows[tuple([f.value for f in flow.match])] = flow
        self._tables: dict[int, list[_Group]] = {}
        for (table, _, _), group in sorted(groups.items(), key=lambda item: -item[1].priority):
            self._tables.setdefault(table, []).append(group)

    def lookup(self, table: int, packet: Packet) -> Flow | None:
        """The flow of the highest priority that matches; None is a table miss, which drops."""
        for group in self._tables.get(table, ()):
            if found := group.find(packet):
                return found
        return None

    def run(self, packet: Packet, in_port: int | None = None, table: int = 0) -> Walk:
        """Send `packet` through, from `table` on. `in_port` is written into it where given; `packet` stays as it is."""
        run = _Run(self, dict(packet) if in_port is None else {**packet, "in_port": in_port})
        return run.walk(table)


# --- what a walk is --------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """A field before and after an action."""

    field: str
    before: int
    after: int


class Step(NamedTuple):
    """One table lookup. `flow` is None for a miss; `depth` counts resubmits; `changes` are those of its own actions."""

    table: int
    flow: Flow | None
    depth: int
    actions: tuple[Action, ...]
    changes: tuple[Change, ...]


class Sent(NamedTuple):
    """A copy of the packet as it left, tunnel fields and registers included."""

    port: int
    packet: Packet
    max_len: int = 0


@dataclass(frozen=True, slots=True)
class Walk:
    """What became of one packet. `to_controller` are copies sent up; `learned` flows are to be added by the caller."""

    steps: tuple[Step, ...]
    outputs: tuple[Sent, ...]
    to_controller: tuple[Sent, ...]
    learned: tuple[Flow, ...]
    packet: Packet
    hairpin: bool = False
    """An output to the port that it came in by was left out."""
    error: str = ""
    """Why the switch gave up; it then sends nothing at all."""
    unfollowed: str = ""
    """Why it was followed no further: somebody else's flow does what there is no word for here."""

    @property
    def dropped(self) -> bool:
        return not self.outputs and not self.to_controller

    @property
    def path(self) -> list[tuple[int, FlowKey | None]]:
        """Tables and flows, in order."""
        return [(step.table, step.flow.key if step.flow else None) for step in self.steps]

    def ended(self, names: Names | None = None) -> str:
        """Why it ended, in one line: `sent`, or `dropped:` and what dropped it."""
        if self.unfollowed:
            return f"not followed: {self.unfollowed}"
        if not self.dropped:
            return "sent"
        if self.error:
            return f"dropped: {self.error}"
        if self.hairpin:
            return "dropped: it would go back to the port that it came in by"
        last = self.steps[-1]
        if last.flow is None:
            return f"dropped: no flow in table {names.table(last.table) if names else last.table}"
        return f"dropped by {format_flow(last.flow, names)}"


class _GaveUpError(Exception):
    pass


class _NotKnownError(Exception):
    pass


# --- the walk itself -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Visit:
    table: int
    flow: Flow | None
    depth: int
    actions: list[Action] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


class _Run:
    def __init__(self, tables: Tables, packet: Packet) -> None:
        self.tables = tables
        self.packet = packet
        self.inner_vlan = (0, 0)  # id and priority; Open vSwitch keeps two tags, and so do we
        self.visits: list[_Visit] = []
        self.outputs: list[Sent] = []
        self.to_controller: list[Sent] = []
        self.learned: list[Flow] = []
        self.hairpin = False

    def walk(self, table: int) -> Walk:
        error = unfollowed = ""
        try:
            self.visit(table, depth=0, resubmits=0)
        except _GaveUpError as gave_up:
            error = str(gave_up)
            self.outputs, self.to_controller, self.learned = [], [], []
        except _NotKnownError as not_known:
            unfollowed = str(not_known)
        return Walk(
            tuple(Step(v.table, v.flow, v.depth, tuple(v.actions), tuple(v.changes)) for v in self.visits),
            tuple(self.outputs),
            tuple(self.to_controller),
            tuple(self.learned),
            self.packet,
            self.hairpin,
            error,
            unfollowed,
        )

    def visit(self, table: int, depth: int, resubmits: int) -> None:
        """Look up, act, and follow goto. Only going back or staying nests (Open vSwitch counts depth so)."""
        while True:
            if len(self.visits) > MAX_LOOKUPS or depth > MAX_DEPTH:
                raise _GaveUpError(f"more than {MAX_DEPTH} resubmits nested, or {MAX_LOOKUPS} lookups")
            flow = self.tables.lookup(table, self.packet)
            visit = _Visit(table, flow, resubmits)
            self.visits.append(visit)
            if flow is None:
                return
            for action in flow.actions:
                self.act(action, visit, depth)
            if flow.goto is None:
                return
            table = flow.goto

    def act(self, action: Action, visit: _Visit, depth: int) -> None:
        visit.actions.append(action)
        if isinstance(action, Resubmit):
            deeper = depth + (action.table <= visit.table)
            self.visit(action.table, deeper, visit.depth + 1)
            return
        before = dict(self.packet)
        self.do(action)
        changed = (name for name, value in self.packet.items() if value != before.get(name, 0))
        visit.changes += [Change(name, before.get(name, 0), self.packet[name]) for name in changed]

    @singledispatchmethod
    def do(self, action: Action) -> None:
        raise _NotKnownError(f"the interpreter does not know what {format_action(action)} does")

    @do.register
    def _(self, action: Output) -> None:
        if action.port == CONTROLLER:
            self.to_controller.append(Sent(CONTROLLER, dict(self.packet), action.max_len))
            return
        if action.port in BY_THE_SWITCH:
            raise _NotKnownError(f"the interpreter does not know where {BY_THE_SWITCH[action.port]} leads")
        in_port = self.packet.get("in_port", 0)
        port = in_port if action.port == IN_PORT else action.port
        if action.port == in_port:
            self.hairpin = True
        elif port:
            self.outputs.append(Sent(port, dict(self.packet)))

    @do.register
    def _(self, action: SetField) -> None:
        write(self.packet, action.field, action.value)

    @do.register
    def _(self, action: Load) -> None:
        write_bits(self.packet, action.field, action.offset, action.bits, action.value)

    @do.register
    def _(self, action: Move) -> None:
        source, target, bits, source_offset, target_offset = action
        if present(self.packet, source):
            value = read_bits(self.packet, source, source_offset, bits)
            write_bits(self.packet, target, target_offset, bits, value)

    @do.register
    def _(self, _: PushVlan) -> None:
        vid, pcp = self.packet.get("vlan_vid", 0), self.packet.get("vlan_pcp", 0)
        if vid & VLAN_PRESENT:
            self.inner_vlan = (vid, pcp)
        self.packet |= {"vlan_vid": VLAN_PRESENT, "vlan_pcp": 0}

    @do.register
    def _(self, _: PopVlan) -> None:
        vid, pcp = self.inner_vlan
        self.inner_vlan = (0, 0)
        self.packet |= {"vlan_vid": vid, "vlan_pcp": pcp}

    @do.register
    def _(self, action: Multipath) -> None:
        try:
            link = hash_fields(self.packet, action.fields, action.basis, self.inner_vlan[0]) % action.links
        except ValueError as cause:
            raise _GaveUpError(str(cause)) from cause
        write_bits(self.packet, action.target, action.offset, action.bits, link)

    @do.register
    def _(self, action: Learn) -> None:
        self.learned.append(learn(action, self.packet))


def learn(action: Learn, packet: Packet) -> Flow:
    """The flow that a learn action adds, from the packet as it is now."""
    wanted: list[MatchField] = []
    actions: list[Action] = []
    for spec in action.specs:
        match spec:
            case LearnMatch(target, source, bits):
                wanted.append(_learned_field(target, read_bits(packet, source, 0, bits), bits))
            case LearnMatchValue(target, value, bits):
                wanted.append(_learned_field(target, value, bits))
            case LearnLoad(target, value, bits):
                actions.append(Load(target, 0, bits, value))
            case LearnOutput(source, _):
                actions.append(Output(read(packet, source)))
    head = action.table, action.priority, canonical(wanted), tuple(actions), None, action.cookie
    return Flow(*head, action.idle_timeout, action.hard_timeout)


def _learned_field(name: str, value: int, bits: int) -> MatchField:
    return MatchField(name, value, None if bits >= FIELDS[name].bits else (1 << bits) - 1)
