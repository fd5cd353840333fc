"""Netlink for itself: a flood of notifications that others cause, refused dumps, neighbours.

In namespaces without a name, which go with the test.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TypeVar

import pytest

from datapath.addr import Mac
from datapath.linux import messages, namespaces, netlink
from datapath.linux.devices import permanent_neighbours
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import RTM_GETLINK, Channel
from datapath.linux.wires import Wires
from datapath.linux.wiring import End

pytestmark = pytest.mark.lab

T = TypeVar("T")
Visit = Callable[[Callable[[], T]], T]

RTM_GET_OF_NOBODY = 1022
"""Far beyond RTM_MAX, and like every RTM_GET* 2 modulo 4."""


@pytest.fixture
def visit() -> Iterator[Visit[object]]:
    """`visit(function)` runs it in a thread of its own in a namespace of its own; it must not take ten seconds."""
    with ThreadPoolExecutor(1) as worker:

        def run(function: Callable[[], T]) -> T:
            def away() -> T:
                with namespaces.home_again():
                    namespaces.new()
                    return function()

            return worker.submit(away).result(10)

        yield run


class Crowded(Namespace):
    overruns = 0

    def _overrun(self) -> None:
        self.overruns += 1
        super()._overrun()


def crowd(count: int) -> None:
    """Somebody else makes pairs of devices in this thread's namespace."""
    lines = "".join(f"link add name far{i} type veth peer name near{i}\n" for i in range(count))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, timeout=20)


def test_answers_come_through_a_flood_of_notifications(visit: Visit[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "RECEIVE_BUFFER", 32 << 10)  # the kernel doubles it

    def errand() -> None:
        crowded = Crowded("sdnt-crowded")
        crowded.devices.read(crowded.channel)
        crowd(60)
        assert not crowded.send([messages.set_link("lo", "lo", up=True, alias="it")])
        assert crowded.overruns, "the buffer was large enough for all of it: this test shows nothing"
        expected = {"lo"} | {f"{end}{i}" for end in ("near", "far") for i in range(60)}
        assert crowded.devices.by_name.keys() == expected, "what was dropped has been read anew"
        assert crowded.mark == "it"
        assert len(crowded.channel.dump(RTM_GETLINK, bytes(16))) == 121
        crowded.close()

    visit(errand)


def test_what_a_batch_brings_about_is_known_after_it(visit: Visit[None]) -> None:
    def errand() -> None:
        home = Namespace("sdnt-known")
        home.devices.read(home.channel)
        for i in range(100):
            home.send([messages.add_bridge("it", f"b{i}")])
            assert f"b{i}" in home.devices.by_name
        home.send([messages.delete_link("it", home.devices.by_name[f"b{i}"].index) for i in range(100)])
        assert home.devices.by_name.keys() == {"lo"}
        home.close()

    visit(errand)


def test_a_refused_dump_is_no_empty_one(visit: Visit[None]) -> None:
    def errand() -> None:
        channel = Channel(lambda notice: None, lambda: None)
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            channel.dump(RTM_GET_OF_NOBODY, bytes(16))
        assert channel.dump(RTM_GETLINK, bytes(16)), "and the next one works"
        channel.close()

    visit(errand)


def test_neighbours_that_left_are_removed_also_by_another_agent(visit: Visit[None]) -> None:
    first, second = (IPv4Address("10.0.0.2"), Mac(2)), (IPv4Address("10.0.0.3"), Mac(3))
    mine = End("sdnt-neighbours", "b0", "it", 1500, neighbours=(first, second), kinds=("bridge",))

    def errand() -> None:
        home = Namespace(mine.namespace)
        home.devices.read(home.channel)
        home.send([messages.add_bridge("it", mine.device)])
        index = home.devices.by_name[mine.device].index
        settle(home, mine)
        assert permanent_neighbours(home.channel, index) == dict((first, second))
        home.neighbours.clear()  # as another agent, which has set none
        settle(home, replace(mine, neighbours=(second,)))
        assert permanent_neighbours(home.channel, index) == dict((second,))
        sent = home.sent
        settle(home, replace(mine, neighbours=(second,)))
        assert home.sent == sent
        settle(home, replace(mine, neighbours=None))
        assert home.sent == sent, "not our business"
        settle(home, replace(mine, neighbours=()))
        assert not permanent_neighbours(home.channel, index)
        home.close()

    visit(errand)


def settle(home: Namespace, end: End) -> None:
    host = Host("sdnt", lambda _: None, lambda _: None)
    host.namespaces[home.name] = home
    wires = Wires(host)
    wires.settle([end])
    assert not wires.refusals[home.name]
