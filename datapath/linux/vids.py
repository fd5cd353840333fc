"""Which VLAN of a chassis' bridge each of its networks is. PURE.

Enters: networks, the tags by which trunks here carry them, what they were before. Leaves: a VLAN id for each, none
twice. Never: an id outside the chassis means anything: beyond it a network is known by its VNI, VSID or own VLAN id.

In order: who has a VLAN id of its own keeps it (of two physical networks with the same the first), then what a network
was before, then the tag of a trunk (its frames then need no device of their own), then a hash of the name. The hash
falls into the upper half, where people's VLANs seldom are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from datapath.errors import RefusedError
from datapath.spec import Bridged

FIRST, LAST = 1, 4094  # IEEE 802.1Q: 0 is "no VLAN", 4095 is reserved
_UPPER: Final = 2048


def allot(networks: Sequence[Bridged], tags: Mapping[str, Sequence[int]], before: Mapping[str, int]) -> dict[str, int]:
    """VLAN ids by network name. Raises RefusedError for more than 4,094 networks."""
    if len(networks) > LAST:
        raise RefusedError(f"{len(networks)} networks on one chassis: a bridge has {LAST} VLANs")
    ordered = sorted(networks, key=lambda network: network.network)
    found: dict[str, int] = {}
    taken: set[int] = set()
    claims = (
        lambda network: [network.vlan_id] if network.vlan_id else [],
        lambda network: [before[network.network]] if network.network in before else [],
        lambda network: tags.get(network.network, ()),
        lambda network: _probed(network.network),
    )
    for claim in claims:
        for network in ordered:
            if network.network not in found:
                vid = next((vid for vid in claim(network) if FIRST <= vid <= LAST and vid not in taken), 0)
                if vid:
                    found[network.network] = vid
                    taken.add(vid)
    return found


def _probed(name: str) -> Iterator[int]:
    """All ids, beginning with one of the upper half that depends on the name alone."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    start = int.from_bytes(digest, "big") % (LAST - _UPPER + 1)
    yield from (_UPPER + (start + step) % (LAST - _UPPER + 1) for step in range(LAST - _UPPER + 1))
    yield from range(_UPPER - 1, FIRST - 1, -1)
