"""What a dump and the desired flows make: keys, cookies, strangers, learned flows."""

from __future__ import annotations

from datapath.openflow.codec import FlowStats
from datapath.openflow.flow import Flow, FlowKey, Learn, Output, match
from sdn.pipeline.fields import Cookie, Kind
from sdn.southbound.changes import Changes, compare

MINE = Cookie(Kind.PORT, 100).pack()
FLOW = Flow(0, 10, match(in_port=64), (Output(65),), cookie=MINE)


def by_key(*flows: Flow) -> dict[FlowKey, Flow]:
    return {flow.key: flow for flow in flows}


def seen(*flows: Flow) -> dict[FlowKey, FlowStats]:
    return {flow.key: FlowStats(flow, 7, 700, 1.5) for flow in flows}


def test_equal_is_nothing_to_do() -> None:
    assert compare(by_key(FLOW), seen(FLOW)) == Changes()


def test_missing_and_left_over() -> None:
    other = FLOW._replace(priority=11)
    changes = compare(by_key(FLOW), seen(other))
    assert (changes.add, changes.change, changes.remove, changes.count) == ((FLOW,), (), (other,), 2)
    assert [step.why for step in changes.steps] == ["missing", "not wanted"]


def test_every_difference_that_a_key_does_not_show_is_a_change() -> None:
    variants = {
        "actions": FLOW._replace(actions=(Output(66),)),
        "goto": FLOW._replace(goto=8),
        "cookie": FLOW._replace(cookie=MINE + 1),
        "idle_timeout": FLOW._replace(idle_timeout=5),
        "hard_timeout": FLOW._replace(hard_timeout=5),
    }
    for name, variant in variants.items():
        changes = compare(by_key(variant), seen(FLOW))
        assert (changes.add, changes.change, changes.remove) == ((), (variant,), ())
        assert [step.why for step in changes.steps] == [f"other {name}"]


def test_flows_of_others_stay() -> None:
    users = FLOW._replace(cookie=0, priority=1)
    assert compare(by_key(FLOW), seen(FLOW, users)) == Changes(foreign=(users.key,))


def test_a_strangers_flow_in_our_place_is_a_conflict_and_the_rest_goes_on() -> None:
    users = FLOW._replace(cookie=0x1234, actions=())
    missing = FLOW._replace(priority=11)
    changes = compare(by_key(FLOW, missing), seen(users))
    assert (changes.add, changes.change, changes.remove) == ((missing,), (), ())
    assert [(found.desired, found.observed) for found in changes.conflicts] == [(FLOW, users)]
    assert "is not ours and stays; it is in the place of" in str(changes.conflicts[0])


def test_learned_flows_stay_while_a_desired_flow_teaches_them() -> None:
    learned = FLOW._replace(cookie=Cookie(Kind.LEARNED, 5).pack(), idle_timeout=300)
    teacher = FLOW._replace(table=1, actions=(Learn(44, 50, learned.cookie, 300, 0, ()),))
    assert compare(by_key(teacher), seen(teacher, learned)) == Changes()
    assert compare(by_key(teacher, FLOW), seen(teacher, learned)).change == (FLOW,)
    assert compare({}, seen(learned)).remove == (learned,)


def test_a_kind_from_another_version_of_ours_is_ours() -> None:
    later = FLOW._replace(cookie=0x5D0E << 48 | 0xEE << 40 | 3)
    assert compare({}, seen(later)).remove == (later,)


def test_adds_and_changes_keep_the_order_of_what_is_desired() -> None:
    flows = [FLOW._replace(priority=priority) for priority in (5, 3, 9, 1)]
    assert compare(by_key(*flows), {}).add == tuple(flows)
