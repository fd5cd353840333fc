"""What is asked of a switch: Ryu's questions and commands, over a session in OpenFlow 1.3.

Enters: `Switches`, parsed bodies. Leaves: Ryu's JSON, or a Problem with the switch's reason. Never: an addition in the
place of a flow that is not the user's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

from datapath.openflow.codec import V13, FlowStats, decode_flow_stats
from datapath.openflow.flow import Flow, Match, MatchField
from datapath.openflow.text import format_flow
from datapath.openflow.tlv import decode_tlv
from sdn.api.ryu import marks, words
from sdn.api.ryu.body import applied, check_flow, number
from sdn.api.ryu.problem import bad, missing, occupied
from sdn.pipeline.fields import Cookie, is_ours
from sdn.southbound.plain import Plain
from sdn.southbound.requests import Request

About = Callable[[int, int], str | None]
"""From datapath id and cookie to the object that the flow is there for, with its line in the file."""


class Switches(Protocol):
    """The switches of a lab. `connect` raises KeyError where there is none of this datapath id, TransientError where it
    is away; a session may be given out again and again."""

    def dpids(self) -> list[int]: ...

    def connect(self, dpid: int) -> AbstractAsyncContextManager[Plain]: ...


@asynccontextmanager
async def session(switches: Switches, dpid: int) -> AsyncIterator[Plain]:
    """Raises Problem 404 for a datapath id that is nobody's."""
    async with AsyncExitStack() as stack:
        try:
            found = await stack.enter_async_context(switches.connect(dpid))
        except KeyError:
            raise missing(f"there is no switch {dpid}") from None
        await asyncio.to_thread(words.load)
        yield found


def kind_and_id(_: int, cookie: int) -> str | None:
    """What a cookie says without a model at hand: `port 23`."""
    about = Cookie.unpack(cookie)
    return f"{about.kind.name.lower()} {about.id}" if about else None


async def ask(switch: Plain, dpid: int, function: str, *arguments: Any) -> Any:
    """What ofctl's `function` finds out, without the datapath id around it. Raises Problem, RefusedError."""
    question = words.message(function, *arguments)
    if hasattr(question, "cookie_mask"):
        marks.mark_filter(question)
    replies = await switch.question(words.request(question))
    (found,) = (await asyncio.to_thread(words.answer, dpid, replies, function, *arguments)).values()
    return found


async def tell(switch: Plain, function: str, *arguments: Any) -> None:
    """Do what ofctl's `function` would, and wait until the switch has. Raises Problem, RefusedError."""
    await switch.tell(words.request(words.message(function, *arguments)))


async def change_flows(switch: Plain, dpid: int, about: About, flow: dict[str, Any], command: int) -> None:
    """A flow-mod for the user's flows. Raises Problem 409 where an addition would replace a flow of somebody else."""
    adds = command == words.ofproto().OFPFC_ADD
    check_flow(flow)
    flow_mod = words.message("mod_flow_entry", applied(flow), command)
    _check_actions(flow_mod.instructions)
    marks.mark(flow_mod, adds=adds)
    request = words.request(flow_mod)
    if adds and (other := await _in_the_way(switch, flow_mod, request)):
        raise occupied(_whose(other, about(dpid, other.cookie)))
    await switch.tell(request)


async def change_groups(switch: Plain, group: dict[str, Any], command: int) -> None:
    """ofctl leaves out the actions of a bucket that it does not know, without a word."""
    group_mod = words.message("mod_group_entry", group, command)
    for bucket, wanted in zip(group_mod.buckets, group.get("buckets", ()), strict=True):
        if len(bucket.actions) != len(wanted.get("actions", ())):
            raise bad(f"unknown action type in a bucket: {wanted['actions']}"[:400])
    _check_actions(group_mod.buckets)
    await switch.tell(words.request(group_mod))


async def change_port(switch: Plain, dpid: int, config: dict[str, Any]) -> None:
    """The message names the port's MAC too, which the switch compares; Ryu takes it from the port's description."""
    port_no = number(config.get("port_no"), "port_no")
    ports = await ask(switch, dpid, "get_port_desc")
    named = words.port_name(port_no)
    port = next((port for port in ports if port["port_no"] == named), None)
    if port is None:
        raise missing(f"switch {dpid} has no port {port_no}")
    known = {"hw_addr": port["hw_addr"], "advertise": port["advertised"]}
    await tell(switch, "mod_port_behavior", {**known, **config})


_FLOW_TABLE_EXPERIMENTERS: Final = {0x2320: "Nicira", 0x4F4E4600: "ONF"}
"""Whose messages change flows past `change_flows`: NXT_FLOW_MOD, and the bundles of OpenFlow 1.3's extension 230."""


def _check_actions(holders: Iterable[Any]) -> None:
    """Of instructions and buckets. Nicira's `learn` is an action that makes flows, with any cookie, and with
    NX_LEARN_F_DELETE_LEARNED removes those that have it: ours, for one who writes our mark into it. Inside of others
    (`clone`, `ct`) are actions again, and Open vSwitch knows no experimenter but those two: none passes.

    Raises Problem 400.
    """
    for holder in holders:
        for one in (holder, *getattr(holder, "actions", ())):
            if hasattr(one, "experimenter"):
                raise bad(
                    f"experimenter {one.experimenter:#x}: its actions and instructions could change flows that are not "
                    "the user's"
                )


async def experiment(switch: Plain, message: dict[str, Any]) -> None:
    sent = words.message("send_experimenter", message)
    if owner := _FLOW_TABLE_EXPERIMENTERS.get(sent.experimenter):
        raise bad(
            f"messages of experimenter {sent.experimenter:#x} ({owner}) could change flows that are not the user's"
        )
    await switch.tell(words.request(sent))


async def _in_the_way(switch: Plain, flow_mod: Any, request: Request) -> Flow | None:
    """The flow of the same table, priority and match, where it is not the user's.

    Asked for by table and match: the switch answers with it and with those of narrower matches (section 7.3.5.2).
    """
    question = _like(flow_mod)
    wanted = match_of(request.body)
    found: list[FlowStats] = []
    for reply in await switch.question(words.request(question)):
        found += decode_flow_stats(reply[16:], V13)
    for flow in (stats.flow for stats in found):
        if flow.priority == flow_mod.priority and flow.match == wanted and not marks.is_user(flow.cookie):
            return flow
    return None


def _like(flow_mod: Any) -> Any:
    question = words.message("get_flow_stats", {"table_id": flow_mod.table_id})
    question.match = flow_mod.match
    return question


_MATCH: Final = 40
"""Where the match is in a flow-mod behind its header (section 7.3.4.1)."""


def match_of(flow_mod: bytes) -> Match:
    """In the canonical form that our codec gives to what a switch dumps."""
    offset, end = _MATCH + 4, _MATCH + int.from_bytes(flow_mod[_MATCH + 2 : _MATCH + 4], "big")
    fields: dict[int, MatchField] = {}
    while offset < end:
        after = offset + 4 + flow_mod[offset + 3]
        order, field = decode_tlv(flow_mod[offset:after])
        if field.mask != 0:
            fields[order] = field
        offset = after
    return tuple(fields[order] for order in sorted(fields))


def _whose(flow: Flow, why: str | None) -> str:
    if is_ours(flow.cookie):
        owner = f"the lab's own, there for {why or 'an object that is no longer in the model'}"
    else:
        owner = "somebody else's"
    return f"{format_flow(flow)} is in this place: it is {owner}, and stays; take another priority, or another table"
