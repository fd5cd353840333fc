"""Filters as bytes: what pyroute2 reads in our messages, and what we read of a filter."""

from __future__ import annotations

from pyroute2.netlink.rtnl.tcmsg import tcmsg

from datapath.linux import tc
from datapath.linux.netlink import Message


def read(message: Message) -> tcmsg:
    parsed = tcmsg(message.data)
    parsed.decode()
    return parsed


def test_a_filter_names_its_program() -> None:
    message = tc.set_filter("about", 7, "sdn:lab:fw:eth0 0123", 5)
    parsed = read(message)
    assert (parsed["index"], parsed["handle"], parsed["parent"]) == (7, 1, tc.INGRESS)
    assert parsed["info"] == tc.PRIORITY << 16 | 0x0300
    assert parsed.get_attr("TCA_KIND") == "bpf"
    options = parsed.get_attr("TCA_OPTIONS")
    assert options.get_attr("TCA_BPF_FD") == 5
    assert options.get_attr("TCA_BPF_NAME") == "sdn:lab:fw:eth0 0123"
    assert options.get_attr("TCA_BPF_FLAGS") == 1
    assert tc.parse_filter(message.data[16:]) == tc.Filter(tc.PRIORITY, "sdn:lab:fw:eth0 0123")
    assert tc.device_of(message.data[16:]) == 7


def test_the_place_for_filters() -> None:
    for message in (tc.add_clsact("about", 7), tc.delete_clsact("about", 7)):
        parsed = read(message)
        assert (parsed["index"], parsed["handle"], parsed["parent"]) == (7, 0xFFFF0000, 0xFFFFFFF1)
    assert read(tc.add_clsact("about", 7)).get_attr("TCA_KIND") == "clsact"


def test_a_priority_without_a_filter_is_none() -> None:
    payload = bytearray(tc.delete_filter("about", 7).data[16:])
    payload[8:12] = bytes(4)  # its handle
    assert tc.parse_filter(bytes(payload)) is None
