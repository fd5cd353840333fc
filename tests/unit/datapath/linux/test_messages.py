"""Requests that are more than one message."""

from __future__ import annotations

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from datapath.linux.messages import delete_links
from datapath.linux.netlink import RTM_DELLINK, RTM_NEWLINK


def read(data: bytes) -> tuple[int, int, int | None]:
    """Type, index and group."""
    parsed = ifinfmsg(data)
    parsed.decode()
    return parsed["header"]["type"], parsed["index"], parsed.get_attr("IFLA_GROUP")


def test_one_device_goes_by_its_index() -> None:
    (message,) = delete_links([("eth0", 7)])
    assert read(message.data) == (RTM_DELLINK, 7, None)
    assert list(delete_links([])) == []


def test_several_are_gathered_and_go_together() -> None:
    first, second, gone = (read(message.data) for message in delete_links([("a", 7), ("b", 9)]))
    group = gone[2]
    assert group, "not the group of all that have none"
    assert (first, second, gone) == ((RTM_NEWLINK, 7, group), (RTM_NEWLINK, 9, group), (RTM_DELLINK, 0, group))


def test_not_too_many_at_once() -> None:
    kinds = [read(message.data)[0] for message in delete_links([(str(index), index) for index in range(1, 102)])]
    assert kinds.count(RTM_DELLINK) == 3
    assert len(kinds) == 101 + 3
