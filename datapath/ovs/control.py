"""Commands to a running ovs-vswitchd over its control socket, as `ovs-appctl` gives them, without a process each.

Enters: the socket and any number of commands. Leaves: their answers. Never: an answer that nobody waits for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import orjson

from datapath.errors import TransientError
from datapath.framing import Framer
from datapath.spec import UNDERLAY_BRIDGE, Underlay

NEIGHBOUR_LIFETIME: Final = 3600
"""Seconds that a tunnel neighbour lasts without being used: the most that `tnl/neigh/aging` allows."""

_TIMEOUT: Final = 5.0

_NO_ROUTE: Final = "Not found"
"""What `ovs/route/del` says of a route that went with the vtep's address."""


def call(path: Path, commands: Iterable[tuple[str, ...]], tolerated: str = "") -> list[str]:
    """The answer to each command, in order. Raises TransientError if the daemon is away or refuses one, otherwise than
    with what is tolerated."""
    requests = [orjson.dumps({"id": number, "method": c[0], "params": c[1:]}) for number, c in enumerate(commands)]
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(b"".join(requests))
            return _answers(connection, len(requests), tolerated)
    except (OSError, ValueError) as error:
        raise TransientError(f"{path}: {error}") from error


def _answers(connection: socket.socket, count: int, tolerated: str) -> list[str]:
    framer = Framer()
    answers: list[str] = []
    while len(answers) < count:
        answer = framer.next()
        if answer is None:
            data = connection.recv(1 << 16)
            if not data:
                raise ConnectionError("it hung up")
            framer.feed(data)
        elif answer.get("error") is None:
            answers.append(answer["result"])
        elif answer["error"].strip() == tolerated:
            answers.append("")
        else:
            raise ValueError(answer["error"].strip())
    return answers


def set_underlay(path: Path, underlay: Underlay, before: Underlay | None = None, *, anew: bool = False) -> None:
    """Tells the userspace tunnels the way to other vteps and their MACs, so that no first packet is lost to ARP.

    Neighbours expire when unused for NEIGHBOUR_LIFETIME. Saying the same again renews them and disturbs nothing.
    One that has left `underlay` goes at once, since it would not expire while it is used: its address may have come to
    another MAC. A single one cannot be taken out (OVS 3.1), so all are, and told anew. Where what was told `before` is
    not known, that happens for every neighbour not told, also for those that the switch has found by ARP.

    `anew`: the vtep's address was gone for a while, and with it the switch's ear for tunnels. It has one again only
    when the route comes again (OVS 3.1, tnl_port_map_delete_ipdev()).
    """
    # after a turn of its loop vswitchd has heard from the kernel of the vtep's address
    _, shown = call(path, [("version",), ("tnl/neigh/show",)])
    commands: list[tuple[str, ...]] = [("tnl/neigh/aging", str(NEIGHBOUR_LIFETIME))]
    if before and (anew or before.vtep.network != underlay.vtep.network):
        commands.append(("ovs/route/del", str(before.vtep.network)))  # first: it takes the device's vtep with it
    commands.append(("ovs/route/add", str(underlay.vtep.network), UNDERLAY_BRIDGE))
    known = _shown(shown) if before is None else {ip for ip, _ in before.neighbours}
    if known - {ip for ip, _ in underlay.neighbours}:
        commands.append(("tnl/neigh/flush",))
    commands += [("tnl/neigh/set", UNDERLAY_BRIDGE, str(ip), str(mac)) for ip, mac in underlay.neighbours]
    call(path, commands, _NO_ROUTE)


def _shown(text: str) -> set[IPv4Address]:
    """The neighbours of a `tnl/neigh/show`: lines of address, MAC and bridge below a ruler."""
    _, _, lines = text.partition("===\n")
    addresses = (line.split()[0] for line in lines.splitlines() if line.strip())
    return {IPv4Address(address) for address in addresses if ":" not in address}
