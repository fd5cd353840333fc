"""Which devices the kernel gives a link-local address of their MAC, by its own description of them."""

from __future__ import annotations

import socket
import struct

import pytest

from datapath.linux.link_local import forms_link_local
from datapath.linux.netlink import IFF_NOARP, IFF_SLAVE, IFF_UP, attribute


def described(flags: int = IFF_UP, disabled: int = 0, mode: int | None = 0, *, has_ipv6: bool = True) -> bytes:
    settings = [0] * 40
    settings[26] = disabled
    version_6 = attribute(2, struct.pack("=40i", *settings))
    version_6 += b"" if mode is None else attribute(8, bytes([mode]))
    families = attribute(socket.AF_INET, b"") + (attribute(socket.AF_INET6, version_6) if has_ipv6 else b"")
    return struct.pack("=BxHiII", 0, 1, 2, flags, 0) + attribute(3, b"eth0\0") + attribute(26, families)


@pytest.mark.parametrize("payload", [described(), described(IFF_UP | IFF_NOARP), described(mode=None)])
def test_it_does(payload: bytes) -> None:
    assert forms_link_local(payload)


@pytest.mark.parametrize(
    "payload",
    [
        described(0),
        described(IFF_UP | IFF_SLAVE),
        described(disabled=1),
        described(mode=1),
        described(mode=2),
        described(mode=3),
        described(has_ipv6=False),
        described()[:16],
    ],
    ids=[
        "down",
        "in a bond",
        "disabled",
        "none",
        "of a secret",
        "of a random secret",
        "MTU below 1280",
        "told nothing",
    ],
)
def test_it_does_not(payload: bytes) -> None:
    assert not forms_link_local(payload)
