"""Which form of bridges this kernel can have. Found by making one, once for each process.

Enters: a Host. Leaves: a Choice with its reason. Never: a device that stays.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from datapath.addr import Mac
from datapath.linux import bridge_messages
from datapath.linux.bridging import AWARE_BRIDGE, Bridge, Form
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


def _try(host: Host) -> Choice:
    wish = Bridge(AWARE_BRIDGE, "", 1500, Mac(0), aware=True)
    refused = host.try_out([bridge_messages.add_device("", wish)])
    if not refused:
        return Choice("aware", AWARE)
    if refused[0].errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # it has not said that it cannot
        raise OSError(refused[0].errno, refused[0].text)
    return Choice("classic", f"{CLASSIC}: this kernel has no VLAN filtering ({refused[0].text})")
