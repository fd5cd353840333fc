"""What the API tells of a lab beside its things: counters, revisions, plans, events; as values. PURE.

Enters: JSON that was decoded. Leaves: Traffic, Revision, Plan, Rollback, Event. Never: a field that is dropped: `raw`
has all that was answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sdn.client.models import Applied, Raw
from sdn.differences import Count, Difference

# Counters

Figures = Mapping[str, float]
"""By what they are of: `rx_bytes`, `tx_packets`; with `_rate` behind it, per second."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of ports by `node:interface`, as the node sees it; of tunnels (`hv1:vxlan`) and uplinks (`hv1--office`) as the
    chassis does: a link's `raw["counters"]` has its names. `time` is in seconds since the epoch. What is `down` has no
    carrier; chassis that are `missing` did not say, and why."""

    time: float
    ports: Mapping[str, Figures]
    tunnels: Mapping[str, Figures]
    uplinks: Mapping[str, Figures]
    down: tuple[str, ...]
    missing: Mapping[str, str]
    raw: Raw = field(repr=False)

    @classmethod
    def of(cls, raw: Raw) -> Traffic:
        columns = raw["columns"]
        ports, tunnels, uplinks = (
            {name: dict(zip(columns, row, strict=True)) for name, row in raw[kind].items()}
            for kind in ("ports", "tunnels", "uplinks")
        )
        return cls(raw["time"], ports, tunnels, uplinks, tuple(raw["down"]), raw["missing"], raw)


# History


@dataclass(frozen=True, slots=True)
class Revision:
    """`time` is RFC 3339 in UTC; `seconds` None until it is settled. `entries` only where one was asked for."""

    number: int
    time: str
    author: str
    origin: str
    changes: Mapping[str, Count]
    settled: bool
    errors: tuple[str, ...]
    seconds: float | None
    entries: tuple[Difference, ...] = ()
    raw: Raw = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, raw: Raw) -> Revision:
        return cls(
            raw["number"],
            raw["time"],
            raw["author"],
            raw["origin"],
            {kind: Count(**count) for kind, count in raw["changes"].items()},
            raw["settled"],
            tuple(raw["errors"]),
            raw["seconds"],
            tuple(Difference.of(each) for each in raw.get("entries", ())),
            raw,
        )


@dataclass(frozen=True, slots=True)
class Step:
    where: str
    verb: str
    what: str
    why: str
    disturbs: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done or was done; flows by chassis: how many are added, changed, removed."""

    steps: tuple[Step, ...]
    flows: Mapping[str, tuple[int, int, int]]
    raw: Raw = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, raw: Raw) -> Plan:
        steps = tuple(Step(*(each[key] for key in Step.__slots__)) for each in raw["steps"])
        flows = {name: (count[0], count[1], count[2]) for name, count in raw["flows"].items()}
        return cls(steps, flows, raw)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Back to what revision `to` was: that is `revision` now. `plan` where it was a dry run, which `etag` is of."""

    to: int
    revision: int
    changed: bool
    plan: Plan | None = None
    applied: Applied | None = None
    etag: str = ""

    @classmethod
    def of(cls, raw: Raw, etag: str = "") -> Rollback:
        plan = Plan.of(raw["plan"]) if "plan" in raw else None
        applied = Applied.of(raw["applied"]) if "applied" in raw else None
        return cls(raw["to"], raw["revision"], raw["changed"], plan, applied, etag)


@dataclass(frozen=True, slots=True)
class Event:
    """`time` is RFC 3339 in UTC. `object` is its kind and name, if it is about one."""

    id: str
    time: str
    kind: str
    lab: str
    object: tuple[str, str] | None
    revision: int | None
    message: str
    data: Raw
    raw: Raw = field(repr=False)

    @classmethod
    def of(cls, raw: Raw) -> Event:
        about = (raw["object"]["kind"], raw["object"]["name"]) if raw["object"] else None
        return cls(
            raw["id"], raw["time"], raw["kind"], raw["lab"], about, raw["revision"], raw["message"], raw["data"], raw
        )
