"""The rtnetlink requests that we make, as bytes.

Enters: names, addresses, descriptors of namespaces. Leaves: Message values for `netlink.Channel`. Never: a socket.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

from datapath.addr import IPAddress, IPInterface, Mac
from datapath.linux.netlink import (
    IFA_F_NODAD,
    IFF_NOARP,
    IFF_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NUD_PERMANENT,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Message,
)
from datapath.linux.pyroute import ifaddrmsg, ifinfmsg, ndmsg

Attributes = list[tuple[str, Any]]

_CONDEMNED: Final = 0x73646E00
"""Device group of those that are about to be removed; the default is 0, and people choose small ones."""
_TOGETHER: Final = 40
"""Devices that are removed at once: what the kernel tells of it must fit into the receive buffer."""


def _encode(message: Any, kind: int, flags: int, about: str, tolerated: tuple[int, ...] = ()) -> Message:
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message.encode()
    return Message(about, bytes(message.data), tolerated)


def _link(about: str, kind: int, flags: int, attributes: Attributes, index: int = 0, **fields: int) -> Message:
    message = ifinfmsg()
    message["index"] = index
    message["flags"] = fields.get("state", 0)
    message["change"] = fields.get("mask", 0)
    message["attrs"] = attributes
    return _encode(message, kind, flags, about)


def add_veth(about: str, name: str, mtu: int, peer: str, peer_ns: int, peer_mac: Mac | None = None) -> Message:
    """A pair: `name` in the channel's namespace, `peer` in the namespace with descriptor `peer_ns`; both down."""
    other: Attributes = [("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", peer_ns)]
    if peer_mac is not None:
        other.append(("IFLA_ADDRESS", str(peer_mac)))
    pair: Attributes = [
        ("IFLA_INFO_KIND", "veth"),
        ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": other})]}),
    ]
    attributes: Attributes = [("IFLA_IFNAME", name), ("IFLA_MTU", mtu), ("IFLA_LINKINFO", {"attrs": pair})]
    return _link(about, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, attributes)


def add_bridge(about: str, name: str) -> Message:
    """A Linux bridge that floods multicast: nobody queries group membership on a lab's wire."""
    options: Attributes = [("IFLA_BR_MCAST_SNOOPING", 0)]
    info: Attributes = [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": options})]
    return _link(
        about, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": info})]
    )


def add_vlan(about: str, name: str, parent: int, tag: int) -> Message:
    """A device for the frames of `parent` (an index) that carry `tag`."""
    info: Attributes = [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VLAN_ID", tag)]})]
    attributes: Attributes = [("IFLA_IFNAME", name), ("IFLA_LINK", parent), ("IFLA_LINKINFO", {"attrs": info})]
    return _link(about, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, attributes)


def add_macvlan(about: str, kind: str, name: str, lower: int, namespace: int, mode: int, mac: Mac, mtu: int) -> Message:
    """A `kind` of macvlan or macvtap on the device with index `lower`, in the namespace of a descriptor; down."""
    data: Attributes = [(f"IFLA_{kind.upper()}_MODE", mode)]
    info: Attributes = [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": data})]
    attributes: Attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_LINK", lower),
        ("IFLA_NET_NS_FD", namespace),
        ("IFLA_ADDRESS", str(mac)),
        ("IFLA_MTU", mtu),
        ("IFLA_LINKINFO", {"attrs": info}),
    ]
    return _link(about, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, attributes)


def set_link(
    about: str,
    device: str | int,
    *,
    up: bool | None = None,
    arp: bool | None = None,
    mtu: int | None = None,
    mac: Mac | None = None,
    alias: str | None = None,
    master: int | None = None,
) -> Message:
    """Changes of a device, given by its name or, where that may have become another's, its index; what is None stays as
    it is."""
    name, index = (device, 0) if isinstance(device, str) else ("", device)
    attributes: Attributes = [("IFLA_IFNAME", name)] if name else []
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", str(mac)))
    if alias is not None:
        attributes.append(("IFLA_IFALIAS", alias))
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
    mask = (0 if up is None else IFF_UP) | (0 if arp is None else IFF_NOARP)
    state = (IFF_UP if up else 0) | (IFF_NOARP if arp is False else 0)
    return _link(about, RTM_NEWLINK, 0, attributes, index, state=state, mask=mask)


def delete_link(about: str, index: int) -> Message:
    message = _link(about, RTM_DELLINK, 0, [], index)
    return message._replace(tolerated=(errno.ENODEV,))


def delete_links(devices: Sequence[tuple[str, int]]) -> Iterator[Message]:
    """Removes devices, given by what they are about and their indexes, many at once.

    For each removal the kernel waits until no processor looks at what goes, some 25 ms: once for a whole group.
    """
    for start in range(0, len(devices), _TOGETHER):
        some = devices[start : start + _TOGETHER]
        if len(some) == 1:
            yield delete_link(*some[0])
            continue
        for about, index in some:
            joined = _link(about, RTM_NEWLINK, 0, [("IFLA_GROUP", _CONDEMNED)], index)
            yield joined._replace(tolerated=(errno.ENODEV,))
        gone = _link(some[0][0], RTM_DELLINK, 0, [("IFLA_GROUP", _CONDEMNED)])
        yield gone._replace(tolerated=(errno.ENODEV,))


def _address(about: str, kind: int, flags: int, index: int, address: IPInterface, tolerated: int) -> Message:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["flags"] = IFA_F_NODAD if address.version == 6 else 0
    message["index"] = index
    text = str(address.ip)
    message["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    if address.version == 4 and address.network.prefixlen < 31:
        message["attrs"].append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    return _encode(message, kind, flags, about, (tolerated,))


def add_address(about: str, index: int, address: IPInterface) -> Message:
    """IPv6 addresses are unique by allotment: no duplicate address detection, so they are usable at once."""
    return _address(about, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, errno.EEXIST)


def delete_address(about: str, index: int, address: IPInterface) -> Message:
    return _address(about, RTM_DELADDR, 0, index, address, errno.EADDRNOTAVAIL)


def set_neighbour(about: str, index: int, address: IPAddress, mac: Mac) -> Message:
    """A permanent entry: the kernel never asks for it."""
    message = _neighbour(index, address)
    message["state"] = NUD_PERMANENT
    message["attrs"].append(("NDA_LLADDR", str(mac)))
    return _encode(message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, about)


def delete_neighbour(about: str, index: int, address: IPAddress) -> Message:
    return _encode(_neighbour(index, address), RTM_DELNEIGH, 0, about, (errno.ENOENT,))


def _neighbour(index: int, address: IPAddress) -> Any:
    message = ndmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["ifindex"] = index
    message["attrs"] = [("NDA_DST", str(address))]
    return message
