"""A packet's way through the chassis, as values and in words. PURE.

Enters: what the interpreter saw at each chassis. Leaves: hops whose flows print by name, and a verdict: delivered, or
dropped where, by which flow, for which line of the file; or by a flow that is not the lab's. Never: a look at a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from datapath.openflow.flow import Flow
from datapath.openflow.interpreter import Step, Walk
from datapath.openflow.packet import Packet
from datapath.openflow.text import Names, format_flow
from datapath.several import several
from sdn import links
from sdn.names import whose
from sdn.pipeline import WHY_DROPPED
from sdn.pipeline.fields import is_ours


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One table on one chassis. `flow` is None for a miss; `about` is the object behind it and its line in the file, or
    whose it is where it is not the lab's (`foreign`)."""

    table: str
    flow: Flow | None
    text: str
    about: str
    changes: tuple[str, ...]
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet came from or went to: by which link (see `sdn.links`; '' where it is none), from or to which
    chassis, or the port at its end. A physical network leads to all chassis on it: none is named."""

    link: str
    kind: links.LinkKind
    chassis: str = ""
    port: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """The packet on one chassis: where it came in, the tables it met, where copies of it left.

    `came` and `leads` say the same as `in_port` and `outputs`, for pictures. `realised_by` is '' where the chassis has
    these tables; else what does there what they say. `unread` is why its switch did not say what it has: then these are
    the flows that it shall have.
    """

    chassis: str
    in_port: str
    packet: Packet = field(repr=False)
    walk: Walk = field(repr=False)
    steps: tuple[TraceStep, ...]
    outputs: tuple[str, ...]
    ended: str
    came: Place
    leads: tuple[Place, ...]
    realised_by: str = ""
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A packet's whole way. `delivered` names the ports that got it, `answered` says that the switch replied itself."""

    hops: tuple[Hop, ...]
    delivered: tuple[str, ...]
    target: str
    verdict: str
    reached: bool

    def explain(self) -> str:
        """One line for a failed test: which hop, table and flow dropped the packet."""
        return self.verdict


def shown(step: Step, printed: Names) -> TraceStep:
    table = printed.table(step.table)
    if step.flow is None:
        return TraceStep(table, None, "no flow matches", "", ())
    cookie = step.flow.cookie
    foreign = not is_ours(cookie)
    return TraceStep(
        table,
        step.flow,
        format_flow(step.flow._replace(cookie=0), printed).removeprefix(f"{table} "),
        f"{whose(printed, cookie)}, cookie {cookie:#x}" if foreign else printed.cookie(cookie) or "",
        tuple(f"{change.field}={change.after:#x}" for change in step.changes),
        foreign,
    )


def verdict(hops: Sequence[Hop], delivered: Sequence[str], target: str, answered: bool, reached: bool) -> str:
    """What became of it, in one line."""
    if answered and target not in delivered:
        outcome = f"answered by {hops[0].chassis} itself"
    elif reached:
        outcome = f"delivered to {target} on {_where(hops, target)}"
    elif delivered:
        outcome = f"not delivered to {target}, but to {', '.join(delivered)}"
    else:
        outcome = _end(hops[-1])
    decider = None if delivered else hops[-1].steps[-1]
    return outcome + _met(hops, decider) + _provided(hops)


def _where(hops: Sequence[Hop], target: str) -> str:
    return next((hop.chassis for hop in hops if any(out.startswith(target) for out in hop.outputs)), hops[-1].chassis)


def _end(hop: Hop) -> str:
    """Of a packet that nobody got."""
    last, walk = hop.steps[-1], hop.walk
    flow = f"(flow: {last.text}; {last.about})" if last.flow else f"({last.text})"
    if walk.unfollowed:
        return f"followed as far as table {last.table} on {hop.chassis}: {walk.unfollowed} {flow}"
    if walk.outputs:
        return f"sent out by {', '.join(hop.outputs)} on {hop.chassis}, and no port of the lab got it"
    if walk.to_controller:
        return f"sent to the controller by table {last.table} on {hop.chassis} {flow}"
    why = f": {reason}" if (reason := _reason(hop)) else ""
    by = " by a flow that is not the lab's" if last.foreign else ""
    return f"dropped on {hop.chassis} in table {last.table}{by}{why} {flow}"


def _reason(hop: Hop) -> str:
    """What a drop in its last table means; why somebody else's flow drops is theirs to know."""
    if hop.walk.error:
        return hop.walk.error
    if hop.walk.hairpin:
        return "it would go back where it came from"
    last = hop.steps[-1]
    return "" if last.foreign else WHY_DROPPED.get(last.table, "")


def _met(hops: Sequence[Hop], decider: TraceStep | None) -> str:
    """Flows that are not the lab's and that it went through before its end."""
    met = [words for step, words in _foreign(hops) if step is not decider]
    return f"; on its way are flows that are not the lab's: {several(met, 'flows', len(met))}" if met else ""


def _foreign(hops: Sequence[Hop]) -> Iterator[tuple[TraceStep, str]]:
    for hop in hops:
        for step in hop.steps:
            if step.foreign:
                yield step, f"in table {step.table} on {hop.chassis} ({step.about})"


def _provided(hops: Sequence[Hop]) -> str:
    unread = [hop for hop in hops if hop.unread]
    if not unread:
        return ""
    names = " and ".join(dict.fromkeys(hop.chassis for hop in unread))
    has = "has the flows that it" if len({hop.chassis for hop in unread}) == 1 else "have the flows that they"
    return f", provided that {names} {has} shall have ({unread[0].unread})"
