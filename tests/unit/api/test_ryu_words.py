"""Ryu's JSON and OpenFlow 1.3: there and back by os-ken, whose silences are errors here; and the user's mark."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.openflow.flow import match
from sdn.api.ryu import marks, words
from sdn.api.ryu.problem import Problem
from sdn.api.ryu.switches import match_of
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK
from sdn.southbound.messages import dialect
from sdn.southbound.requests import Request

V13 = 4
ADD, DELETE = 0, 3


def flow_mod(flow: dict[str, Any], command: int = ADD) -> Any:
    """What a switch would read."""
    return read(words.request(words.message("mod_flow_entry", flow, command)))


def read(request: Request) -> Any:
    return dialect(V13).decode(request.encode(V13, 7))


# The documentation's list of match fields (OpenFlow 1.2 or later), and what is shown of each afterwards
IPV4, IPV6, ARP, MPLS, PBB = 2048, 34525, 2054, 34888, 35047
FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"in_port": 7}, {"in_port": 7}),
    ({"in_port": "LOCAL"}, {"in_port": "LOCAL"}),
    ({"metadata": 12345}, {"metadata": 12345}),
    ({"metadata": "0x1212/0xffff"}, {"metadata": "4626/65535"}),
    (
        {"eth_dst": "aa:bb:cc:11:22:33/00:00:00:00:ff:ff"},
        {"dl_dst": "00:00:00:00:22:33/00:00:00:00:ff:ff"},
    ),
    ({"dl_src": "aa:bb:cc:11:22:33"}, {"dl_src": "aa:bb:cc:11:22:33"}),
    ({"dl_type": 123}, {"dl_type": 123}),
    ({"eth_type": "0x800"}, {"dl_type": 2048}),
    ({"dl_vlan": 5}, {"dl_vlan": "5"}),
    ({"dl_vlan": "0x0000"}, {"dl_vlan": "0x0000"}),
    ({"dl_vlan": "0x1005"}, {"dl_vlan": "5"}),
    ({"vlan_vid": "0x1000/0x1000"}, {"dl_vlan": "0x1000/0x1000"}),
    ({"vlan_pcp": 3, "vlan_vid": 3}, {"vlan_pcp": 3, "dl_vlan": "3"}),
    ({"ip_dscp": 3, "eth_type": IPV4}, {"ip_dscp": 3, "dl_type": IPV4}),
    ({"nw_proto": 5, "eth_type": IPV4}, {"nw_proto": 5, "dl_type": IPV4}),
    (
        {"tp_src": 1, "ip_proto": 6, "eth_type": IPV4},
        {"tp_src": 1, "nw_proto": 6, "dl_type": IPV4},
    ),
    ({"udp_dst": 6, "ip_proto": 17, "eth_type": IPV4}, {"tp_dst": 6, "nw_proto": 17, "dl_type": IPV4}),
    ({"nw_dst": "192.168.0.1/24", "eth_type": IPV4}, {"nw_dst": "192.168.0.0/255.255.255.0", "dl_type": IPV4}),
    (
        {"ipv4_dst": "192.168.10.10/255.255.255.0", "eth_type": IPV4},
        {"nw_dst": "192.168.10.0/255.255.255.0", "dl_type": IPV4},
    ),
    ({"arp_op": 3, "eth_type": ARP}, {"arp_op": 3, "dl_type": ARP}),
    ({"nw_src": "192.168.0.11", "dl_type": ARP}, {"arp_spa": "192.168.0.11", "dl_type": ARP}),
    (
        {"ipv6_dst": "2001::ffff:cccc:bbbb:1111/64", "eth_type": IPV6},
        {"ipv6_dst": "2001::/ffff:ffff:ffff:ffff::", "dl_type": IPV6},
    ),
    ({"mpls_label": 3, "eth_type": MPLS}, {"mpls_label": 3, "dl_type": MPLS}),
    ({"pbb_isid": "0x05/0xff", "eth_type": PBB}, {"pbb_isid": "5/255", "dl_type": PBB}),
    ({"tunnel_id": "0x07/0xff"}, {"tunnel_id": "7/255"}),
    ({"ipv6_exthdr": "0x40/0x1F0", "eth_type": IPV6}, {"ipv6_exthdr": "64/496", "dl_type": IPV6}),
]


@pytest.mark.parametrize(("asked", "shown"), FIELDS, ids=[str(asked) for asked, _ in FIELDS])
def test_match_fields_there_and_back(asked: dict[str, Any], shown: dict[str, Any]) -> None:
    from os_ken.lib.ofctl_v1_3 import match_to_str

    assert match_to_str(flow_mod({"match": asked}).match) == shown


ACTIONS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "OUTPUT", "port": 3}, "OUTPUT:3"),
    ({"type": "OUTPUT", "port": "CONTROLLER", "max_len": 0}, "OUTPUT:CONTROLLER"),
    ({"type": "COPY_TTL_OUT"}, "COPY_TTL_OUT"),
    ({"type": "SET_MPLS_TTL", "mpls_ttl": 64}, "SET_MPLS_TTL:64"),
    ({"type": "PUSH_VLAN", "ethertype": 33024}, "PUSH_VLAN:33024"),
    ({"type": "POP_VLAN"}, "POP_VLAN"),
    ({"type": "SET_QUEUE", "queue_id": 7}, "SET_QUEUE:7"),
    ({"type": "GROUP", "group_id": 5}, "GROUP:5"),
    ({"type": "SET_NW_TTL", "nw_ttl": 64}, "SET_NW_TTL:64"),
    ({"type": "DEC_NW_TTL"}, "DEC_NW_TTL"),
    ({"type": "SET_FIELD", "field": "vlan_vid", "value": 4102}, "SET_FIELD: {vlan_vid:4102}"),
    ({"type": "SET_FIELD", "field": "eth_src", "value": "02:00:00:00:00:01"}, "SET_FIELD: {eth_src:02:00:00:00:00:01}"),
    ({"type": "PUSH_PBB", "ethertype": 35047}, "PUSH_PBB:35047"),
    (
        {"type": "EXPERIMENTER", "experimenter": 101, "data": "AAECAwQFBgc=", "data_type": "base64"},
        "EXPERIMENTER: {experimenter:101, data:AAECAwQFBgc=}",
    ),
    ({"type": "GOTO_TABLE", "table_id": 8}, "GOTO_TABLE:8"),
    ({"type": "WRITE_METADATA", "metadata": 3, "metadata_mask": 3}, "WRITE_METADATA:0x3/0x3"),
    ({"type": "METER", "meter_id": 3}, "METER:3"),
    (
        {"type": "WRITE_ACTIONS", "actions": [{"type": "POP_VLAN"}, {"type": "OUTPUT", "port": 2}]},
        {"WRITE_ACTIONS": ["POP_VLAN", "OUTPUT:2"]},
    ),
    ({"type": "CLEAR_ACTIONS"}, "CLEAR_ACTIONS"),
]


@pytest.mark.parametrize(("asked", "shown"), ACTIONS, ids=[str(asked["type"]) for asked, _ in ACTIONS])
def test_actions_there_and_back(asked: dict[str, Any], shown: Any) -> None:
    from os_ken.lib.ofctl_v1_3 import actions_to_str

    assert actions_to_str(flow_mod({"actions": [asked]}).instructions) == [shown]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"match": {"in_prot": 1}}, "Unknown match field: in_prot"),
    ({"match": {"in_port": 2**32 + 1}}, "in_port does not hold 0x100000001"),
    ({"match": {"in_port": -1}}, "in_port does not hold -0x1"),
    ({"match": {"ip_dscp": 400}}, "ip_dscp does not hold 0x190"),
    ({"match": {"dl_vlan": 1 << 20}}, "vlan_vid does not hold"),
    ({"match": {"metadata": "1/0x1ffffffffffffffff"}}, "metadata does not hold"),
    ({"match": {"dl_src": "zz"}}, "zz"),
    ({"match": {"nw_src": "1.2.3.400"}}, "1.2.3.400"),
    ({"match": {"nw_src": 7}}, "not understood"),
    ({"match": {"in_port": "NOWHERE"}}, "Cannot convert argument to reserved number: NOWHERE"),
    ({"match": {"in_port": [1]}}, "reserved number: [1]"),
    ({"actions": [{"type": "OUPTUT", "port": 1}]}, "Unknown action type: OUPTUT"),
    ({"actions": [{"type": "WRITE_ACTIONS", "actions": [{"type": "X"}]}]}, "Unknown action type"),
    ({"actions": [{"type": "OUTPUT", "port": 2**33}]}, "format requires"),
    ({"actions": [{"type": "SET_FIELD", "field": "vlan_vid", "value": 1 << 20}]}, "vlan_vid does not hold"),
    ({"actions": [{"type": "SET_FIELD", "field": "nope", "value": 1}]}, "nope"),
    ({"actions": [{"type": "SET_FIELD"}]}, "not understood"),
    ({"actions": ["OUTPUT"]}, "not understood"),
    ({"actions": [{"type": {"a": []}}]}, "not understood"),
    ({"actions": [{"type": "EXPERIMENTER", "experimenter": 1, "data": "x", "data_type": "hex"}]}, "Unknown data type"),
    ({"priority": 70000}, "format requires"),
    ({"priority": 1.5}, "1.5"),
    ({"cookie": None}, "None"),
    ({"idle_timeout": -1}, "out of range"),
    ({"buffer_id": "x"}, "not"),
]


@pytest.mark.parametrize(("flow", "said"), WRONG, ids=[str(flow) for flow, _ in WRONG])
def test_what_ryu_only_logs_or_cuts_off_is_a_problem(flow: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem) as problem:
        flow_mod(flow)
    assert problem.value.status == 400
    assert said in problem.value.detail


def test_complaints_are_not_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Problem):
        flow_mod({"match": {"nope": 1}})
    assert not caplog.records


def test_complaints_are_heard_whatever_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("os_ken.lib.ofctl_v1_3")
    with caplog.at_level(logging.CRITICAL), caplog.at_level(logging.CRITICAL, logger.name):
        with pytest.raises(Problem, match="Unknown match field"):
            flow_mod({"match": {"nope": 1}})
        assert logger.level == logging.CRITICAL
        assert logger.propagate


def test_arguments_stay_as_they_are() -> None:
    """os-ken renames nw_src of ARP in place."""
    asked = {"match": {"nw_src": "10.0.0.1", "dl_type": ARP}}
    flow_mod(asked)
    assert asked == {"match": {"nw_src": "10.0.0.1", "dl_type": ARP}}


# ── the mark ──

USER = USER_MARK << 48


def test_the_user_mark_is_not_ours() -> None:
    assert USER_MARK != COOKIE_MARK


@pytest.mark.parametrize(
    ("given_", "sent"), [(0, USER), (1, USER | 1), (2**48 - 1, USER | 2**48 - 1), (USER | 5, USER | 5)]
)
def test_a_cookie_is_marked(given_: int, sent: int) -> None:
    assert marks.marked(given_) == sent
    assert marks.unmarked(sent) == given_ & 2**48 - 1


@pytest.mark.parametrize("cookie", [-1, 2**48, COOKIE_MARK << 48 | 1, 2**64 - 1, 2**64])
def test_another_cookie_is_refused(cookie: int) -> None:
    with pytest.raises(Problem, match="48 bits"):
        marks.marked(cookie)


@given(st.integers(0, 2**64 - 1))
def test_only_the_users_cookies_are_shown_shorter(cookie: int) -> None:
    assert marks.unmarked(cookie) == (cookie & 2**48 - 1 if cookie >> 48 == USER_MARK else cookie)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_what_changes_or_deletes_passes_by_all_that_lacks_the_mark(cookie: int, mask: int, other: int) -> None:
    sent = words.message("mod_flow_entry", {"cookie": cookie, "cookie_mask": mask}, DELETE)
    marks.mark(sent, adds=False)
    touched = other & sent.cookie_mask == sent.cookie & sent.cookie_mask
    assert not touched or other >> 48 == USER_MARK
    meant = USER | other & 2**48 - 1
    low = mask & 2**48 - 1
    assert (meant & sent.cookie_mask == sent.cookie & sent.cookie_mask) == (other & low == cookie & low)


def test_an_addition_compares_no_cookie() -> None:
    sent = words.message("mod_flow_entry", {"cookie": 1, "cookie_mask": 1}, ADD)
    marks.mark(sent, adds=True)
    assert (sent.cookie, sent.cookie_mask) == (USER | 1, 0)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ((0, 0), (0, 0)),
        ((1, 1), (USER | 1, 0xFFFF << 48 | 1)),
        ((1, 2**64 - 1), (USER | 1, 2**64 - 1)),
        ((COOKIE_MARK << 48 | 5, 2**64 - 1), (COOKIE_MARK << 48 | 5, 2**64 - 1)),
    ],
)
def test_a_filter_by_cookie_means_the_users_flows(asked: tuple[int, int], sent: tuple[int, int]) -> None:
    question = words.message("get_flow_stats", {"cookie": asked[0], "cookie_mask": asked[1]})
    marks.mark_filter(question)
    assert (question.cookie, question.cookie_mask) == sent


# ── the flow in the way ──


def test_a_match_is_read_as_our_codec_reads_what_switches_dump() -> None:
    asked = {"in_port": 1, "nw_src": "10.1.2.3/8", "dl_type": 2048, "dl_dst": "02:00:00:00:00:01/ff:ff:ff:ff:ff:ff"}
    body = words.request(words.message("mod_flow_entry", {"match": asked}, ADD)).body
    assert match_of(body) == match(in_port=1, eth_type=2048, ipv4_src=(10 << 24, 0xFF << 24), eth_dst=0x020000000001)
    assert match_of(words.request(words.message("mod_flow_entry", {}, ADD)).body) == ()


def test_a_field_that_our_codec_has_no_name_for() -> None:
    body = words.request(words.message("mod_flow_entry", {"match": {"pbb_isid": 5, "eth_type": PBB}}, ADD)).body
    assert [field.value for field in match_of(body)] == [PBB, 5]


# ── replies ──


def test_a_reply_that_nobody_can_read() -> None:
    with pytest.raises(Problem) as problem:
        words.answer(
            1, [bytes((V13, 19, 0, 20, 0, 0, 0, 0)) + bytes((0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))], "get_desc_stats"
        )
    assert problem.value.status == 502


def test_actions_of_ours_that_os_ken_has_no_words_for() -> None:
    """`learn` and `multipath` are shown as their bytes."""
    from datapath.openflow.codec import encode_flow_mod
    from datapath.openflow.flow import Flow, Learn, LearnMatch, Multipath

    learn = Learn(41, 50, 7, 300, 600, (LearnMatch("eth_dst", "eth_src", 48),))
    sent = encode_flow_mod(Flow(1, 5, (), (Multipath(0, 0, 256, "tun_id", 0, 8), learn)), ADD, 1, V13)
    instructions = sent[56:]
    entry = (48 + 8 + len(instructions)).to_bytes(2, "big") + bytes((1, 0)) + bytes(44) + sent[48:56] + instructions
    head = bytes((V13, 19)) + (16 + len(entry)).to_bytes(2, "big") + bytes(4) + bytes((0, 1)) + bytes(6)
    (flows,) = words.answer(1, [head + entry], "get_flow_stats", {}).values()
    for shown, subtype in zip(flows[0]["actions"], (10, 16), strict=True):
        data = base64.b64decode(shown.partition("data:")[2].rstrip("}"))
        assert int.from_bytes(data[:2], "big") == subtype


# ── whatever comes ──

NAMES = st.sampled_from([
    "dpid", "match", "actions", "in_port", "dl_src", "nw_src", "dl_type", "dl_vlan", "metadata", "type", "port",
    "OUTPUT", "GROUP", "SET_FIELD", "field", "value", "WRITE_ACTIONS", "cookie", "cookie_mask", "table_id", "priority",
    "bands", "buckets", "flags", "KBPS", "DROP", "rate", "group_id", "meter_id", "ALL", "role", "data",
    "data_type", "base64",
])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=6)
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=8)
FUNCTIONS = [
    "mod_flow_entry",
    "mod_group_entry",
    "mod_meter_entry",
    "mod_port_behavior",
    "send_experimenter",
    "set_role",
]
COMMANDED = {"mod_flow_entry", "mod_group_entry", "mod_meter_entry"}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([*FUNCTIONS, "get_flow_stats", "get_aggregate_flow_stats"]), OBJECTS)
def test_garbage_is_a_message_or_a_problem(function: str, body: dict[str, Any]) -> None:
    arguments: list[Any] = [body, ADD] if function in COMMANDED else [body]
    status, detail = 400, "sent"
    try:
        assert isinstance(words.request(words.message(function, *arguments)), Request)
    except Problem as problem:
        status, detail = problem.status, problem.detail
    assert status == 400
    assert detail
