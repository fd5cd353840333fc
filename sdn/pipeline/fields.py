"""Registers and cookie fields: the one home of every bit that the tables hand to each other.

Registers live for one packet's way through one switch; cookies live in the flow and say why it is there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from datapath.spec import TUNNEL_OFPORT

NETWORK: Final = "reg0"
"""Id of the network that the packet belongs to."""
INPORT: Final = "reg1"
"""Id of the port that it came in by; 0 when it came from a tunnel or an uplink."""
OUTPORT: Final = "reg2"
"""Id of the port that it leaves by; a tunnel's ofport or UPLINK when it leaves the chassis."""
FLAGS: Final = "reg3"

FROM_TUNNEL: Final = 1 << 0
FROM_UPLINK: Final = 1 << 1

REGISTER_NAMES: Final = {NETWORK: "network", INPORT: "inport", OUTPORT: "outport", FLAGS: "flags"}
FLAG_NAMES: Final = {FROM_TUNNEL: "from_tunnel", FROM_UPLINK: "from_uplink"}

FLOOD: Final = 14
"""OUTPORT value for "everyone in this network": broadcast, multicast, and unknown unicast where it is flooded."""
UPLINK: Final = 15
"""OUTPORT value for "the uplink of this network"; below 16 there are no port ids."""
TUNNEL: Final = TUNNEL_OFPORT
"""OUTPORT value of each tunnel kind: its ofport."""
FIRST_ID: Final = 16
LAST_ID: Final = 0x7FFFFFFF
"""Object ids: what fits into a register and a cookie, and into a signed 32-bit integer elsewhere."""


TAG_ETHERTYPES: Final = (0x8100, 0x88A8)
"""A frame that still has one of these when its tag is off had two (IEEE 802.1ad), and would leave a trunk's native
network as a frame of another: it goes nowhere. With `vlan-limit=1` Open vSwitch looks at one tag only."""


class Kind(IntEnum):
    """What a flow is about: the kind of object whose id its cookie carries."""

    CHASSIS = 1
    NETWORK = 2
    PORT = 3
    LEARNED = 4


COOKIE_MARK: Final = 0x5D0E
"""The top 16 bits of every cookie of ours."""

USER_MARK: Final = 0x5D0F
"""The top 16 bits of the cookies of flows that users add by Ryu's REST; the other 48 are theirs. They are not ours:
reconciliation leaves them alone."""


def is_ours(cookie: int) -> bool:
    """By the mark alone: a kind that this version does not know is a flow of another version of ours."""
    return cookie >> 48 == COOKIE_MARK


class Cookie(NamedTuple):
    """64 bits: mark (16) | kind (8) | zero (8) | object id (32)."""

    kind: Kind
    id: int

    def pack(self) -> int:
        return COOKIE_MARK << 48 | self.kind << 40 | self.id

    @classmethod
    def unpack(cls, cookie: int) -> Cookie | None:
        """None where the flow is not ours."""
        if cookie >> 48 != COOKIE_MARK or cookie >> 40 & 0xFF not in Kind._value2member_map_:
            return None
        return cls(Kind(cookie >> 40 & 0xFF), cookie & 0xFFFFFFFF)
