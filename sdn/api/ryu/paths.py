"""The paths of Ryu's `ofctl_rest`, as data: what each asks of ofctl, and how OpenAPI describes it. PURE.

Ryu has `flowdesc`, `queuedesc` and `meterdesc` for later versions of OpenFlow; they are answered with what 1.3 calls
flow statistics, queue configuration and meter configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]

ALL: Final = "ALL"
"""In the place of a port, queue, group or meter: any. `GET /stats/queue/1/ALL/1` asks for queue 1 of all ports."""


class Question(NamedTuple):
    """A GET. `parameters` follow the datapath id in the path and may be left out from the right; the first `passed` of
    them go to ofctl's `function`; by the others, as keys, the answer is filtered."""

    name: str
    function: str
    summary: str
    parameters: tuple[str, ...] = ()
    passed: int = 0
    filtered: bool = False
    """There is a POST beside it whose body says which flows."""


QUESTIONS: Final = (
    Question("desc", "get_desc_stats", "Description of the switch"),
    Question("flow", "get_flow_stats", "Flows with their counters", filtered=True),
    Question("flowdesc", "get_flow_stats", "Flows with their counters", filtered=True),
    Question("aggregateflow", "get_aggregate_flow_stats", "Sums of the flows' counters", filtered=True),
    Question("table", "get_table_stats", "Counters of the tables"),
    Question("tablefeatures", "get_table_features", "Features of the tables"),
    Question("port", "get_port_stats", "Counters of the ports", ("port_no",), 1),
    Question("portdesc", "get_port_desc", "Description of the ports", ("port_no",)),
    Question("queue", "get_queue_stats", "Counters of the queues", ("port_no", "queue_id"), 2),
    Question("queueconfig", "get_queue_config", "Configuration of the queues", ("port",), 1),
    Question("queuedesc", "get_queue_config", "Description of the queues", ("port_no", "queue_id"), 1),
    Question("groupfeatures", "get_group_features", "What groups the switch can have"),
    Question("groupdesc", "get_group_desc", "Groups and their buckets", ("group_id",)),
    Question("group", "get_group_stats", "Counters of the groups", ("group_id",), 1),
    Question("meterfeatures", "get_meter_features", "What meters the switch can have"),
    Question("meterconfig", "get_meter_config", "Meters and their bands", ("meter_id",), 1),
    Question("meterdesc", "get_meter_config", "Meters and their bands", ("meter_id",), 1),
    Question("meter", "get_meter_stats", "Counters of the meters", ("meter_id",), 1),
    Question("role", "get_role", "The role of this controller's session"),
)


class Command(NamedTuple):
    """A POST that changes something; `constant` names ofctl's command, where the function takes one."""

    path: str
    function: str
    constant: str
    summary: str
    body: Schema


NUMBER: Final = "^(0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,18})$"
"""A number as a string, in paths and in bodies."""


def number_schema(bits: int) -> Schema:
    """Ryu takes 16, "16" and "0x10"."""
    return {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": (1 << bits) - 1}, {"type": "string", "pattern": NUMBER}]
    }


_TYPES: Final[dict[str, Schema]] = {
    "dpid": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": NUMBER}]},
    **{name: number_schema(16) for name in ("idle_timeout", "hard_timeout", "priority")},
    **{name: number_schema(32) for name in ("config", "mask", "experimenter", "exp_type")},
    "cookie": number_schema(48),
    "cookie_mask": number_schema(64),
    "match": {"type": "object"},
    **{name: {"type": "array", "items": {"type": "object"}} for name in ("actions", "buckets", "bands")},
}
"""Others may be names too: LOCAL, ALL, EQUAL."""


def _body(example: Mapping[str, Any], **described: str) -> Schema:
    described = {"dpid": "Datapath id", **described}
    properties: Schema = {name: {"description": text, **_TYPES.get(name, {})} for name, text in described.items()}
    return {
        "type": "object",
        "required": ["dpid"],
        "properties": properties,
        "example": dict(example),
    }


_FLOW_WORDS: Final = {
    "cookie": "48 bits of the user's own (0)",
    "cookie_mask": "Which bits of the cookie count, for anything but an addition (0)",
    "table_id": "Table (0)",
    "idle_timeout": "Seconds (0: none)",
    "hard_timeout": "Seconds (0: none)",
    "priority": "0 to 65535 (0)",
    "buffer_id": "Buffered packet to apply to (none)",
    "flags": "Bitmap of OFPFF_* (0)",
    "out_port": "For deletions: only flows that output there (any)",
    "out_group": "For deletions: only flows that use this group (any)",
    "match": "Fields to match (all packets)",
    "actions": "Actions and instructions (drop)",
}
_FLOW: Final = _body(
    {"dpid": 1, "priority": 11111, "match": {"in_port": 1}, "actions": [{"type": "OUTPUT", "port": 2}]}, **_FLOW_WORDS
)
_GROUP: Final = _body(
    {"dpid": 1, "type": "ALL", "group_id": 1, "buckets": [{"actions": [{"type": "OUTPUT", "port": 1}]}]},
    type="ALL, SELECT, INDIRECT or FF (ALL)",
    group_id="Group (0)",
    buckets="Each with weight, watch_port, watch_group and actions",
)
_METER: Final = _body(
    {"dpid": 1, "flags": "KBPS", "meter_id": 1, "bands": [{"type": "DROP", "rate": 1000}]},
    flags="KBPS, PKTPS, BURST, STATS: one, or a list",
    meter_id="Meter (0)",
    bands="Each with type (DROP, DSCP_REMARK), rate and burst_size",
)
_PORT: Final = _body(
    {"dpid": 1, "port_no": 1, "config": 1, "mask": 1},
    port_no="Port",
    config="Bitmap of OFPPC_* (0)",
    mask="Which of the bits change (0)",
)
_ROLE: Final = _body({"dpid": 1, "role": "EQUAL"}, role="MASTER, SLAVE, EQUAL or NOCHANGE (EQUAL)")
EXPERIMENT: Final = {
    **_body(
        {"experimenter": 1, "exp_type": 1, "data_type": "ascii", "data": "data"},
        experimenter="Experimenter (0)",
        exp_type="Type (0)",
        data_type="ascii or base64 (ascii)",
        data="What to send",
    ),
    "required": [],
}
FILTER: Final = {
    **_body(
        {"table_id": 0, "out_port": 2, "cookie": 1, "cookie_mask": 1, "match": {"in_port": 1}},
        table_id="Table (all)",
        out_port="Only flows that output there (any)",
        out_group="Only flows that use this group (any)",
        cookie="Of the user's flows (0)",
        cookie_mask="Which bits of the cookie count (0)",
        priority="Only flows of this priority (any)",
        match="Only flows that match this or a part of it (all)",
    ),
    "required": [],
}

COMMANDS: Final = (
    Command("flowentry/add", "flow", "OFPFC_ADD", "Add a flow of the user's", _FLOW),
    Command("flowentry/modify", "flow", "OFPFC_MODIFY", "Modify all matching flows of the user's", _FLOW),
    Command("flowentry/modify_strict", "flow", "OFPFC_MODIFY_STRICT", "Modify one flow of the user's", _FLOW),
    Command("flowentry/delete", "flow", "OFPFC_DELETE", "Delete all matching flows of the user's", _FLOW),
    Command("flowentry/delete_strict", "flow", "OFPFC_DELETE_STRICT", "Delete one flow of the user's", _FLOW),
    Command("groupentry/add", "group", "OFPGC_ADD", "Add a group", _GROUP),
    Command("groupentry/modify", "group", "OFPGC_MODIFY", "Modify a group", _GROUP),
    Command("groupentry/delete", "group", "OFPGC_DELETE", "Delete a group", _GROUP),
    Command("meterentry/add", "mod_meter_entry", "OFPMC_ADD", "Add a meter", _METER),
    Command("meterentry/modify", "mod_meter_entry", "OFPMC_MODIFY", "Modify a meter", _METER),
    Command("meterentry/delete", "mod_meter_entry", "OFPMC_DELETE", "Delete a meter", _METER),
    Command("portdesc/modify", "port", "", "Modify the behaviour of a port", _PORT),
    Command("role", "set_role", "", "Set the role of this controller's session", _ROLE),
)

DONE: Final = {
    "flowentry/add": "added a flow",
    "flowentry/modify": "changed flows",
    "flowentry/modify_strict": "changed a flow",
    "flowentry/delete": "deleted flows",
    "flowentry/delete_strict": "deleted a flow",
    "flowentry/clear": "deleted all flows of users",
    "groupentry/add": "added a group",
    "groupentry/modify": "changed a group",
    "groupentry/delete": "deleted a group",
    "meterentry/add": "added a meter",
    "meterentry/modify": "changed a meter",
    "meterentry/delete": "deleted a meter",
}
"""What changes the user's own, as events have it."""
