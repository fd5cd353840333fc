"""What the kernel has counted at the devices of a namespace.

Enters: the name of a namespace. Leaves: counters of its devices by alias, which says what each is. Never: a
change, a thread out of its own namespace for longer than it takes to open a socket.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from datapath.linux import namespaces
from datapath.linux.netlink import IFF_UP, RTM_GETLINK, Channel, attributes
from datapath.linux.shapes import LINK

_IFLA_IFALIAS, _IFLA_STATS64 = 20, 23
_STATS: Final = Struct("=8Q")  # the head of struct rtnl_link_stats64
_IFF_LOWER_UP: Final = 0x10000


class Counted(NamedTuple):
    """`carrier`: it is up and its other end is there. Then of packets, bytes, errors, dropped: received, sent."""

    carrier: bool
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


def devices(namespace: str) -> dict[str, Counted]:
    """Of devices that have an alias, by it. In a worker thread. Empty where there is no such namespace.

    Raises OSError, TransientError, MachineError.
    """
    try:
        with (namespaces.DIRECTORY / namespace).open("rb") as file, namespaces.inside(file.fileno()):
            channel = Channel(lambda _: None, lambda: None, ())
    except FileNotFoundError:
        return {}
    try:
        found = (_counted(notice.payload) for notice in channel.dump(RTM_GETLINK, bytes(LINK.size)))
        return dict(each for each in found if each is not None)
    finally:
        channel.close()


def _counted(payload: bytes) -> tuple[str, Counted] | None:
    flags = LINK.unpack_from(payload)[3]
    found = dict(attributes(payload, LINK.size))
    alias = found.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace")
    if not alias or len(found.get(_IFLA_STATS64, b"")) < _STATS.size:
        return None
    carrier = bool(flags & IFF_UP and flags & _IFF_LOWER_UP)
    return alias, Counted(carrier, *_STATS.unpack_from(found[_IFLA_STATS64]))
