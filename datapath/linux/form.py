"""Which form of bridges this kernel can have. Found by making one, once for each process.

Enters: a Host. Leaves: a Choice with its reason. Never: a device that stays.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address

from datapath.addr import Mac
from datapath.linux import bridge_messages
from datapath.linux.bridging import AWARE_BRIDGE, Bridge, Form, Tunnel, TunnelDevice
from datapath.linux.host import Host

AWARE = "one VLAN-aware bridge"
CLASSIC = "one bridge per network"


@dataclass(frozen=True, slots=True)
class Choice:
    form: Form
    reason: str


_chosen: list[Choice] = []


def choose(host: Host) -> Choice:
    """Raises OSError where it cannot be tried now."""
    if not _chosen:
        _chosen.append(_try(host))
    return _chosen[0]


def has_tunnel(kind: TunnelDevice) -> bool:
    """Whether this kernel has such tunnel devices, by making one. Raises OSError where it cannot be tried."""
    host = Host("", lambda _: None, lambda _: None)
    wish = Tunnel(kind, "", "probe", "", 1400, 256, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"))
    try:
        refused = host.try_out([bridge_messages.add_device("", wish)])
    finally:
        host.close()
    return not any(refusal.errno == errno.EOPNOTSUPP for refusal in refused)


def _try(host: Host) -> Choice:
    wish = Bridge(AWARE_BRIDGE, "", 1500, Mac(0), aware=True)
    refused = host.try_out([bridge_messages.add_device("", wish)])
    if not refused:
        return Choice("aware", AWARE)
    if refused[0].errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # it has not said that it cannot
        raise OSError(refused[0].errno, refused[0].text)
    return Choice("classic", f"{CLASSIC}: this kernel has no VLAN filtering ({refused[0].text})")
