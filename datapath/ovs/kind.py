"""Which datapath Open vSwitch has here, by trying: the kernel's, or its own in userspace."""

from __future__ import annotations

import os
import socket
import struct
from functools import cache
from typing import Final, NamedTuple

from datapath.linux.wiring import DatapathType

_NETLINK_GENERIC: Final = 16
_GENL_ID_CTRL: Final = 16
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_NAME: Final = 2
_NLM_F_REQUEST_ACK: Final = 5
_NLMSG_ERROR: Final = 2


class Choice(NamedTuple):
    type: DatapathType
    reason: str


@cache
def choose() -> Choice:
    """Asking for the generic netlink family makes an ordinary kernel load the module."""
    code = _ask_for("ovs_datapath")
    if code:
        return Choice("netdev", f"userspace: this kernel has no Open vSwitch datapath ({os.strerror(code)})")
    return Choice("system", "the kernel's Open vSwitch datapath")


def _ask_for(family: str) -> int:
    """0 if the kernel has the generic netlink family, else the errno of its answer."""
    name = family.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), _CTRL_ATTR_FAMILY_NAME) + name + bytes(-len(name) % 4)
    header = struct.pack("=IHHII", 20 + len(attribute), _GENL_ID_CTRL, _NLM_F_REQUEST_ACK, 0, 0)
    message = header + struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as channel:
        channel.bind((0, 0))
        channel.sendto(message, (0, 0))
        answer = channel.recv(1 << 16)
    kind, code = struct.unpack_from("=4xH10xi", answer)
    return -code if kind == _NLMSG_ERROR else 0
