"""What the kernel has counted for a lab, in its chassis' and nodes' namespaces, by what each device is there for.

Enters: a lab and the name of a chassis or node in it. Leaves: counters by what the devices' marks say. Never: devices
without our mark.
"""

from __future__ import annotations

from typing import NamedTuple

from datapath.errors import TransientError
from datapath.spec import alias, namespace
from sdn.southbound.counters import Counters


class Device(NamedTuple):
    up: bool
    counters: Counters


def devices(lab: str, name: str) -> dict[str, Device]:
    """By `node:interface`, `chassis:physnet`, `chassis:kind:network` and `chassis:kind:network:vtep`, as the device
    sees it. In a worker thread. Raises TransientError."""
    from datapath.linux import counters

    mark = alias(lab, "")
    try:
        found = counters.devices(namespace(lab, name))
    except OSError as error:
        raise TransientError(f"{name}: its devices cannot be read: {error}") from error
    return {each.removeprefix(mark): _device(counted) for each, counted in found.items() if each.startswith(mark)}


def _device(counted: tuple[bool, int, int, int, int, int, int, int, int]) -> Device:
    carrier, rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = counted
    counters = Counters(rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_errors, tx_errors)
    return Device(carrier, counters)
