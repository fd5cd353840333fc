"""Addresses and routes as the kernel tells of them, for another device."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from datapath.errors import ConflictError
from datapath.linux import record
from datapath.linux.belongings import (
    Belongings,
    address_text,
    by_next_hop_object,
    giving,
    is_link_local,
    lasting,
    merged,
    of_device,
    redirected,
    route_text,
    taking,
    without,
)
from datapath.linux.netlink import attribute, attributes
from datapath.linux.record import Record

FOREVER = 0xFFFFFFFF


def address(text: str, index: int = 2, valid: int = FOREVER, label: str = "", flags: int = 0x80) -> bytes:
    ip, length = text.split("/")
    packed = ip_address(ip).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, int(length), flags & 0xFF, 0, index) + attribute(1, packed)
    if len(packed) == 4:
        body += attribute(2, packed)
    body += attribute(3, label.encode() + b"\0") if label else b""
    return body + attribute(8, struct.pack("=I", flags)) + attribute(6, struct.pack("=IIII", valid, valid, 5, 5))


def route(
    text: str,
    index: int = 2,
    via: str = "",
    protocol: int = 3,
    flags: int = 0,
    hops: tuple[int, ...] = (),
    rest: bytes = b"",
) -> bytes:
    ip, length = text.split("/")
    packed = ip_address(ip).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = struct.pack("=8BI", family, int(length), 0, 0, 254, protocol, 0, 1, flags) + attribute(1, packed)
    body += attribute(5, ip_address(via).packed) if via else b""
    if hops:
        return body + attribute(9, b"".join(struct.pack("=HBBi", 8, 16, 0, hop) for hop in hops)) + rest
    return body + attribute(4, struct.pack("=I", index)) + rest


def devices_of(routes: tuple[bytes, ...]) -> list[list[int]]:
    found = []
    for each in routes:
        values = dict(attributes(each, 12))
        hops = values.get(9, b"")
        indexes = [struct.unpack_from("=i", hops, at + 4)[0] for at in range(0, len(hops), 8)]
        found.append(indexes or [struct.unpack("=I", values[4])[0]])
    return found


def test_of_one_device() -> None:
    """Without the routes that the kernel makes itself."""
    mine, kernels, others = route("10.0.0.0/8"), route("192.0.2.0/24", protocol=2), route("10.0.0.0/8", index=3)
    several = route("10.9.0.0/16", hops=(3, 2))
    found = of_device(2, [address("192.0.2.7/24"), address("192.0.2.8/24", 3)], [mine, kernels, others, several], [])
    assert found == Belongings((address("192.0.2.7/24"),), (mine, several))


def test_for_another_device() -> None:
    some = Belongings((address("192.0.2.7/24"),), (route("10.0.0.0/8"), route("10.9.0.0/16", hops=(3, 2))))
    other = redirected(some, 2, 9)
    assert other.addresses == (address("192.0.2.7/24", 9),)
    assert devices_of(other.routes) == [[9], [3, 9]]
    assert redirected(other, 9, 2).addresses == some.addresses


def test_merged_knows_the_same_again() -> None:
    """Whatever of it passes: times, flags that say how it does."""
    here = Belongings((address("192.0.2.7/24", valid=900),), (route("10.0.0.0/8"),))
    there = Belongings(
        (address("192.0.2.7/24"), address("192.0.2.8/24")), (route("10.0.0.0/8", flags=16), route("10.1.0.0/16"))
    )
    assert merged(here, there) == Belongings(
        (address("192.0.2.7/24", valid=900), address("192.0.2.8/24")), (route("10.0.0.0/8"), route("10.1.0.0/16"))
    )
    assert without(there, here) == Belongings((address("192.0.2.8/24"),), (route("10.1.0.0/16"),))


def test_time_goes_on() -> None:
    some = Belongings((address("192.0.2.7/24"), address("192.0.2.8/24", valid=900), address("192.0.2.9/24", valid=100)))
    assert lasting(some, 100) == Belongings((address("192.0.2.7/24"), address("192.0.2.8/24", valid=800)))


def test_order_of_taking_and_giving() -> None:
    """A gateway is reached by another route; a secondary address belongs to the first of its subnet."""
    some = Belongings(
        (address("192.0.2.7/24"), address("192.0.2.8/24"), address("fd00::7/64"), address("fd00::8/64")),
        (route("0.0.0.0/0", via="203.0.113.1"), route("203.0.113.0/24")),
    )
    assert [message.about for message in taking(some)] == [
        "remove route 0.0.0.0/0 via 203.0.113.1",
        "remove route 203.0.113.0/24",
        "remove address fd00::8/64",
        "remove address fd00::7/64",
        "remove address 192.0.2.8/24",
        "remove address 192.0.2.7/24",
    ]
    given = dict.fromkeys(message.about for message in giving(some, "eth1", "br"))
    assert list(given) == [
        "address 192.0.2.7/24",
        "address 192.0.2.8/24",
        "address fd00::8/64",
        "address fd00::7/64",
        "route 203.0.113.0/24",
        "route 0.0.0.0/0 via 203.0.113.1",
    ]


def test_unique_addresses_are_usable_at_once() -> None:
    """Twice: without looking for duplicates, and then without the flag. One that is a duplicate is looked for again."""
    known, tentative = address("fd00::7/64"), address("fd00::8/64", flags=0x40)
    first, second = [message.data[16:] for message in giving(Belongings((known,)), "a", "b")]
    assert dict(attributes(first, 8))[8] == struct.pack("=I", 0x82)
    assert second == known
    assert [message.data[16:] for message in giving(Belongings((tentative,)), "a", "b")] == [tentative]


def test_label_follows_the_name() -> None:
    some = Belongings((address("192.0.2.7/24", label="eth1"), address("192.0.2.8/24", label="eth1:x")))
    labels = [dict(attributes(message.data[16:], 8))[3] for message in giving(some, "eth1", "br")]
    assert labels == [b"br\0", b"eth1:x\0"]


def test_a_route_is_asked_for_without_its_state() -> None:
    """But with the rest of its time, which is said in other units."""
    cache = struct.pack("=IIiIIIII", 0, 0, 90_000, 0, 0, 0, 0, 0)
    (message,) = giving(Belongings((), (route("fd00::/64", flags=16 | 4, rest=attribute(12, cache)),)), "a", "b")
    body = message.data[16:]
    assert struct.unpack_from("=8BI", body)[8] == 4
    found = dict(attributes(body, 12))
    assert 12 not in found
    assert found[23] == struct.pack("=I", 900)


def test_text() -> None:
    assert address_text(address("fd00::7/64")) == "fd00::7/64"
    assert is_link_local(address("fe80::7/64"))
    assert not is_link_local(address("169.254.1.1/16")), "nobody but a person or a DHCP client makes these"
    assert route_text(route("10.0.0.0/8", via="192.0.2.1", rest=attribute(15, struct.pack("=I", 77)))) == (
        "10.0.0.0/8 via 192.0.2.1 table 77"
    )
    assert by_next_hop_object(route("10.0.0.0/8", rest=attribute(30, struct.pack("=I", 7))))


class TestRecord:
    RECORD = Record(
        "office", "eth1", 2, True, True, ("0", "0"), Belongings((address("192.0.2.7/24"),), (route("10.0.0.0/8"),))
    ).stamped()

    def test_written_and_read(self, tmp_path: Path) -> None:
        record.write(tmp_path, self.RECORD)
        assert record.read(tmp_path) == {"office": self.RECORD}
        assert record.has_any(tmp_path)
        record.drop(tmp_path, "office")
        assert record.read(tmp_path) == {}
        assert not record.has_any(tmp_path)

    def test_for_root_only(self, tmp_path: Path) -> None:
        record.write(tmp_path, self.RECORD)
        (path,) = tmp_path.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600

    def test_of_an_earlier_boot(self, tmp_path: Path) -> None:
        record.write(tmp_path, self.RECORD)
        (path,) = tmp_path.iterdir()
        path.write_text(path.read_text().replace('"boot": "', '"boot": "x'))
        assert record.read(tmp_path) == {}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"boot": 1'])
    def test_unreadable(self, tmp_path: Path, content: str) -> None:
        (tmp_path / f"office{record.SUFFIX}").write_text(content)
        with pytest.raises(ConflictError):
            record.read(tmp_path)
