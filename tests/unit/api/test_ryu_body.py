"""Ryu's request bodies: JSON, its documentation's Python, and nothing that gets through as something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdn.api.ryu.body import applied, check_flow, number, parse
from sdn.api.ryu.problem import Problem

COMMENTED = b"""{
    "dpid": 1,
    "match":{
        "dl_vlan": "0x0000"   # Describe OFPVID_NONE(0x0000)
    },
    "actions":[{"type":"OUTPUT", "port":1,},]
}"""


def test_json() -> None:
    assert parse(b' {"dpid": 1, "match": {}, "x": [true, null]}\n') == {"dpid": 1, "match": {}, "x": [True, None]}


def test_none_is_an_empty_object() -> None:
    assert parse(b"") == parse(b" \n") == {}


def test_comments_hexadecimal_and_commas_at_the_end_as_the_documentation_has_them() -> None:
    assert parse(COMMENTED) == {
        "dpid": 1,
        "match": {"dl_vlan": "0x0000"},
        "actions": [{"type": "OUTPUT", "port": 1}],
    }
    assert parse(b"{'type': 'WRITE_METADATA', 'metadata': 0x3}")["metadata"] == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "neither JSON"),
        (b"[1]", "should be an object, and is list"),
        (b"null", "is NoneType"),
        (b"7", "is int"),
        (b"\xff\xfe", "not UTF-8"),
        (b"dpid=1&priority=2", "neither JSON"),
        (b"__import__('os').system('true')", "neither JSON"),
        (b'{"match": []}', "match should be an object, and is list"),
        (b'{"actions": {}}', "actions should be a list, and is dict"),
        (b'{"buckets": null}', "buckets should be a list"),
        (b'{"match": {"tp_dst": 80, "dl_type": 2048}}', "need nw_proto"),
        (b'{"dpid":' + b"[" * 100_000, "not JSON"),
        (b"(" * 60_000, "neither JSON"),
        (b"-" * 60_000 + b"1", "neither JSON"),
        (b"{'a': 1, " + b" " * 70_000 + b"}", "not JSON"),
        (b'{"dpid": ' + b"9" * 5000 + b"}", "neither JSON"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, said: str) -> None:
    with pytest.raises(Problem) as problem:
        parse(body)
    assert problem.value.status == 400
    assert said in problem.value.detail
    assert len(problem.value.detail) < 500


@given(st.binary())
def test_any_bytes_are_an_object_or_a_problem(body: bytes) -> None:
    status = 400
    try:
        assert isinstance(parse(body), dict)
    except Problem as problem:
        status = problem.status
    assert status == 400


def test_instructions_of_1_4_are_the_actions_of_1_3() -> None:
    output = {"type": "OUTPUT", "port": 2}
    goto = {"type": "GOTO_TABLE", "table_id": 1}
    assert applied({"instructions": [{"type": "APPLY_ACTIONS", "actions": [output]}, goto]})["actions"] == [
        output,
        goto,
    ]
    assert applied({"actions": [output]}) == {"actions": [output]}


@pytest.mark.parametrize("instructions", [[1], [{"type": "APPLY_ACTIONS", "actions": 1}], [None]])
def test_instructions_that_are_none(instructions: list[object]) -> None:
    with pytest.raises(Problem):
        applied({"instructions": instructions})


def test_numbers() -> None:
    assert [number(value, "dpid") for value in (16, "16", "0x10")] == [16, 16, 16]
    for value in ("x", None, 1.5, "", [], "0010", True):
        with pytest.raises(Problem, match="dpid should be a number"):
            number(value, "dpid")


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ({"priority": 70000}, "priority should be 0 to 65535, and is 70000"),
        ({"idle_timeout": -1}, "idle_timeout should be 0 to 65535, and is -1"),
        ({"cookie_mask": 2**64}, "cookie_mask should be"),
        ({"flags": "KBPS"}, "flags should be a number"),
    ],
)
def test_numbers_of_a_flow_that_do_not_fit_are_named(flow: dict[str, object], said: str) -> None:
    check_flow({"priority": "0x10", "cookie": 2**64 - 1})
    with pytest.raises(Problem, match=said):
        check_flow(flow)
