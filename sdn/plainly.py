"""Traces and flows as plain values: what the command line prints as JSON and the API answers. PURE.

Enters: a Trace, a flow with its counters, Names. Leaves: dicts and lists of text and numbers. Never: a value that
JSON has no word for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapath.errors import FileError
from datapath.openflow.text import Names, format_actions, format_flow, format_match
from sdn.pipeline.layout import Table

if TYPE_CHECKING:
    from datapath.openflow.codec import FlowStats
    from sdn.model import Chassis
    from sdn.way import Hop, Place, Trace

_PROTOCOLS = ("icmp", "tcp", "udp", "arp")


def protocol(text: str) -> tuple[str, int]:
    """`icmp`, `arp`, `tcp/80` or `udp/53` as a word and a port. Raises FileError."""
    kind, slash, number = text.partition("/")
    needs_port = kind in ("tcp", "udp")
    is_number = number.isascii() and number.isdecimal() and len(number) <= 5 and 0 < int(number) < 65536
    fits = needs_port == bool(slash) and (not slash or is_number)
    if kind not in _PROTOCOLS or not fits:
        raise FileError(f"'{text}' is no protocol", remedy="expected icmp, arp, tcp/80 or udp/53")
    return kind, int(number or 0)


def trace(found: Trace) -> dict[str, Any]:
    return {
        "hops": [_hop(hop) for hop in found.hops],
        "delivered": list(found.delivered),
        "target": found.target,
        "reached": found.reached,
        "verdict": found.verdict,
    }


def _hop(hop: Hop) -> dict[str, Any]:
    steps = [
        {
            "table": step.table,
            "flow": step.text,
            "raw": format_flow(step.flow) if step.flow else None,
            "about": step.about,
            "changes": list(step.changes),
            "foreign": step.foreign,
        }
        for step in hop.steps
    ]
    return {
        "chassis": hop.chassis,
        "in_port": hop.in_port,
        "realised_by": hop.realised_by or None,
        "unread": hop.unread or None,
        "steps": steps,
        "outputs": list(hop.outputs),
        "ended": hop.ended,
        "came": _place(hop.came),
        "leads": [_place(place) for place in hop.leads],
    }


def _place(place: Place) -> dict[str, Any]:
    """Where a copy came from or went: by which link, to which chassis or port."""
    return {"link": place.link, "kind": place.kind, "chassis": place.chassis or None, "port": place.port or None}


def table(text: str) -> int:
    """A table by name or number. Raises FileError."""
    if text.isascii() and text.isdecimal() and len(text) < 4:
        return int(text)
    labels = {each.label: int(each) for each in Table}
    if text not in labels:
        raise FileError(f"there is no table {text}", remedy=f"there are: {', '.join(labels)}")
    return labels[text]


def no_tables(chassis: Chassis) -> FileError:
    """Why there are no flows to look at, and what there is instead."""
    name, kind = chassis.name, chassis.datapath
    if not chassis.ours:
        return FileError(f"{name} has no flow tables of ours: somebody else runs it (datapath {kind})")
    looks = ("bridge fdb", "bridge vlan", "ip -d link", "nft list ruleset")
    return FileError(
        f"{name} has no flow tables: the kernel's bridges forward there (datapath {kind})",
        remedy="look at what they have: " + ", ".join(f"sdn exec {name} -- {look}" for look in looks),
    )


def order(stats: FlowStats) -> tuple[Any, ...]:
    """Of the pipeline: what matches first comes first. All bits of a field (no mask) come before some of them."""
    match = [(item.field, item.value, -1 if item.mask is None else item.mask) for item in stats.flow.match]
    return stats.flow.table, -stats.flow.priority, match


def flow(stats: FlowStats, known: Names) -> dict[str, Any]:
    found = stats.flow
    return {
        "table": known.table(found.table),
        "table_id": found.table,
        "priority": found.priority,
        "match": format_match(found.match, known),
        "actions": format_actions(found, known),
        "packets": stats.packets,
        "bytes": stats.bytes,
        "seconds": stats.duration,
        "cookie": f"{found.cookie:#x}",
        "object": known.cookie(found.cookie),
        "raw": format_flow(found),
    }
