"""IPv6 link-local addresses: the kernel gives one to a device when that is set up, and never again once it is deleted.

Enters: a device and how it shall be, answers of its Channel. Leaves: the address that it lacks, as the kernel would
make it of its MAC. Never: one for a device that is to have none, or another, by what its user has set.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv6Interface
from typing import Final

from datapath.linux.devices import Device, parse_address, raw
from datapath.linux.host import Namespace
from datapath.linux.netlink import IFF_SLAVE, IFF_UP, RTM_GETADDR, RTM_GETLINK, Channel, attributes
from datapath.linux.shapes import ADDRESS, LINK
from datapath.linux.wiring import End

NO_IPV6: Final = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EACCES)
"""Of a kernel without it, or a device on which it is disabled."""

_S32: Final = struct.Struct("=i")
_IFLA_AF_SPEC, _IFLA_INET6_CONF, _IFLA_INET6_ADDR_GEN_MODE = 26, 2, 8
_DISABLED: Final = 26  # DEVCONF_DISABLE_IPV6 of linux/ipv6.h
_OF_THE_MAC: Final = b"\0"  # IN6_ADDR_GEN_MODE_EUI64; the others: none at all, or of a secret (RFC 7217)


def lacking(home: Namespace, device: Device, end: End) -> IPv6Interface | None:
    """What seems to be missing is looked for once more: of sysctls, and of an address that it has just made, the kernel
    tells late or never."""
    if not end.link_local or device.index not in home.devices.bare or not device.up or device.mac != end.mac:
        return None
    wanted = IPv6Interface((device.mac.link_local(), 64))
    if raw(wanted) in home.devices.addresses(device) or not _is_made_of_the_mac(home.channel, device.index):
        return None
    present = home.channel.dump(RTM_GETADDR, ADDRESS.pack(socket.AF_INET6, 0, 0, 0, 0))
    return None if (device.index, raw(wanted)) in (parse_address(notice.payload) for notice in present) else wanted


def _is_made_of_the_mac(channel: Channel, device: int) -> bool:
    """Whether the kernel would give it one if it were set up now (addrconf_dev_config())."""
    links = {LINK.unpack_from(notice.payload)[2]: notice.payload for notice in channel.dump(RTM_GETLINK, bytes(16))}
    return device in links and forms_link_local(links[device])


def forms_link_local(payload: bytes) -> bool:
    """`payload` is a struct ifinfomsg with its attributes. Below an MTU of 1280 a device has no IPv6 at all."""
    flags = LINK.unpack_from(payload)[3]
    families = dict(attributes(dict(attributes(payload, LINK.size)).get(_IFLA_AF_SPEC, b""), 0))
    version_6 = dict(attributes(families.get(socket.AF_INET6, b""), 0))
    settings = version_6.get(_IFLA_INET6_CONF, b"")
    if len(settings) < _S32.size * (_DISABLED + 1) or flags & (IFF_UP | IFF_SLAVE) != IFF_UP:
        return False
    is_disabled = bool(_S32.unpack_from(settings, _S32.size * _DISABLED)[0])
    return not is_disabled and version_6.get(_IFLA_INET6_ADDR_GEN_MODE, _OF_THE_MAC) == _OF_THE_MAC
