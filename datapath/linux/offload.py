"""Checksum offload of a veth end, by the one ioctl that ethtool has for it.

A userspace switch reads frames as they are: what the sender's kernel left to "the hardware" (the checksum, the cutting
of large TCP segments) nobody does. Ping works then, and TCP is dead.
"""

from __future__ import annotations

import array
import fcntl
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GTXCSUM: Final = 0x16
_ETHTOOL_STXCSUM: Final = 0x17


def _ethtool(socket: int, device: str, command: int, value: int) -> int:
    """Any socket will do, also a netlink one: its namespace counts. Raises OSError."""
    argument = array.array("I", [command, value])
    fcntl.ioctl(socket, _SIOCETHTOOL, struct.pack("16sP", device.encode(), argument.buffer_info()[0]))
    return argument[1]


def switch_off(socket: int, device: str) -> bool:
    """The sender's kernel computes checksums itself, and so cuts segments too. True if that had to be changed."""
    if not _ethtool(socket, device, _ETHTOOL_GTXCSUM, 0):
        return False
    _ethtool(socket, device, _ETHTOOL_STXCSUM, 0)
    return True
