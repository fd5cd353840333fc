"""What of a flow monitor's updates is drift, and in which words."""

from __future__ import annotations

import pytest

from datapath.events import Drift
from datapath.openflow.codec import FlowEvent, FlowUpdate
from datapath.openflow.flow import Flow, Output, match
from sdn import drift
from sdn.drift import Found
from sdn.drift_log import DriftLog
from sdn.model import facts
from sdn.names import names
from sdn.pipeline.fields import Cookie, Kind
from sdn.southbound.requests import Watch
from sdn.topology import parse

MODEL = parse("name: t\nchassis: {hv1: {}}\nnetworks: {web: {segment: {vxlan: 10}}}\nnodes: {a: {network: web}}\n", "f")
PORT = Cookie(Kind.PORT, MODEL.ports["a:eth0"].id).pack()
LEARNED = Cookie(Kind.LEARNED, 16).pack()
OURS = Flow(40, 50, match(eth_dst=1), (Output(64),), cookie=PORT)
DESIRED = {OURS.key: OURS}
ELSEWHERE = OURS._replace(priority=51)
ADDED, REMOVED, MODIFIED = FlowEvent.ADDED, FlowEvent.REMOVED, FlowEvent.MODIFIED


@pytest.mark.parametrize(
    ("event", "flow", "found"),
    [
        (REMOVED, OURS, Found("removed", OURS)),
        (REMOVED, OURS._replace(goto=3), Found("removed", OURS)),
        (MODIFIED, OURS._replace(actions=()), Found("changed", OURS)),
        (ADDED, OURS._replace(cookie=0x77), Found("changed", OURS, theirs=True)),
        (ADDED, ELSEWHERE, Found("added", ELSEWHERE)),
        (ADDED, OURS, None),
        (MODIFIED, OURS, None),
        (REMOVED, ELSEWHERE, None),
        (REMOVED, OURS._replace(cookie=0x77), None),
        (ADDED, ELSEWHERE._replace(cookie=0x77), None),
        (ADDED, ELSEWHERE._replace(cookie=LEARNED, idle_timeout=300), None),
        (REMOVED, ELSEWHERE._replace(cookie=LEARNED, idle_timeout=300), None),
        (FlowEvent.ABBREV, None, None),
    ],
)
def test_what_is_drift(event: FlowEvent, flow: Flow | None, found: Found | None) -> None:
    update = FlowUpdate(event, flow)
    assert drift.judge(update, DESIRED.get) == found
    assert found is None or drift.is_about_us(update, {}), "what is drift must not be passed over before"


def test_what_is_passed_over_unlooked_at() -> None:
    learned, theirs = ELSEWHERE._replace(cookie=LEARNED), OURS._replace(cookie=0x77)
    for update in (
        FlowUpdate(FlowEvent.ABBREV),
        FlowUpdate(ADDED, learned),
        FlowUpdate(REMOVED, learned),
        FlowUpdate(REMOVED, theirs),
    ):
        assert not drift.is_about_us(update, {}), update
    assert drift.is_about_us(FlowUpdate(REMOVED, theirs), {OURS.key: "not ours"}), "ours may come back now"
    assert drift.is_about_us(FlowUpdate(FlowEvent.PAUSED), {})
    assert drift.is_about_us(FlowUpdate(FlowEvent.RESUMED), {})


def test_learned_flows_are_not_asked_for() -> None:
    assert not drift.WATCHED[44] & Watch.ADD
    assert all(watch & Watch.ADD for table, watch in drift.WATCHED.items() if table != 44)


def test_words() -> None:
    one = "forward 50 eth_dst=00:00:00:00:00:01 of port a:eth0 (f:4:9)"
    known = names(MODEL, "hv1")
    assert drift.words([OURS], known) == f"flow {one}"
    assert drift.words([OURS, OURS], known) == f"flows {one} and {one}"
    assert drift.words([OURS] * 412, known) == f"412 flows, such as {one}, {one} and {one}"


def test_drifts_by_how() -> None:
    found = [Found("added", ELSEWHERE), Found("removed", OURS), Found("added", ELSEWHERE._replace(priority=52))]
    told = drift.drifts("hv1", found, names(MODEL, "hv1"), 7.0)
    assert [(each.how, each.found, len(about)) for each, about in told.items()] == [
        ("removed", 7.0, 1),
        ("added", 7.0, 2),
    ]


class Told(dict[str, facts.Drift]):
    """What the store was told."""

    def tell(self, key: str, drift: facts.Drift) -> None:
        self[key] = drift


def test_a_drift_is_told_until_it_is_put_right() -> None:
    told = Told()
    log = DriftLog("controller", told.tell)
    log.found(
        {Drift(0, "hv1", "x", "removed", 1.0): frozenset("x"), Drift(0, "hv1", "y", "changed", 1.0): frozenset("y")}
    )
    log.found({Drift(0, "hv2", "z", "removed", 1.0): frozenset("z")})
    assert [each.repaired for each in told.values()] == [0, 0, 0]
    log.failed("hv1", "table full")
    assert [each.error for each in told.values()] == ["table full", "table full", ""]
    log.settle("hv1", {"y": "not ours"})
    assert [(each.repaired > 0, each.error) for each in told.values()] == [(True, ""), (False, "not ours"), (False, "")]
    log.settle("hv1", {})
    assert [each.repaired > 0 for each in told.values()] == [True, True, False]


def test_keys_are_nobody_elses() -> None:
    told = Told()
    for by in ("controller", "agent"):
        for _ in range(2):
            DriftLog(by, told.tell).found({Drift(0, "hv1", by, "removed", 1.0): frozenset()})
    assert {key.split("-")[0] for key in told} == {"controller", "agent"}


def test_a_fight_for_a_flow_is_one_drift_and_slowed_down() -> None:
    now, told = 1.0, Told()
    log = DriftLog("controller", told.tell, lambda: now)
    pauses = []
    for _ in range(9):
        pauses.append(round(log.hold("hv1", ["x"]), 1))
        now += pauses[-1]
        log.found({Drift(0, "hv1", "x", "removed", now): frozenset("x")})
        log.settle("hv1", {})
    assert pauses == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1, 1]
    ((_, drift),) = told.items()
    assert (drift.times, drift.found, drift.repaired) == (9, now, now)
    assert log.hold("hv1", ["x", "y"]) == 0, "something else does not wait"
    assert log.hold("hv1", None) == 1
    assert log.hold("hv2", None) == 0
    (fight,) = log.fights("hv1")
    assert "x, removed again and again" in fight
    assert log.fights("hv2") == []
