"""Our bytes are os-ken's bytes, decode undoes encode, and no bytes make decode raise anything but DecodeError."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import singledispatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser, ofproto_v1_4, ofproto_v1_4_parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from datapath.openflow import codec
from datapath.openflow.codec import ADD, ATOMIC, DELETE_STRICT, ORDERED, V13, V14, FlowEvent
from datapath.openflow.flow import (
    Action,
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    Load,
    Match,
    MatchField,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Unknown,
    match,
)
from datapath.openflow.oxm import FIELDS
from tests.unit.openflow.strategies import OSKEN_FIELDS, OSKEN_SORTS_OTHERWISE, U8, U16, U32, flows

PARSERS = {V13: (ofproto_v1_3, ofproto_v1_3_parser), V14: (ofproto_v1_4, ofproto_v1_4_parser)}
MATCH_FIELDS = [name for name in OSKEN_FIELDS if name not in OSKEN_SORTS_OTHERWISE]
OSKEN_NAMES = {
    "icmp_type": "icmpv4_type",
    "icmp_code": "icmpv4_code",
    "ipv6_label": "ipv6_flabel",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
    "tun_id": "tunnel_id",
    "tun_src": "tun_ipv4_src",
    "tun_dst": "tun_ipv4_dst",
    "nxm_in_port": "in_port_nxm",
}
VERSIONS = st.sampled_from([V13, V14])


def osken_name(name: str) -> str:
    return OSKEN_NAMES.get(name, name)


def osken_value(name: str, value: int) -> int | str:
    field = FIELDS[name]
    return field.format(value) if field.shows in ("mac", "ipv4", "ipv6") else value


def osken_match(parser: Any, wanted: Match) -> Any:
    values = {}
    for name, value, mask in wanted:
        plain = osken_value(name, value)
        values[osken_name(name)] = plain if mask is None else (plain, osken_value(name, mask))
    return parser.OFPMatch(**values)


@singledispatch
def osken_action(action: Action, parser: Any) -> Any:
    raise AssertionError(action)


@osken_action.register
def _(action: Output, parser: Any) -> Any:
    return parser.OFPActionOutput(action.port, action.max_len)


@osken_action.register
def _(action: SetField, parser: Any) -> Any:
    return parser.OFPActionSetField(**{osken_name(action.field): osken_value(action.field, action.value)})


@osken_action.register
def _(action: Load, parser: Any) -> Any:
    return parser.NXActionRegLoad(action.offset << 6 | action.bits - 1, osken_name(action.field), action.value)


@osken_action.register
def _(action: Move, parser: Any) -> Any:
    return parser.NXActionRegMove(
        osken_name(action.source), osken_name(action.target), action.bits, action.source_offset, action.target_offset
    )


@osken_action.register
def _(action: PushVlan, parser: Any) -> Any:
    return parser.OFPActionPushVlan(action.ethertype)


@osken_action.register
def _(action: PopVlan, parser: Any) -> Any:
    return parser.OFPActionPopVlan()


@osken_action.register
def _(action: Multipath, parser: Any) -> Any:
    fields, basis, links, target, offset, bits = action
    return parser.NXActionMultipath(fields, basis, 0, links - 1, 0, offset << 6 | bits - 1, osken_name(target))


@osken_action.register
def _(action: Resubmit, parser: Any) -> Any:
    return parser.NXActionResubmitTable(0xFFF8, action.table)


@osken_action.register
def _(action: Learn, parser: Any) -> Any:
    table, priority, cookie, idle, hard, specs = action
    return parser.NXActionLearn(table, [osken_spec(s, parser) for s in specs], idle, hard, priority, cookie)


def osken_spec(spec: LearnMatch | LearnMatchValue | LearnLoad | LearnOutput, parser: Any) -> Any:
    match spec:
        case LearnMatch(target, source, bits):
            return parser.NXFlowSpecMatch((osken_name(source), 0), (osken_name(target), 0), bits)
        case LearnMatchValue(target, value, bits):
            return parser.NXFlowSpecMatch(value, (osken_name(target), 0), bits)
        case LearnLoad(target, value, bits):
            return parser.NXFlowSpecLoad(value, (osken_name(target), 0), bits)
        case LearnOutput(source, bits):
            return parser.NXFlowSpecOutput((osken_name(source), 0), bits)


def osken_flow_mod(flow: Flow, command: int, xid: int, version: int) -> bytes:
    ofproto, parser = PARSERS[version]
    instructions = []
    if command != DELETE_STRICT:
        if flow.actions:
            wanted = [osken_action(action, parser) for action in flow.actions]
            instructions.append(parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, wanted))
        if flow.goto is not None:
            instructions.append(parser.OFPInstructionGotoTable(flow.goto))
    message = parser.OFPFlowMod(
        ProtocolDesc(version=version),
        cookie=flow.cookie,
        cookie_mask=0xFFFFFFFF_FFFFFFFF if command == DELETE_STRICT else 0,  # only what carries this very cookie
        table_id=flow.table,
        command=command,
        idle_timeout=flow.idle_timeout,
        hard_timeout=flow.hard_timeout,
        priority=flow.priority,
        buffer_id=ofproto.OFP_NO_BUFFER,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        match=osken_match(parser, flow.match),
        instructions=instructions,
    )
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def stats_entry(flow: Flow, packets: int = 5, octets: int = 700, seconds: int = 3, flags: int = 0) -> bytes:
    """An OpenFlow 1.4 ofp_flow_stats with the match and instructions of our flow-mod."""
    tail = codec.encode_flow_mod(flow, ADD, 0, V14)[48:]
    head = struct.pack(
        "!HBxIIHHHHHxxQQQ", 48 + len(tail), flow.table, seconds, 500_000_000, flow.priority, flow.idle_timeout,
        flow.hard_timeout, flags, 0, flow.cookie, packets, octets,
    )  # fmt: skip
    return head + tail


@given(flows(MATCH_FIELDS, OSKEN_FIELDS), st.sampled_from([ADD, DELETE_STRICT]), U32, VERSIONS)
def test_flow_mods_are_osken_s_byte_for_byte(flow: Flow, command: int, xid: int, version: int) -> None:
    assert codec.encode_flow_mod(flow, command, xid, version) == osken_flow_mod(flow, command, xid, version)


@given(flows(), VERSIONS)
def test_decode_undoes_encode(flow: Flow, version: int) -> None:
    (found,) = codec.decode_flow_stats(stats_entry(flow), version)
    assert found == (flow, 5, 700, 3.5)
    assert [type(action) for action in found.flow.actions] == [type(action) for action in flow.actions]


@given(flows(MATCH_FIELDS, OSKEN_FIELDS))
def test_osken_reads_the_same_from_flow_statistics(flow: Flow) -> None:
    entry = stats_entry(flow)
    theirs = ofproto_v1_4_parser.OFPFlowStats.parser(entry, 0)
    (ours,) = codec.decode_flow_stats(entry, V14)
    numbers = (theirs.table_id, theirs.priority, theirs.cookie, theirs.idle_timeout, theirs.hard_timeout)
    assert (ours.flow.table, ours.flow.priority, ours.flow.cookie, *ours.flow[-2:]) == numbers
    assert (theirs.packet_count, theirs.byte_count) == (ours.packets, ours.bytes)
    assert osken_match(ofproto_v1_4_parser, ours.flow.match).items() == theirs.match.items()
    applied = [action for step in theirs.instructions if step.type == 4 for action in step.actions]
    wanted = [osken_action(action, ofproto_v1_4_parser) for action in ours.flow.actions]
    assert list(map(_serialized, applied)) == list(map(_serialized, wanted))
    assert [step.table_id for step in theirs.instructions if step.type == 1] == (
        [] if ours.flow.goto is None else [ours.flow.goto]
    )


def _serialized(action: Any) -> bytes:
    buffer = bytearray()
    action.serialize(buffer, 0)
    return bytes(buffer)


@given(st.lists(flows(), max_size=5))
def test_many_entries_in_one_reply(wanted: list[Flow]) -> None:
    body = b"".join(map(stats_entry, wanted))
    assert [found.flow for found in codec.decode_flow_stats(body, V14)] == wanted


@given(st.lists(flows(), max_size=4), U32)
def test_xids_count_up(wanted: list[Flow], first: int) -> None:
    messages = codec.encode_flow_mods(wanted, ADD, first, V14)
    assert [int.from_bytes(m[4:8], "big") for m in messages] == [(first + i) & 0xFFFFFFFF for i in range(len(wanted))]


@given(flows(MATCH_FIELDS, OSKEN_FIELDS), U32, U32)
def test_bundle_add_is_osken_s(flow: Flow, bundle: int, xid: int) -> None:
    description = ProtocolDesc(version=V14)
    inner = codec.encode_flow_mod(flow, ADD, xid, V14)
    parsed = ofproto_v1_4_parser.OFPFlowMod.parser(description, V14, 14, len(inner), xid, inner)
    theirs = ofproto_v1_4_parser.OFPBundleAddMsg(description, bundle, ATOMIC | ORDERED, parsed, [])
    theirs.set_xid(xid)
    theirs.serialize()
    assert codec.encode_bundle_add(bundle, inner) == bytes(theirs.buf)


@given(flows(OSKEN_FIELDS, OSKEN_FIELDS))
def test_a_match_alone_is_the_one_of_the_flow_mod(flow: Flow) -> None:
    alone = codec.encode_match(flow.match)
    assert codec.encode_flow_mod(flow, DELETE_STRICT, 0, V14)[48:] == alone


# --- what others put into a switch -----------------------------------------------------------------------------------


def foreign(match_tlvs: bytes = b"", instructions: bytes = b"") -> codec.FlowStats:
    length = 4 + len(match_tlvs)
    tail = struct.pack("!HH", 1, length) + match_tlvs + bytes(-length % 8) + instructions
    head = struct.pack("!HBxIIHHHHHxxQQQ", 48 + len(tail), 3, 1, 0, 9, 0, 0, 0, 0, 77, 0, 0)
    (found,) = codec.decode_flow_stats(head + tail, V14)
    return found


def test_unknown_actions_and_instructions_are_kept_apart() -> None:
    group = struct.pack("!HHI", 22, 8, 5)
    output = struct.pack("!HHIH6x", 0, 16, 4, 0)
    meter = struct.pack("!HHI", 6, 8, 1)
    apply = struct.pack("!HH4x", 4, 8 + len(group + output)) + group + output
    assert foreign(instructions=meter + apply).flow.actions == (Unknown(meter), Unknown(group), Output(4))


def test_an_unknown_action_cannot_be_sent_but_its_flow_can_be_deleted() -> None:
    flow = foreign(instructions=struct.pack("!HH4xHHI", 4, 16, 22, 8, 5)).flow
    with pytest.raises(ValueError, match="not understood"):
        codec.encode_flow_mod(flow, ADD, 0, V14)
    assert len(codec.encode_flow_mod(flow, DELETE_STRICT, 0, V14)) == 56


@pytest.mark.parametrize("tlv", ["0001d802000e", "0001dd040001000f", "ffff0106002320000005"])
def test_unknown_match_fields_come_back_byte_for_byte(tlv: str) -> None:
    wire = bytes.fromhex(tlv)
    flow = foreign(match_tlvs=wire).flow
    assert str(flow.match[0]).startswith("oxm_")
    assert codec.encode_flow_mod(flow, DELETE_STRICT, 0, V14)[52 : 52 + len(wire)] == wire


def test_fields_in_any_order_and_under_their_nxm_names_are_canonical() -> None:
    nxm_ip_src, nxm_eth_type = bytes.fromhex("00000e040a000001"), bytes.fromhex("000006020800")
    assert foreign(match_tlvs=nxm_ip_src + nxm_eth_type).flow.match == match(eth_type=0x800, ipv4_src=0x0A000001)


def test_full_and_empty_masks_are_written_the_one_way() -> None:
    full = bytes.fromhex("8000070c020000000001ffffffffffff")
    empty = bytes.fromhex("8000090c020000000001000000000000")
    assert foreign(match_tlvs=full + empty).flow.match == (MatchField("eth_dst", 0x020000000001),)


# --- fuzz ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), U8)
def test_random_bytes(data: bytes, version: int) -> None:
    with suppress(codec.DecodeError):
        codec.decode_flow_stats(data, version)


@given(st.data(), st.lists(flows(), min_size=1, max_size=2))
def test_mutated_bytes(data: st.DataObject, wanted: list[Flow]) -> None:
    body = bytearray(b"".join(map(stats_entry, wanted)))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), U8), min_size=1, max_size=5)):
        body[position] = value
    del body[data.draw(st.integers(0, len(body))) if data.draw(st.booleans()) else len(body) :]
    try:
        found = codec.decode_flow_stats(bytes(body), V14)
    except codec.DecodeError:
        return
    for entry in found:  # what was understood can at least be deleted
        codec.encode_flow_mod(entry.flow, DELETE_STRICT, 0, V14)
        list(map(str, entry.flow.match))


@given(st.data(), flows(), U16)
def test_mutated_learn_actions(data: st.DataObject, flow: Flow, value: int) -> None:
    learn = Learn(1, 2, 3, 4, 5, (LearnMatch("reg0", "reg1", 32), LearnLoad("reg2", 7, 32), LearnOutput("in_port", 32)))
    body = bytearray(stats_entry(flow._replace(match=(), actions=(learn,), goto=None)))
    position = data.draw(st.integers(64, len(body) - 2))
    body[position : position + 2] = value.to_bytes(2, "big")
    with suppress(codec.DecodeError):
        codec.decode_flow_stats(bytes(body), V14)


# --- flow monitors ---------------------------------------------------------------------------------------------------

REMOVED_BY_OVS = (  # Open vSwitch 3.1, of a flow deleted by ovs-ofctl
    "00480002 28020000 00000064 00000000 5d0e030000000010"
    "0001000e 80000606 020000000001 0000"
    "00040018 00000000 00190010 00010404 00000001 00000000"
    "00010008 30000000"
)


def update_of(flow: Flow, event: int) -> bytes:
    """As a switch tells of it: match and instructions as in the flow-mod."""
    flow_mod = codec.encode_flow_mod(flow, ADD, 0, V14)
    head = struct.pack("!BBHHH4xQ", flow.table, 0, flow.idle_timeout, flow.hard_timeout, flow.priority, flow.cookie)
    body = head + flow_mod[48:]
    return struct.pack("!HH", 4 + len(body), event) + body


def test_an_update_of_open_vswitch() -> None:
    flow = Flow(40, 100, match(eth_dst=0x020000000001), (SetField("reg2", 1),), 48, 0x5D0E030000000010)
    assert codec.decode_flow_updates(bytes.fromhex(REMOVED_BY_OVS), V14) == [(FlowEvent.REMOVED, flow)]


@given(st.lists(flows(), max_size=4), st.sampled_from(list(FlowEvent)))
def test_updates_come_back_as_flows(told: list[Flow], event: FlowEvent) -> None:
    short = event >= FlowEvent.ABBREV
    data = b"".join(struct.pack("!HHI", 8, event, 4) if short else update_of(flow, event) for flow in told)
    wanted = [(event, None if short else flow) for flow in told]
    assert codec.decode_flow_updates(data, V14) == wanted


@given(st.one_of(st.binary(), flows().map(lambda flow: update_of(flow, 1))), st.data())
def test_no_bytes_make_decode_of_updates_raise_anything_else(data: bytes, draw: st.DataObject) -> None:
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3)) if broken else 0):
        broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(codec.DecodeError):
        codec.decode_flow_updates(bytes(broken[: draw.draw(st.integers(0, len(broken)))]), V14)


def test_updates_of_other_versions_are_not_understood() -> None:
    with pytest.raises(codec.DecodeError, match="wire version 4"):
        codec.decode_flow_updates(b"", V13)
