"""The heads of rtnetlink's messages (rtnetlink(7), linux/rtnetlink.h), as bytes. PURE.

Enters: payloads. Leaves: what their heads and numbers say. Never: the meaning of an attribute, which each module knows
of its own.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

LINK: Final = Struct("=BxHiII")
"""struct ifinfomsg: family, device type, index, flags, change mask."""
ADDRESS: Final = Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""
ROUTE: Final = Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags."""
NEIGHBOUR: Final = Struct("=BxxxiHBB")
"""struct ndmsg: family, index, state, flags, type."""
VLAN: Final = Struct("=HH")
"""struct bridge_vlan_info: flags, id."""
U32: Final = Struct("=I")

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_VIA = 1, 4, 5, 6, 7, 9, 18
MAIN, UNICAST = 254, 1  # RT_TABLE_MAIN, RTN_UNICAST


def number(value: bytes | None) -> int:
    """Of an attribute; 0 for one that is not there."""
    return int(U32.unpack(value)[0]) if value else 0
