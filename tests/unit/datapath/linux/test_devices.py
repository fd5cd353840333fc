"""Netlink bytes to devices: what we encode with pyroute2 is read back by our own parser, and folded."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from datapath.addr import Mac
from datapath.linux import messages
from datapath.linux.devices import Devices, parse_address, parse_device, raw
from datapath.linux.netlink import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Message, Notice, attributes

MAC = Mac.parse("02:00:00:00:00:07")


def payload(message: Message) -> bytes:
    return message.data[16:]


def link(name: str, index: int = 0, **changes: object) -> Notice:
    body = bytearray(payload(messages.set_link("", name, **changes)))  # type: ignore[arg-type]
    body[4:8] = index.to_bytes(4, "little")
    return Notice(RTM_NEWLINK, bytes(body))


def address(kind: int, index: int, text: str) -> Notice:
    return Notice(kind, payload(messages.add_address("", index, ip_interface(text))))


def test_a_device_is_read_as_it_was_written() -> None:
    device = parse_device(
        link("eth0", 5, up=True, arp=False, mtu=1450, mac=MAC, alias="sdn:lab:web1", master=3).payload
    )
    assert (device.index, device.name, device.mac, device.mtu) == (5, "eth0", MAC, 1450)
    assert (device.alias, device.up, device.arp, device.master) == ("sdn:lab:web1", True, False, 3)


def test_kind_and_tag_of_a_vlan_device() -> None:
    device = parse_device(payload(messages.add_vlan("", "eth0.20", 2, 20)))
    assert (device.kind, device.peer, device.tag) == ("vlan", 2, 20)


@pytest.mark.parametrize("text", ["10.0.0.1/24", "fd00::1/64", "10.0.0.2/32"])
def test_an_address_is_read_as_it_was_written(text: str) -> None:
    message = messages.add_address("", 7, ip_interface(text))
    assert parse_address(payload(message)) == (7, raw(ip_interface(text)))


def test_attributes_end_where_the_bytes_do() -> None:
    assert list(attributes(b"", 0)) == []
    assert list(attributes(b"\x03\x00\x01\x00", 0)) == []  # a length below that of its own header
    assert list(attributes(b"\x05\x00\x01\x80a\0\0\0", 0)) == [(1, b"a")]  # flag bits are not part of the type


def test_devices_come_change_and_go() -> None:
    devices = Devices()
    devices.fold(link("eth0", 2))
    devices.fold(address(RTM_NEWADDR, 2, "10.0.0.1/24"))
    assert devices.addresses(devices.by_name["eth0"]) == {raw(ip_interface("10.0.0.1/24"))}
    version = devices.version
    devices.fold(link("eth0", 2))
    assert devices.version == version, "the same again is no change"
    devices.fold(link("wan", 2))
    assert set(devices.by_name) == {"wan"}, "a device that is renamed is still one"
    devices.fold(address(RTM_DELADDR, 2, "10.0.0.1/24"))
    assert not devices.addresses(devices.by_name["wan"])
    devices.fold(Notice(RTM_DELLINK, link("wan", 2).payload))
    assert not devices.by_name


def test_what_the_kernel_does_by_itself_does_not_count() -> None:
    devices = Devices()
    devices.fold(link("eth0", 2))
    version = devices.version
    devices.touched.clear()
    devices.fold(address(RTM_NEWADDR, 2, "fe80::1/64"))
    bridge_port = bytearray(link("eth0", 2, mtu=9000).payload)
    bridge_port[0] = 7  # AF_BRIDGE
    devices.fold(Notice(RTM_DELLINK, bytes(bridge_port)))
    assert (devices.version, devices.touched) == (version, set())


def test_what_was_there_and_is_gone_is_remembered_until_it_was_our_own_doing() -> None:
    devices = Devices()
    for notice in (link("eth0", 5), link("eth1", 6), address(RTM_NEWADDR, 5, "10.0.0.1/24")):
        devices.fold(notice)
    devices.forget_news()
    devices.fold(address(RTM_DELADDR, 5, "10.0.0.1/24"))
    devices.fold(Notice(RTM_DELLINK, link("eth1", 6).payload))
    assert devices.take_news() == {"eth0", "eth1"}
    assert devices.take_news() == set()
    assert list(devices.gone) == ["eth1"]
    assert devices.lost == {(5, raw(ip_interface("10.0.0.1/24")))}
    devices.fold(address(RTM_NEWADDR, 5, "10.0.0.1/24"))
    assert not devices.lost
    devices.forget_news()
    assert not devices.gone


def test_an_address_that_is_not_told_of_yet_is_not_lost() -> None:
    devices = Devices()
    devices.fold(link("eth0", 5))
    assert not devices.lost


def test_a_device_is_bare_that_has_lost_its_link_local_address_since_it_was_set_up() -> None:
    devices = Devices()
    for notice in (link("eth0", 5, up=True), address(RTM_NEWADDR, 5, "fe80::1/64")):
        devices.fold(notice)
    devices.forget_news()
    version = devices.version
    devices.fold(address(RTM_DELADDR, 5, "fe80::1/64"))
    assert (devices.bare, devices.take_news(), devices.version) == ({5}, {"eth0"}, version + 1)
    devices.fold(link("eth0", 5, up=False))
    devices.fold(link("eth0", 5, up=True))
    assert devices.bare == set(), "the kernel gives it one"
    devices.fold(address(RTM_DELADDR, 5, "fe80::1/64"))
    devices.fold(Notice(RTM_DELLINK, link("eth0", 5).payload))
    assert devices.bare == set()


def test_a_new_device_is_not_bare() -> None:
    devices = Devices()
    devices.fold(link("eth0", 5, up=True))
    assert devices.bare == set()
