"""What of a switch's flows somebody else has changed. PURE.

Enters: what a flow monitor tells, the flows that there shall be. Leaves: what is not as it shall be, and drifts in the
words of `sdn flows`. Never: a flow without our mark that is in nobody's place; a flow that the switch learned; a flow
that has become as it shall be, whoever made it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from datapath.events import HOWS, Drift, How
from datapath.openflow.codec import FlowEvent, FlowUpdate
from datapath.openflow.flow import Flow, FlowKey
from datapath.openflow.text import Names, format_match
from datapath.several import NAMED, several
from sdn.pipeline.fields import Cookie, Kind, is_ours
from sdn.pipeline.layout import Table
from sdn.southbound.changes import Changes
from sdn.southbound.requests import Watch

_ALL: Final = Watch.ADD | Watch.REMOVED | Watch.MODIFY | Watch.INSTRUCTIONS

WATCHED: Final = {table.value: _ALL for table in Table} | {Table.LEARNED.value: Watch.REMOVED | Watch.MODIFY}
"""What is asked of each table. What a switch learns it tells nobody: a guest that invents MACs would cost us too."""


class Found(NamedTuple):
    """A flow of ours that is not as it shall be. `theirs`: somebody else's is in its place."""

    how: How
    flow: Flow
    theirs: bool = False


def is_about_us(update: FlowUpdate, troubles: Mapping[FlowKey, str]) -> bool:
    """Cheap, for the many that are not. A foreign flow is our business when it may be where one of ours should be."""
    flow = update.flow
    if flow is None:
        return update.event in (FlowEvent.PAUSED, FlowEvent.RESUMED)
    if is_ours(flow.cookie):
        return not _is_learned(flow)
    return update.event is not FlowEvent.REMOVED or flow.key in troubles


def judge(update: FlowUpdate, desired: Callable[[FlowKey], Flow | None]) -> Found | None:
    """`desired`: what there shall be in a flow's place. None: all is well, or it is none of our business."""
    flow = update.flow
    if flow is None:
        return None
    wanted, ours = desired(flow.key), is_ours(flow.cookie)
    if update.event is FlowEvent.REMOVED:
        return Found("removed", wanted) if wanted is not None and ours else None
    if wanted is None:
        return Found("added", flow) if ours and not _is_learned(flow) else None
    return Found("changed", wanted, not ours) if wanted != flow else None


def of_changes(changes: Changes) -> Iterable[Found]:
    """What a comparison has put right."""
    yield from (Found("removed", flow) for flow in changes.add)
    yield from (Found("changed", flow) for flow in changes.change)
    yield from (Found("added", flow) for flow in changes.remove)
    yield from (Found("changed", conflict.desired, True) for conflict in changes.conflicts)


def drifts(chassis: str, found: Iterable[Found], names: Names, when: float) -> dict[Drift, frozenset[FlowKey]]:
    """One for all that were removed, one for all that were changed, one for all that were added; with its flows."""
    told = {}
    by_how: dict[How, list[Flow]] = {how: [] for how in HOWS}
    for each in found:
        by_how[each.how].append(each.flow)
    for how, flows in by_how.items():
        if flows:
            told[Drift(0, chassis, words(flows, names), how, when)] = frozenset(flow.key for flow in flows)
    return told


def words(flows: list[Flow], names: Names) -> str:
    """`flow answer 20 arp, arp_tpa=10.1.0.2 of port web1:eth0 (lab.yaml:12:3)`, or how many and the first few."""
    named = [_words(flow, names) for flow in flows[:NAMED]]
    noun = "flow " if len(flows) == 1 else "flows " if len(flows) <= NAMED else ""
    return noun + several(named, "flows", len(flows))


def gone(foreign: int) -> str:
    """Of flows that a switch had and that are not the lab's: nobody puts them back."""
    told = "1 flow that was not the lab's is" if foreign == 1 else f"{foreign} flows that were not the lab's are"
    return f"; {told} gone for good" if foreign else ""


def _words(flow: Flow, names: Names) -> str:
    about = names.cookie(flow.cookie)
    wanted = format_match(flow.match, names) or "any"
    return f"{names.table(flow.table)} {flow.priority} {wanted}" + (f" of {about}" if about else "")


def _is_learned(flow: Flow) -> bool:
    cookie = Cookie.unpack(flow.cookie)
    return cookie is not None and cookie.kind is Kind.LEARNED
