"""The requests that every session makes, as bytes. PURE.

Enters: nothing, the number of a bundle, or tables to watch. Leaves: Requests, the same in OpenFlow 1.3 and 1.4 (which
alone has flow monitors) and equal to os-ken's by test. Never: os-ken itself, whose classes take 90 ms and 21 MB to
load: that is for what a switch says unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple

from datapath.openflow.codec import ATOMIC, ORDERED, encode_match
from sdn.southbound.transport import HEADER, MalformedError


class Request(NamedTuple):
    """A message without its xid; `name` is for the operator."""

    name: str
    type: int
    body: bytes = b""

    def encode(self, version: int, xid: int) -> bytes:
        return HEADER.pack(version, self.type, HEADER.size + len(self.body), xid) + self.body


class Control(IntEnum):
    """What a bundle control message asks (OpenFlow 1.4 section 7.3.9.1)."""

    OPEN = 0
    COMMIT = 4
    DISCARD = 6


ECHO: Final = Request("EchoRequest", 2)
FEATURES: Final = Request("FeaturesRequest", 5)
BARRIER: Final = Request("BarrierRequest", 20)

_MULTIPART: Final = Struct("!HH4x")
_FLOW: Final = 1  # OFPMP_FLOW
_EVERY_TABLE: Final = 0xFF
_ANY: Final = 0xFFFFFFFF
_FLOW_STATS: Final = Struct("!HH4xB3xII4xQQ")
"""Multipart type and flags; table, out_port, out_group, cookie and its mask (1.4 section 7.3.5.2)."""

ALL_FLOWS: Final = Request(
    "FlowStatsRequest", 18, _FLOW_STATS.pack(_FLOW, 0, _EVERY_TABLE, _ANY, _ANY, 0, 0) + encode_match(())
)

FLOW_MONITOR: Final = 16  # OFPMP_FLOW_MONITOR
_MONITOR: Final = Struct("!IIIHBB")
"""Monitor id, out_port, out_group, flags, table, command (1.4 section 7.3.5.17.1)."""


class Watch(IntFlag):
    """What a flow monitor tells of. Without its NO_ABBREV, what this connection does itself comes as one ABBREV."""

    ADD = 1 << 1
    REMOVED = 1 << 2
    MODIFY = 1 << 3
    INSTRUCTIONS = 1 << 4


def flow_monitor(tables: Mapping[int, Watch]) -> Request:
    """A monitor of each table, without what is there already (OFPFMF_INITIAL). OpenFlow 1.4."""
    body = _MULTIPART.pack(FLOW_MONITOR, 0)
    for number, (table, watch) in enumerate(tables.items(), 1):
        body += _MONITOR.pack(number, _ANY, _ANY, watch, table, 0) + encode_match(())
    return Request("FlowMonitorRequest", 18, body)


_CONTROL: Final = Struct("!IHH")


def bundle_control(bundle: int, what: Control) -> Request:
    """Of an atomic and ordered bundle."""
    return Request("BundleCtrlMsg", 33, _CONTROL.pack(bundle, what, ATOMIC | ORDERED))


_FEATURES_REPLY_SIZE: Final = 32
_DATAPATH_ID: Final = Struct("!Q")


def datapath_id(features_reply: bytes) -> int:
    """Raises MalformedError where the reply is too short (section 7.3.1)."""
    if len(features_reply) < _FEATURES_REPLY_SIZE:
        raise MalformedError("a features reply that is cut short", features_reply)
    found: int = _DATAPATH_ID.unpack_from(features_reply, HEADER.size)[0]
    return found
