"""eBPF programs where frames enter a device: the clsact queueing discipline and its filters.

Enters: device indexes, descriptors of programs. Leaves: Message values, and what a Channel finds. Never: a filter of
another's priority changed.

A filter holds its program, so that the descriptor can be closed and the agent may end. Its name is ours to choose and
comes back with every dump: it says whose it is and what it does.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datapath.linux.netlink import (
    HEADER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    Channel,
    Message,
    attribute,
    attributes,
)

_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
INGRESS: Final = 0xFFFFFFF2
EGRESS: Final = 0xFFFFFFF3
"""Where filters of clsact are: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_…) of linux/pkt_sched.h."""

PRIORITY: Final = 0x5D4
"""Of our filters. What a person adds without a priority comes after (from 0xC000 on), and sees what ours let pass."""
_HANDLE: Final = 1
_ETH_P_ALL: Final = 3

_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 6, 7, 8
_DIRECT_ACTION: Final = 1  # TCA_BPF_FLAG_ACT_DIRECT: the program's result is the action

_TC: Final = struct.Struct("=BxxxiIII")  # struct tcmsg: family, index, handle, parent, priority and protocol


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter at a hook of a device; `name` is '' where it is no eBPF program."""

    priority: int
    name: str


def _message(about: str, kind: int, flags: int, tc: Sequence[int], body: bytes, tolerated: int = 0) -> Message:
    data = _TC.pack(socket.AF_UNSPEC, *tc) + body
    return Message(about, HEADER.pack(HEADER.size + len(data), kind, flags, 0, 0) + data, (tolerated,))


def add_clsact(about: str, index: int) -> Message:
    """The place for filters, if it is not there yet."""
    kind = attribute(_TCA_KIND, b"clsact\0")
    flags = NLM_F_CREATE | NLM_F_EXCL
    return _message(about, RTM_NEWQDISC, flags, (index, _CLSACT_HANDLE, _CLSACT, 0), kind, errno.EEXIST)


def delete_clsact(about: str, index: int) -> Message:
    return _message(about, RTM_DELQDISC, 0, (index, _CLSACT_HANDLE, _CLSACT, 0), b"", errno.ENODEV)


def _info() -> int:
    return PRIORITY << 16 | socket.htons(_ETH_P_ALL)


def set_filter(about: str, index: int, name: str, program: int) -> Message:
    """The program (a descriptor) at the device's ingress, instead of ours that may be there, without a gap."""
    options = attribute(_TCA_BPF_FD, struct.pack("=I", program))
    options += attribute(_TCA_BPF_NAME, name.encode() + b"\0")
    options += attribute(_TCA_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
    body = attribute(_TCA_KIND, b"bpf\0") + attribute(_TCA_OPTIONS, options)
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return _message(about, RTM_NEWTFILTER, flags, (index, _HANDLE, INGRESS, _info()), body)


def delete_filter(about: str, index: int) -> Message:
    """Ours at the device's ingress."""
    kind = attribute(_TCA_KIND, b"bpf\0")
    return _message(about, RTM_DELTFILTER, 0, (index, _HANDLE, INGRESS, _info()), kind, errno.ENOENT)


def filters(channel: Channel, index: int, hook: int = INGRESS) -> list[Filter]:
    """Those of a device, also other people's."""
    notices = channel.dump(RTM_GETTFILTER, _TC.pack(socket.AF_UNSPEC, index, 0, hook, 0))
    return [found for notice in notices if (found := parse_filter(notice.payload))]


def parse_filter(payload: bytes) -> Filter | None:
    """`payload` is a struct tcmsg with its attributes. None for the priority itself, which a dump lists too."""
    _, _, handle, _, info = _TC.unpack_from(payload)
    if not handle:
        return None
    options = dict(attributes(payload, _TC.size)).get(_TCA_OPTIONS, b"")
    name = dict(attributes(options, 0)).get(_TCA_BPF_NAME, b"")
    return Filter(info >> 16, name.rstrip(b"\0").decode(errors="replace"))


def device_of(payload: bytes) -> int:
    """Index of the device that a notification about a queueing discipline or filter is of."""
    return int(_TC.unpack_from(payload)[1])
